"""Retrieval: multi-level CLIP embeddings of lesions, exact search over train lesions, and what to condition on."""
