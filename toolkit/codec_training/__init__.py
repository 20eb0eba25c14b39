"""Neural codecs trained on a user's own images."""
