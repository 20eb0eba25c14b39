"""Into production: memories built from datasets, bundles of all that is needed to go on, and monitors of new images."""
