"""The one training loop and what it runs on: networks, augmentation, batches, devices."""
