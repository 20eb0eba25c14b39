"""Run folders: requests, events, locks and results on disk, for all work that takes longer than a moment."""
