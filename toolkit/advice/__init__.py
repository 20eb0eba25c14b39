"""From a probe to a recommendation: evidence, rules that choose without pilots, budgets, and how far off they were."""
