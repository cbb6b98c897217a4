"""Tests of one pair of classifiers on one test part, a group's images together: always exploratory, never the headline."""

from __future__ import annotations

import math

import numpy as np

from engine.evaluation.scoring import malignant_score
from engine.study.clustered_tests import delong_clustered, mcnemar_clustered
from engine.study.replicates import Replicate


def paired_tests(run: Replicate, arm: str, baseline: str) -> dict[str, float | None] | None:
    """Return clustered McNemar's p (top label) and clustered DeLong's difference of malignant AUC, arm minus baseline.

    They see the first classifier seed of each arm. None where an arm is missing, or where both trained on the same images
    and nothing was tested; DeLong's figures are None where test holds no malignant or no benign image.
    """
    if not {arm, baseline} <= set(run.arms) or run.same_pool(arm, baseline):
        return None
    test = run.test
    found: dict[str, float | None] = {
        "mcnemar_p": mcnemar_clustered(run.right(arm), run.right(baseline), test.group_N),
        "delong_auc_difference": None,
        "delong_p": None,
    }
    columns = run.malignant_columns
    positive_N = np.isin(test.label_N, columns)
    if positive_N.any() and not positive_N.all():
        ours, theirs = (malignant_score(test.prob[name], columns) for name in (arm, baseline))
        delong = delong_clustered(ours, theirs, positive_N, test.group_N)
        value = float(delong.value)
        found |= {
            "delong_auc_difference": value if math.isfinite(value) else None,
            "delong_p": delong.p_value,
        }
    return found
