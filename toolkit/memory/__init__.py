"""The exemplar memory: a byte budget kept at every commit, in one SQLite file."""
