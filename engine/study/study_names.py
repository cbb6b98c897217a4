"""How the runs of one study are called: ``NAME-fold-0-set-1``."""

from __future__ import annotations


def study_name(name: str, fold: int | None, number: int | None) -> str:
    """Return the name of the run of config ``name`` on a fold and a training set; None where the study has none."""
    marks = [f"{what}-{n}" for what, n in (("fold", fold), ("set", number)) if n is not None]
    return "-".join([name, *marks])
