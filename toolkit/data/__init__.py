"""From a spec string to square uint8 images with labels, and a class order split into stages."""
