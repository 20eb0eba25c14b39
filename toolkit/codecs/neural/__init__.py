"""Neural codecs: trained networks and entropy-coded streams as ordinary entries of a grid."""
