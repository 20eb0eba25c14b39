"""Do new images still look like those that were accepted? Charts with a stated false-alarm rate."""
