"""What several stages use: the data set, the judge's folds and panel, generators, prompts, fits across folds."""
