"""A sweep over policies and synthesis: its search space, its journal, its decisions and its results. No ray in it."""
