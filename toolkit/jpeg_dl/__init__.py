"""Experiments with the trainable JPEG layer: a plain network, a network behind the layer, and controls."""
