"""Production: memories built from datasets, bundles of everything needed to continue, and monitors of new images."""
