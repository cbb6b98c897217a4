"""study.json: a study as plain JSON, every figure with its replicates, every difference with both of its intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from engine.evaluation.clustered_tests import delong_clustered, mcnemar_clustered
from engine.evaluation.replicate import Replicate
from engine.evaluation.report_files import RunFiles
from engine.evaluation.scoring import malignant_score
from engine.evaluation.study import ARM, Contrast, Study
from engine.evaluation.study_files import last_round

SCHEMA_VERSION = 1


def study_record(study: Study, files: Sequence[RunFiles]) -> dict[str, Any]:
    """Return study.json's object; ``files`` are the run folders in the order of ``study.runs``."""
    design = study.design
    first = study.runs[0]
    return {
        "schema_version": SCHEMA_VERSION,
        "answer": study.answer.to_json(),
        "protocol": first.protocol,
        "design": {
            "kind": design.kind,
            "unit": design.unit,
            "replicates": design.replicates,
            "n_train_lesions": design.n_train,
            "n_test_lesions": design.n_test,
            "objection": design.objection,
        },
        "endpoints": asdict(first.endpoints),
        "draws": study.draws,
        "runs": [_run(study, position, run) for position, run in enumerate(files)],
        "arms": {
            arm: {name: {"mean": _number(np.mean(v)), "values": [_number(x) for x in v]} for name, v in figures.items()}
            for arm, figures in study.arms.items()
        },
        "contrasts": [_contrast(contrast) for contrast in study.contrasts],
    }  # fmt: skip


def tests_against_real(run: Replicate) -> dict[str, float | None] | None:
    """Return clustered McNemar's p (top label) and clustered DeLong's difference of malignant AUC, hard against real.

    They see one pair of classifiers on one test part: exploratory. None where an arm is missing.
    """
    if not {ARM, "real"} <= set(run.arms):
        return None
    test = run.test
    found: dict[str, float | None] = {
        "mcnemar_p": mcnemar_clustered(run.right(ARM), run.right("real"), test.lesion_id),
        "delong_auc_difference": None,
        "delong_p": None,
    }
    columns = run.malignant_columns
    positive_N = np.isin(test.label_N, columns)
    if positive_N.any() and not positive_N.all():
        scores = {arm: malignant_score(test.prob[arm], columns) for arm in (ARM, "real")}
        delong = delong_clustered(scores[ARM], scores["real"], positive_N, test.lesion_id)
        found |= {"delong_auc_difference": _number(delong.value), "delong_p": delong.p_value}
    return found


def _run(study: Study, position: int, files: RunFiles) -> dict[str, Any]:
    run = study.runs[position]
    replicate = next(n for n, rows in enumerate(study.design.groups) if position in rows)
    return {
        "name": run.name,
        "replicate": replicate,
        "loop_seed": run.seed,
        "round": last_round(files.report),
        "n_train_lesions": len(run.lesions("train")),
        "n_test_lesions": len(run.lesions("test")),
        "config_digest": files.report.get("config_digest"),
        "split_digest": files.report.get("split_digest"),
        "tests_against_real": tests_against_real(run),
    }


def _contrast(contrast: Contrast) -> dict[str, Any]:
    return {
        "figure": contrast.figure,
        "arm": ARM,
        "baseline": contrast.baseline,
        "role": contrast.role,
        **asdict(contrast.difference),
        "procedures": [asdict(d) for d in contrast.procedures],
        "values": [_number(value) for value in contrast.values],
        "holm_p": contrast.adjusted_p,
        "adjusted": asdict(contrast.adjusted) if contrast.adjusted is not None else None,
        "claim": contrast.claim or None,
    }


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
