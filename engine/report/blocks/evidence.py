"""What a page says of the evidence, of one run or a study: answer, differences between arms, calibration, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.arms import in_words
from engine.artifacts.run_files import RunFiles, read_run
from engine.evaluation.figures import figure_words, in_sentence
from engine.report.blocks import study as tables
from engine.report.blocks.calibration import calibration_block
from engine.report.blocks.cost import cost_of, cost_table
from engine.report.blocks.labels import run_labels
from engine.report.blocks.malignant import missed_block, roc_block
from engine.report.blocks.subgroups import subgroup_tables
from engine.report.tables import CHART_ARMS, last_of_each_arm
from engine.study.answer import Answer, answer
from engine.study.contrasts import FIGURES, Study, make_study
from engine.study.run_replicates import endpoints_of, open_replicate, why_unread
from engine.study.verdict import NAMES, Evidence

PLAIN_WORDS: Final[Mapping[str, str]] = {arm: f"training {in_words(arm)}" for arm in NAMES}
"""How the pages name the arms in the answer's sentence; terminal and study.json have their names."""
DRAWS = 1000
"""Bootstrap draws where config.yaml does not say how many."""


def run_answer(path: Path) -> Answer:
    """Return the answer that one run can give: lesions are resampled, its one training set is not."""
    run = read_run(path)
    study = run_study(run)
    return study.answer if study is not None else _no_answer(run)


def run_study(run: RunFiles) -> Study | None:
    """Compare the arms of one run; None where its folder lacks what that takes."""
    return None if why_unread(run) else make_study([open_replicate(run)], draws=draws_of(run))


def draws_of(run: RunFiles) -> int:
    """Return ``evaluation.bootstrap`` of the run's config."""
    return int((run.config.get("evaluation") or {}).get("bootstrap") or DRAWS)


def run_evidence(run: RunFiles) -> dict[str, Any]:
    """Return what the page of one run prints of its evidence."""
    study = run_study(run)
    rounds = [entry.to_json() for entry in run.report.rounds]
    shown = {e["arm"]: e for e in last_of_each_arm(rounds) if e["arm"] in CHART_ARMS}
    if study is None:
        found: dict[str, Any] = {
            "answer": _no_answer(run, PLAIN_WORDS),
            "study": None,
            "calibration": None,
            "cost": None,
        }
        found["labels"] = run_labels(run, None, 0)
    else:
        found = study_evidence(study, [run]) | {"labels": run_labels(run, study.design, study.draws)}
    replicate = study.runs[0] if study is not None else None
    found |= {"roc": roc_block(run, replicate), "missed": missed_block(run, replicate)}
    return {**found, "subgroups": subgroup_tables(shown), "brackets": "brackets hold 95 % intervals"}


def study_evidence(study: Study, files: Sequence[RunFiles]) -> dict[str, Any]:
    """Return what a page prints of the comparison over the given runs."""
    design = study.design
    costs = [cost_of(run, replicate) for run, replicate in zip(files, study.runs, strict=True)]
    return {
        "answer": answer(replace(study.evidence, names=PLAIN_WORDS)),
        "study": {
            "design": design,
            "unit": design.unit,
            "draws": study.draws,
            "figures": list(FIGURES.values()),
            "arms": tables.arms_table(study),
            "contrasts": tables.contrasts_tables(study),
            "family": tables.family_words(study),
            "untested": study.untested,
            "primary": in_sentence(study.primary, study.runs[0].endpoints.specificity),
            "co_primary": [figure_words(name) for name in study.endpoints[1:]],
            "seeds": max(len(study.runs[0].test.seeds(arm)) for arm in study.runs[0].arms),
            "exploratory": tables.exploratory_table(study),
            "replicates": tables.replicates_table(study),
            "paired_tests": tables.paired_tests_table(study),
        },
        "calibration": calibration_block(_predictions(study)),
        "cost": cost_table([cost for cost in costs if cost is not None]),
    }


def _predictions(study: Study) -> Mapping[str, Any]:
    """Test predictions of the arms in the charts, all runs together."""
    return {
        arm: (
            np.concatenate([np.asarray(run.test.prob[arm], dtype=np.float64) for run in study.runs]),
            np.concatenate([run.test.label_N for run in study.runs]),
        )
        for arm in CHART_ARMS
        if arm in study.arms
    }


def _no_answer(run: RunFiles, names: Mapping[str, str] = NAMES) -> Answer:
    endpoints = endpoints_of(run.config)
    return answer(
        Evidence(
            protocol=run.report.protocol,
            replicates=0,
            against_real=None,
            against_random=None,
            specificity=None,
            melanoma_sensitivity=None,
            missing={"endpoint": why_unread(run)},
            figure=endpoints.primary[0],
            operating_point=endpoints.specificity,
            names=names,
        )
    )
