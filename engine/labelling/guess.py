"""Whether readers say what the model says more often after they saw its guess.

Shape legend: B bootstrap draws, A answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.artifacts.labels import Answer
from engine.evaluation.statistics import Interval, group_weights, interval

DRAWS: Final = 1_000
_SEED: Final = 0


@dataclass(frozen=True, kw_only=True)
class WithModel:
    """How often answers are the model's class, with its guess in sight before (``shown``) and without.

    ``difference`` is the share with it minus the share without, undefined where one has no answers. Nobody drew which
    answers had the guess in sight, so a difference does not prove that the guess made it.
    """

    shown: int
    shown_agree: int
    unseen: int
    unseen_agree: int
    difference: Interval


def with_model(
    answers: Sequence[Answer], guesses: Mapping[str, str], group: Mapping[str, str], draws: int = DRAWS
) -> WithModel:
    """Count people's classes on images of which the model's class is known; intervals draw groups of images."""
    of_model = [a for a in answers if a.kind == "label" and not a.simulated and a.image_id in guesses]
    shown_A = np.array([a.guess_shown for a in of_model], dtype=np.bool_)
    agree_A = np.array([a.dx == guesses[a.image_id] for a in of_model], dtype=np.float64)
    names, place_A = np.unique([group.get(a.image_id, a.image_id) for a in of_model], return_inverse=True)
    weights_BA = group_weights(len(names), draws, np.random.default_rng(_SEED))[:, place_A]
    with np.errstate(invalid="ignore", divide="ignore"):
        share_B = [
            weights_BA[:, rows_A] @ agree_A[rows_A] / weights_BA[:, rows_A].sum(axis=1)
            for rows_A in (shown_A, ~shown_A)
        ]
    n_shown, n_unseen = int(shown_A.sum()), int((~shown_A).sum())
    defined = n_shown > 0 and n_unseen > 0
    value = float(agree_A[shown_A].mean() - agree_A[~shown_A].mean()) if defined else float("nan")
    return WithModel(
        shown=n_shown,
        shown_agree=int(agree_A[shown_A].sum()),
        unseen=n_unseen,
        unseen_agree=int(agree_A[~shown_A].sum()),
        difference=interval(value, share_B[0] - share_B[1]),
    )
