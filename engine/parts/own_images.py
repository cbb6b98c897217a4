"""Which train images are the classifier's own, and among which images hard cases are sought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from engine.config import Config
from engine.parts.dataset import Dataset
from engine.types import IntArray


def sees_unlabelled(config: Config) -> bool:
    """Return whether generator parts learn from unlabelled images too."""
    return config.loop.generator_saw == "unlabelled"


def own_sets(config: Config) -> list[int] | None:
    """Return the training sets that the classifier trains on; None where it trains on all of train."""
    sets = config.data.split.train_sets
    return None if sets is None else sets.use


def mined_rows(
    dataset: Dataset, mine_from: Literal["mine", "crossfit", "test"], train_sets: Sequence[int] | None
) -> IntArray:
    """Return positions in the table of the images that ``loop.mine_from`` names.

    With ``crossfit`` these are the classifier's own train images, those of ``train_sets``.
    """
    return dataset.own(train_sets) if mine_from == "crossfit" else dataset.where(mine_from)
