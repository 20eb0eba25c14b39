"""Pilots: one scenario x codec x budget x alignment x method x seed, run from its own folder to the end."""
