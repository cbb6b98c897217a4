"""Pages for people, and the writer of those that follow from the code."""
