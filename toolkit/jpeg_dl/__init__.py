"""Experiments with the trainable JPEG layer: a plain network, the layer in front of it, and the controls."""
