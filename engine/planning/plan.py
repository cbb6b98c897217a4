"""The memory every stage of a run needs, from its config alone: no network is allocated, nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from engine.planning import maps, trainings
from engine.planning.live_memory import fake_tensors
from engine.planning.setting import Need, Setting

PLANNERS: Final[Mapping[str, Callable[[Setting], Need | None]]] = {
    "embedder": trainings.embedder,
    "index": maps.index,
    "vae": trainings.vae,
    "latents": maps.latents,
    "denoiser": trainings.denoiser,
    "distill": trainings.distill,
    "gan": trainings.gan,
    "judge": lambda setting: trainings.fit(setting, setting.config.judge),
    "classifier": lambda setting: trainings.fit(setting, setting.config.classifier),
    "crossfit": lambda setting: trainings.fit(setting, setting.config.classifier),
    "predict": maps.predict,
    "synthesize": maps.synthesize,
}
"""The stages that hold much, in the order of a run. Others hold less than one of these, or no network."""


def plan_memory(setting: Setting, stages: Iterable[str]) -> dict[str, Need]:
    """Return what each of the stages needs; a stage without a planner, or without a network to run, is left out.

    A few networks of other people's making cannot run on fake tensors. Their stages are left out, too: a plan that cannot be
    made must not keep a run from starting.
    """
    found = {stage: plan_stage(setting, stage) for stage in stages if stage in PLANNERS}
    return {stage: need for stage, need in found.items() if need is not None}


def plan_stage(setting: Setting, stage: str) -> Need | None:
    """Return what one stage of ``PLANNERS`` needs; None where it runs no network or the plan cannot be made."""
    try:
        with fake_tensors():
            return PLANNERS[stage](setting)
    except Exception:  # of whatever a network of other people's making does with a tensor's values
        return None
