"""The exemplar memory: one SQLite file that stays within its byte budget at every commit."""
