"""JPEG files in fewer bytes: quantised coefficients under a context model instead of Huffman codes."""
