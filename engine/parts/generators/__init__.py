"""The generators of synthetic images, by name."""
