"""Gathers what the answer is read from: the headline differences of a study, what is missing and why, equal pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.arms import ENGINE, HEADLINE
from engine.evaluation.figures import figure_words
from engine.study.comparison import Difference
from engine.study.design import Design
from engine.study.lesions import behind
from engine.study.pools import OWN, unmatched
from engine.study.replicates import Replicate
from engine.study.verdict import GUARDS, Evidence, Pair


def evidence_of(
    runs: Sequence[Replicate],
    design: Design,
    arms: Sequence[str],
    found: Mapping[tuple[str, str], Difference],
    untested: tuple[str, ...],
    draws: Mapping[str, int],
) -> Evidence:
    """Return what the answer is read from.

    Args:
        runs: the study's runs.
        design: how they make replicates.
        arms: arms that every run has.
        found: headline differences by (figure, baseline).
        untested: arms that trained on the same images as hard in every run.
        draws: bootstrap draws in which each figure is defined, against whichever baseline has fewer.
    """
    run = runs[0]
    primary, *further = run.endpoints.primary
    missing = {arm: f"{arm} was not run" for arm in HEADLINE if arm not in arms}
    if ENGINE not in arms:
        missing["endpoint"] = "no round with the hard arm has finished"
    elif (primary, "real") not in found and "real" in arms and "real" not in untested:
        missing["endpoint"] = _undefined(primary)
    if (GUARDS[1], "real") not in found and run.endpoints.melanoma in run.classes:
        missing["melanoma"] = "melanoma sensitivity cannot be told: val or test holds too few melanomas"
    return Evidence(
        protocol=run.protocol,
        replicates=design.replicates,
        draws=draws,
        kind=design.unit,
        figure=primary,
        against_real=found.get((primary, "real")),
        against_random=found.get((primary, "random")),
        further={f: Pair(real=found.get((f, "real")), random=found.get((f, "random"))) for f in further},
        lesions={figure: behind(runs, figure) for figure in dict.fromkeys((primary, *further, *GUARDS))},
        specificity=found.get((GUARDS[0], "real")),
        melanoma_sensitivity=found.get((GUARDS[1], "real")),
        missing=missing,
        untested=tuple(arm for arm in HEADLINE if arm in untested),
        none_accepted=all(one.pools.get(ENGINE) == OWN for one in runs),
        unmatched=unmatched([one.added for one in runs], ENGINE, "random"),
        caveat=generator_caveat(runs),
        partly=_partly(runs, design, [arm for arm in HEADLINE if arm in arms]),
        objection=design.objection or None,
        operating_point=run.endpoints.specificity,
    )


def generator_caveat(runs: Sequence[Replicate]) -> str:
    """Say that other real images reach the classifier through the generator; "" where none do."""
    if any(run.generator_saw == "train" and run.lesions("pool") for run in runs):
        which = "train images outside the classifier's own training set (loop.generator_saw: train)"
    elif any(run.generator_saw == "unlabelled" for run in runs):
        which = "unlabelled images (loop.generator_saw: unlabelled)"
    else:
        return ""
    return (
        f"the generator saw {which}: part of a gain is other real images that reach the classifier through it"
    )


def _undefined(figure: str) -> str:
    if figure.startswith("malignant."):
        return "the data names no malignant class, or val or test holds none"
    return f"{figure_words(figure)} is undefined: val or test lacks a class"


def _partly(runs: Sequence[Replicate], design: Design, arms: Sequence[str]) -> str:
    """Say in how many replicates an arm trained on the same images as hard, where in some and not in all."""
    found = []
    for arm in arms:
        same = sum(all(runs[row].same_pool(ENGINE, arm) for row in rows) for rows in design.groups)
        if 0 < same < design.replicates:
            found.append(
                f"hard and {arm} trained on the same images in {same} of {design.replicates} {design.unit}s"
            )
    return "; ".join(found)
