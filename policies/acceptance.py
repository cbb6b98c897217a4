"""Placeholder written within minutes."""
