"""Samplers on one trained denoiser."""
