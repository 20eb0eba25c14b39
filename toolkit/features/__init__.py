"""Feature extractors, and how much compression changes their features."""
