"""Rules: from evidence to a score for every choice. One row in the registry makes a rule selectable."""
