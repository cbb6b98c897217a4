"""Answers to ``python -m experiments.table1``."""

from __future__ import annotations

from experiments.lib.keeping import script
from experiments.table1.command import main

if __name__ == "__main__":
    script(main)
