"""From a spec string to uint8 images of one size with labels, and a class order split into stages."""
