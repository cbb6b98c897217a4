"""From a config to finished stages: params, inputs, seeds and roles; and what is published of them for people."""

from engine.pipeline.pipeline import Pipeline

__all__ = ["Pipeline"]
