"""The trainable JPEG layer in pure torch: transform, soft quantiser, tables, rate, and a fused CUDA kernel."""
