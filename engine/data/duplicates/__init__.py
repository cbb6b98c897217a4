"""Near-duplicate images under different lesion ids."""
