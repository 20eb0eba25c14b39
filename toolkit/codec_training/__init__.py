"""Training of neural codecs on a user's own images."""
