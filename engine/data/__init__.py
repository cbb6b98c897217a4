"""Images and their labels: readers, the decoded cache, masks, splits, captions, phantoms."""
