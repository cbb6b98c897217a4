"""Readers of data layouts, one Source for all of them."""
