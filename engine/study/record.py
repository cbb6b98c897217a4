"""study.json: a study as plain JSON, every figure with its replicates, every difference with both of its intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from engine.artifacts.study_json import SCHEMA_VERSION
from engine.evaluation.figures import lower_is_better
from engine.study.contrasts import ARM, Contrast, Study


def study_record(study: Study, facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return study.json's object; ``facts`` is what is said beside each run, in the order of ``study.runs``."""
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
            "in_common": design.in_common,
            "correlation": design.correlation,
            "objection": design.objection,
        },
        "endpoints": asdict(first.endpoints),
        "draws": study.draws,
        "runs": [_run(study, position, said) for position, said in enumerate(facts)],
        "arms": {
            arm: {name: {"mean": _number(np.mean(v)), "values": [_number(x) for x in v]} for name, v in figures.items()}
            for arm, figures in study.arms.items()
        },
        "contrasts": [_contrast(contrast) for contrast in study.contrasts],
        "untested": list(study.untested),
    }  # fmt: skip


def _run(study: Study, position: int, said: Mapping[str, Any]) -> dict[str, Any]:
    run = study.runs[position]
    replicate = next(n for n, rows in enumerate(study.design.groups) if position in rows)
    return {
        "name": run.name,
        "replicate": replicate,
        "loop_seed": run.seed,
        "n_train_lesions": len(run.lesions("train")),
        "n_test_lesions": len(run.lesions("test")),
        "classifier_seeds": max((len(run.test.seeds(arm)) for arm in run.arms), default=0),
        **said,
        "tests_against_real": study.paired_tests[position],
    }


def _contrast(contrast: Contrast) -> dict[str, Any]:
    return {
        "figure": contrast.figure,
        "arm": ARM,
        "baseline": contrast.baseline,
        "role": contrast.role,
        "lower_is_better": lower_is_better(contrast.figure),
        **asdict(contrast.difference),
        "procedures": [asdict(d) for d in contrast.procedures],
        "values": [_number(value) for value in contrast.values],
        "holm_p": contrast.adjusted_p,
        "adjusted": asdict(contrast.adjusted) if contrast.adjusted is not None else None,
        "claim": contrast.claim or None,
        "lesions": asdict(contrast.lesions),
        "draws": contrast.draws,
        "reason": contrast.reason,
    }


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
