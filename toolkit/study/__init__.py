"""From a few pilots to a decision that can be defended: which run next, and what they say so far."""
