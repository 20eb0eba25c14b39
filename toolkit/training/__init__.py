"""The training loop with its networks, augmentation, batches and devices."""
