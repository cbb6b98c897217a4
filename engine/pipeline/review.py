"""Where ``read_verdicts`` was; ``engine.artifacts.review`` has it now."""

from __future__ import annotations

from engine.artifacts.review import read_verdicts

__all__ = ["read_verdicts"]
