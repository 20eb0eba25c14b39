"""Image codecs as exemplar stores: spec grammar, standard formats, shared headers, wrappers."""
