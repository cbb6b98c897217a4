"""Lesions are dealt to folds evenly and never straddle them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from engine.errors import DataError
from engine.training.folds import lesion_folds


def lesions(n_images):
    rng = np.random.default_rng(0)
    lesion = np.array([f"L{i}" for i in rng.integers(0, 40, n_images)])
    dx = np.array(["nv" if int(name[1:]) < 28 else "mel" if int(name[1:]) < 37 else "df" for name in lesion])
    return lesion, dx


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("folds", [2, 3, 7])
def test_no_lesion_straddles_and_every_class_is_spread(seed, folds):
    lesion, dx = lesions(150)
    fold = lesion_folds(lesion, dx, folds, seed)
    of = {name: set(fold[lesion == name]) for name in set(lesion)}
    assert all(len(found) == 1 for found in of.values())
    for name in ("nv", "mel", "df"):
        counts = Counter(next(iter(of[member])) for member in set(lesion[dx == name]))
        spread = [counts.get(k, 0) for k in range(folds)]
        assert max(spread) - min(spread) <= 1
    assert set(fold) == set(range(folds))


def test_order_of_rows_does_not_matter_but_the_seed_does():
    lesion, dx = lesions(150)
    fold = lesion_folds(lesion, dx, 3, 0)
    back = lesion_folds(lesion[::-1], dx[::-1], 3, 0)[::-1]
    assert fold.tolist() == back.tolist()
    assert fold.tolist() != lesion_folds(lesion, dx, 3, 1).tolist()


def test_fewer_lesions_than_folds():
    with pytest.raises(
        DataError, match=r"3 folds need at least 3 lesions \(patients, where they are known\) but train has 2"
    ):
        lesion_folds(np.array(["a", "a", "b"]), np.array(["x", "x", "y"]), 3, 0)
