"""What a network sees: feature extractors, and how far compression moves their features."""
