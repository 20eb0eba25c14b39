"""Image codecs for exemplars: spec grammar, standard formats, shared headers, wrappers."""
