"""A run folder as far as labelling looks at it: config.yaml, split.parquet, questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from engine.artifacts import asked, split
from engine.artifacts.asked import Asked, AskedFacts
from engine.artifacts.labels import Answer
from engine.artifacts.split import SplitTable
from engine.types import UNLABELLED, strings

CLASSES: Final = ("bkl", "mel", "nv")
LABELLED: Final = {"L1": ("mel", "train"), "L2": ("nv", "val"), "L3": ("bkl", "test")}
"""{image: (class, part)} of the images that have a label."""


def write_run(run: Path, unlabelled: Sequence[str], groups: Mapping[str, str] | None = None) -> Path:
    """Write a run of classes bkl, mel, nv; ``groups`` says which images belong together, each is alone else."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text("name: tiny\n")
    names = [*LABELLED, *unlabelled]
    split.write(
        SplitTable(
            image_id=strings(names),
            lesion_id=strings(names),
            dx=strings([LABELLED.get(name, ("", ""))[0] for name in names]),
            split=strings([LABELLED.get(name, ("", UNLABELLED))[1] for name in names]),
            group_N=strings([(groups or {}).get(name, name) for name in names]),
        ),
        run,
    )
    return run


def write_questions(folder: Path, predicted: Mapping[str, str]) -> None:
    """Write questions about images, in the order given, with the class the model gives each."""
    n = len(predicted)
    asked.write(
        Asked(
            image_id=strings(list(predicted)),
            value_Q=np.linspace(1.0, 0.0, n),
            predicted=strings(list(predicted.values())),
            prob_QC=np.full((n, len(CLASSES)), 1.0 / len(CLASSES)),
            neighbour_ids_QK=strings(["L1"] * n).reshape(n, 1),
        ),
        AskedFacts(classes=CLASSES, policy="margin", wanted=n, unlabelled=n, open=n, left_out={}),
        folder,
    )


def said(image: str, reader: str, dx: str, *, shown: bool = False) -> Answer:
    return Answer(image_id=image, reader=reader, dx=dx, guess_shown=shown)
