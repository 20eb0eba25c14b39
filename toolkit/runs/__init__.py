"""Run folders: requests, events, locks and results on disk, for everything that takes longer than a moment."""
