"""The one training loop: plans, checkpoints, folds."""
