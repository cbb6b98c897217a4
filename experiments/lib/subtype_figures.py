"""What one run on phantoms shows of a hidden subtype: was it mined, was more of it made, is it recognised.

A run without a blind spot is asked about the lesions that would have been of the subtype: they look like their class there.

Shape legend: N images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from engine.arms import ARMS, ENGINE
from engine.artifacts import hard_cases, synthetic
from engine.artifacts.run_files import read_run
from engine.artifacts.run_layout import arm_role
from engine.config import BlindSpotConfig, Config
from engine.data.phantom.lesions import subtype_of
from engine.errors import ConfigError
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.own_images import mined_rows, own_sets
from engine.store import RunFolder
from engine.study.replicates import Replicate, arm_figures
from engine.study.run_replicates import open_replicate
from engine.types import SPLITS, BoolArray, StrArray

OVERALL: Final = ("malignant.auc", "malignant.sensitivity", "nll", "balanced_accuracy")
"""Figures over all test lesions."""
ON_SUBTYPE: Final = {"subtype.auc": "malignant.auc", "subtype.sensitivity": "malignant.sensitivity"}
"""Figures on the subtype's test lesions against all benign ones, at the operating point that val fixes for all."""
FIGURES: Final = (*OVERALL, *ON_SUBTYPE)


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """Which lesions are of the subtype; ``dx`` is the class that hides it."""

    dx: str
    image_ids: frozenset[str]

    def of(self, image_id_N: StrArray) -> BoolArray:
        """Return which images show one of them, (N,)."""
        return np.isin(image_id_N, sorted(self.image_ids))


def hidden_lesions(image_id_N: StrArray, config: Config, spot: BlindSpotConfig) -> Hidden:
    """Return which images of a run's phantoms are of the subtype of ``spot``, or would be if the run had it."""
    phantom = config.data.phantom.model_copy(update={"blind_spot": spot})
    names = image_id_N[subtype_of(image_id_N, phantom, config.seed)]
    return Hidden(dx=spot.dx, image_ids=frozenset(names.tolist()))


def measure(run: RunFolder, spot: BlindSpotConfig) -> dict[str, Any]:
    """Return {found, made, figures}: what a finished run shows of the subtype, as JSON."""
    folders = [run.stage(f"foundation/{name}").path for name in ("images", "split")]
    dataset = open_dataset(*folders)
    hidden = hidden_lesions(dataset.table.image_id, run.config, spot)
    return {
        "lesions": {part: _lesions(dataset, dataset.where(part), hidden)["subtype"] for part in SPLITS},
        "found": found(run, dataset, hidden),
        "made": {arm: made(run, arm, hidden) for arm in run.config.loop.arms if ARMS[arm].makes_images},
        "figures": figures_of(open_replicate(read_run(run.path)), hidden),
    }


def found(run: RunFolder, dataset: Dataset, hidden: Hidden) -> dict[str, Any]:
    """Return how many mined lesions of all rounds, and how many of the lesions they were mined from, are of the subtype.

    Raises:
        ConfigError: none of the lesions that hard cases are mined from is.
    """
    config, rounds = run.config, range(1, run.config.loop.rounds + 1)
    mined = [
        hard_cases.read_ids(run.stage(arm_role(number, ENGINE, "mine")).path).tolist() for number in rounds
    ]
    rows = dataset.positions(np.array([name for names in mined for name in names], dtype=np.str_))
    sought = mined_rows(dataset, config.loop.mine_from, own_sets(config))
    data = _lesions(dataset, sought, hidden)
    if data["subtype"] == 0:
        raise ConfigError(
            "data.phantom.blind_spot.share: no lesion that hard cases are mined from is of the subtype; raise it or lesions"
        )
    return {"hard": _lesions(dataset, rows, hidden), "data": data}


def made(run: RunFolder, arm: str, hidden: Hidden) -> dict[str, int]:
    """Return how many images of all rounds were generated for an arm and accepted, and of how many the parent is hidden."""
    counts = dict.fromkeys(("generated", "generated_subtype", "accepted", "accepted_subtype"), 0)
    for number in range(1, run.config.loop.rounds + 1):
        images = synthetic.read_judgement(run.stage(arm_role(number, arm, "accept")).path)
        of_hidden_S = hidden.of(images.parent_image_id)
        counts["generated"] += len(images)
        counts["generated_subtype"] += int(of_hidden_S.sum())
        counts["accepted"] += int(images.accepted_S.sum())
        counts["accepted_subtype"] += int((images.accepted_S & of_hidden_S).sum())
    return counts


def figures_of(run: Replicate, hidden: Hidden) -> dict[str, dict[str, float | None]]:
    """Return FIGURES of every arm on a replicate's test part, means over classifier seeds; None where one is undefined.

    Raises:
        ConfigError: the test part holds no lesion of the subtype.
    """
    rows_N = hidden.of(run.test.image_id)
    if not rows_N.any():
        raise ConfigError(
            "data.phantom.blind_spot.share: no test lesion is of the subtype; raise it, lesions or data.split.test"
        )
    benign_N = ~np.isin(run.test.label_N, run.malignant_columns)
    alone = replace(run, test=run.test.take(rows_N | benign_N))
    whole, part = (
        {arm: arm_figures(one, arm, draws=1, seed=0).point for arm in run.arms} for one in (run, alone)
    )
    values = {
        arm: {
            **{name: whole[arm][name] for name in OVERALL},
            **{name: part[arm][figure] for name, figure in ON_SUBTYPE.items()},
        }
        for arm in run.arms
    }
    return {
        arm: {name: value if np.isfinite(value) else None for name, value in figures.items()}
        for arm, figures in values.items()
    }


def _lesions(dataset: Dataset, rows: np.ndarray[Any, Any], hidden: Hidden) -> dict[str, int]:
    """How many lesions some rows of the table show: all, of the class that hides the subtype, of the subtype."""
    table = dataset.table.take(rows)
    groups: Mapping[str, BoolArray] = {
        "all": np.ones(len(rows), dtype=np.bool_),
        "class": table.dx == hidden.dx,
        "subtype": hidden.of(table.image_id),
    }
    return {name: len(np.unique(table.lesion_id[rows_N])) for name, rows_N in groups.items()}
