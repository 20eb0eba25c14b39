"""Neural codecs: trained networks with entropy-coded streams."""
