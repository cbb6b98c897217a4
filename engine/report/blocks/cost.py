"""What hard cases cost in the report: seconds of computing for each error of arm real that arm hard does not make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.arms import START, in_words
from engine.artifacts.run_files import RunFiles
from engine.evaluation.scoring import malignant_score
from engine.report.wording import NOTHING, duration
from engine.study.contrasts import ARM
from engine.study.replicates import Replicate

GENERATOR: Final = ("embedder", "index", "vae", "latents", "denoiser", "distill", "gan", "judge")
"""Foundation stages that only synthesis and its gates need."""
SYNTHESIS: Final = ("crossfit", "mine", "condition", "synthesize", "accept")
"""Stages of a round that arm real does without; fidelity and scoring only measure, they are left out."""

RECOGNISED: Final = f"test images recognised that are not when trained {in_words(START)}, less those lost"
FOUND: Final = "malignant or premalignant test images found at the operating point, less those lost"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds that arm hard took beyond arm real, and test images it gets right net of those it newly gets wrong.

    ``malignant`` counts malignant images called so at the operating point; None where there is none.
    """

    generator: float
    synthesis: float
    training: float
    errors: int
    malignant: int | None
    device: str

    @property
    def seconds(self) -> float:
        """All three together."""
        return self.generator + self.synthesis + self.training


def cost_of(run: RunFiles, replicate: Replicate) -> Cost | None:
    """Return the cost of one run; None where an arm is missing."""
    number = run.report.last_round(ARM)
    if number is None or not {ARM, "real"} <= set(replicate.arms):
        return None
    mine = [e.seconds for e in run.report.of_arm(ARM) if e.round > 0]
    trained = {
        arm: sum(e.seconds.get("classifier", 0.0) for e in run.report.of_arm(arm) if e.round > 0)
        for arm in (ARM, "real")
    }
    last = {e.arm: e.test for e in run.report.of_round(number)}
    return Cost(
        generator=sum(run.report.foundation_seconds.get(name, 0.0) for name in GENERATOR),
        synthesis=sum(seconds.get(name, 0.0) for seconds in mine for name in SYNTHESIS),
        training=trained[ARM] - trained["real"],
        errors=int(replicate.right(ARM).sum() - replicate.right("real").sum()),
        malignant=_recovered_malignant(replicate, last),
        device=run.report.device,
    )  # fmt: skip


def cost_table(costs: Sequence[Cost]) -> dict[str, Any] | None:
    """Rows of seconds and of seconds a recovered error, over one run or several; None without costs."""
    if not costs:
        return None
    seconds = sum(cost.seconds for cost in costs)
    malignant = [cost.malignant for cost in costs if cost.malignant is not None]
    devices = {cost.device for cost in costs}
    unit = {"cuda": "GPU-seconds", "cpu": "CPU-seconds"}.get(
        devices.pop() if len(devices) == 1 else "", "seconds"
    )
    return {
        "unit": unit,
        "runs": len(costs),
        "seconds": [
            ("generator, its gates and the index, once per run", duration(sum(c.generator for c in costs))),
            ("mining, synthesis and acceptance", duration(sum(c.synthesis for c in costs))),
            (f"training beyond that {in_words(START)}", _signed(sum(c.training for c in costs))),
            ("in all", duration(seconds)),
        ],
        "recovered": [
            (RECOGNISED, *_rate(sum(c.errors for c in costs), seconds)),
            (FOUND, *_rate(sum(malignant) if malignant else None, seconds)),
        ],
    }  # fmt: skip


def _recovered_malignant(replicate: Replicate, last: Mapping[str, Mapping[str, Any]]) -> int | None:
    columns = replicate.malignant_columns
    thresholds = {arm: last[arm]["malignant"].get("threshold") for arm in (ARM, "real")}
    if not columns or None in thresholds.values():
        return None
    truth_N = np.isin(replicate.test.label_N, columns)
    found = {
        arm: int((malignant_score(replicate.test.prob[arm], columns)[truth_N] >= threshold).sum())
        for arm, threshold in thresholds.items()
    }
    return found[ARM] - found["real"]


def _rate(recovered: int | None, seconds: float) -> tuple[str, str]:
    if recovered is None:
        return NOTHING, NOTHING
    return f"{recovered:+d}", f"{seconds / recovered:,.0f}".replace(
        ",", "\u202f"
    ) if recovered > 0 else "none recovered"


def _signed(seconds: float) -> str:
    return duration(seconds) if seconds >= 0 else f"−{duration(-seconds)}"
