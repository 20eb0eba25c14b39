"""Pilots: one scenario x codec x budget x alignment x method x seed, run to the end from its own folder."""
