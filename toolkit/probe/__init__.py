"""Cost and distortion of codec settings, measured on the user's own images."""
