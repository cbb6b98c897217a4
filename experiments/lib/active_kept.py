"""Keeps each run of the active study in a file of its own: scores of the test part, so that starts may be scored by turns.

Scores have 16 bits; the AUROC read from them differs from that of the run by less than 1e-4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts.run_files import RunFiles
from engine.config import Config
from engine.errors import DataError
from engine.store.files import write_json
from engine.study.label_scores import LabelScores, read_scores
from experiments.lib import keeping
from experiments.lib.keeping import provenance, read_result, require_same, this_command
from experiments.lib.outcomes import pack_cases, pack_levels, unpack, unpack_levels


def path_of(folder: Path, number: int, kind: str) -> Path:
    """Return the file of a start's run."""
    return folder / f"study_{number}_{kind}.json"


def is_kept(path: Path, config: Config) -> bool:
    """Whether a run is kept already (ConfigError: it is, of another config)."""
    if not path.exists():
        return False
    remedy = "move it away, or use its config"
    require_same(read_result(path)["config"], keeping.public_config(config), path.name, remedy)
    return True


def keep(path: Path, run: RunFiles, config: Config, number: int, kind: str) -> Path:
    """Write a finished run's scores (DataError: predictions of a round are not there)."""
    found = read_scores(run)
    if found is None:
        raise DataError(f"{run.path}: has no predictions of every round; rerun the same command")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            **provenance(this_command(), config),
            "set": number,
            "kind": kind,
            "cases": pack_cases(found.replicate),
            "last": found.last,
            "images": found.images,
            "points": [
                {
                    "round": point[0],
                    "arm": point[1],
                    "asked": found.asked[point],
                    "scores": [pack_levels(score_N[:, np.newaxis]) for score_N in seeds],
                }
                for point, seeds in found.score.items()
            ],
        },
    )
    return path


def read_kept(folder: Path, kinds: Collection[str]) -> list[dict[str, LabelScores]]:
    """Return the runs of every start of which all are kept, by kind, in the order of starts.

    Raises:
        ConfigError: two starts were made with different configs.
        DataError: the runs of a start have different lesions.
    """
    starts: dict[int, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for file in map(read_result, folder.glob("study_*.json")):
        starts[file["set"]][file["kind"]] = file
    whole = [starts[number] for number in sorted(starts) if starts[number].keys() == set(kinds)]
    for start in whole:
        for kind in kinds:
            what = f"start {start[kind]['set']}, {kind}"
            require_same(whole[0][kind]["config"], start[kind]["config"], what, "run it again")
        if (
            len(
                {
                    (start[kind]["cases"]["parts"]["train"], start[kind]["cases"]["test"]["image_id"])
                    for kind in kinds
                }
            )
            > 1
        ):
            raise DataError(f"start {start['policy']['set']}: its runs have different lesions; run it again")
    return [{kind: scores_of(file) for kind, file in start.items()} for start in whole]


def scores_of(file: Mapping[str, Any]) -> LabelScores:
    """Return the scores that a file keeps."""
    points = {(one["round"], one["arm"]): one for one in file["points"]}
    return LabelScores(
        replicate=unpack(file["cases"], {}),
        score={
            point: [unpack_levels(text, 1)[:, 0] for text in one["scores"]] for point, one in points.items()
        },
        asked={point: one["asked"] for point, one in points.items()},
        last=file["last"],
        images=file["images"],
    )
