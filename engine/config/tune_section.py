"""The section ``tune``: how `hardcase tune` searches ``search_space``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.config.sections import Section, Steps


class TuneConfig(Section):
    """How a sweep searches; every decision is made on val."""

    trials: Steps = Field(12, description="settings to try; grid: at most so many of the grid")
    concurrent: Steps | None = Field(None, description="trials at a time; null: as many as fit")
    searcher: Literal["optuna", "random", "grid"] = Field(
        "optuna",
        description="optuna: tree of Parzen estimators, learns from finished trials; grid: choices only",
    )
    scheduler: Literal["asha", "none"] = Field(
        "asha", description="asha: stops trials that are behind at a round; none: every trial to its end"
    )
    grace_rounds: Steps = Field(1, description="rounds (after round 0) before asha may stop a trial")
    reduction: Annotated[float, Field(gt=1.0)] = Field(
        2.0, description="asha lets one in so many trials go on from a rung"
    )
    metric: str = Field(
        "balanced_accuracy",
        description="figure of report.json's val to improve, for example malignant.sensitivity_at_specificity_90",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="seed of the searcher")
    cpus_per_trial: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="CPUs per trial holds; null: backend.threads, or what there is"
    )
    gpus_per_trial: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="GPUs per trial holds, 0.25 puts four on one; device auto: cuda where above 0"
    )
