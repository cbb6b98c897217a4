"""Phantoms: procedural dermoscopy with exact masks."""
