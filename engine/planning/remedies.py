"""What to change where a stage does not fit: each setting that could help, planned again with other values.

Settings that leave the training as it is come first (accumulation, gradient checkpointing, sharding), then those that change
results (moments in 8 bit, precision, batch size), then the image size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.config import Config, parse_config
from engine.errors import ConfigError
from engine.planning.plan import plan_stage
from engine.planning.setting import Need, Setting, fewest_workers

Fits = Callable[[Need], bool]

SECTIONS: Final[Mapping[str, str]] = {
    "crossfit": "classifier",
    "distill": "denoiser",
    "predict": "classifier",
    "synthesize": "synthesis",
}
"""The config section of a stage where it has another name."""
TRAIN_ALONE: Final = frozenset({"predict", "index", "latents"})
"""Stages whose chunks are of fixed size, so that no batch size helps."""
SMALLEST_SIDE: Final = 16


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """Settings (dotted key to value) with which a stage fits, and what it needs then, bytes."""

    settings: dict[str, Any]
    peak: int


def remedies(setting: Setting, stage: str, fits: Fits) -> list[Remedy]:
    """Return every single setting with which ``stage`` fits, at its mildest value; else one combination; else nothing.

    Args:
        setting: the run as it is.
        stage: one that has a plan and does not fit.
        fits: says whether a need fits the device and this machine.
    """
    levers = dict(_levers(setting.config, stage))
    if _try(setting, stage, fits, _strongest(levers)) is None:
        return []
    alone = [_mildest(setting, stage, fits, {}, key, values) for key, values in levers.items()]
    found = [remedy for remedy in alone if remedy is not None]
    return found or _together(setting, stage, fits, levers)


def least(setting: Setting, stage: str) -> Remedy | None:
    """Return all settings that could help at their strongest; None where there are none, or the config would be refused."""
    settings = _strongest(dict(_levers(setting.config, stage)))
    return _try(setting, stage, lambda _: True, settings) if settings else None


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config | None:
    """Return the config with dotted keys changed; None where it would be refused."""
    tree: dict[str, Any] = config.model_dump(mode="json")
    for key, value in settings.items():
        section, _, name = key.partition(".")
        tree[section][name] = value
    try:
        return parse_config(tree)
    except ConfigError:
        return None


def _strongest(levers: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {key: values[-1] for key, values in levers.items()}


def _mildest(
    setting: Setting, stage: str, fits: Fits, given: Mapping[str, Any], key: str, values: list[Any]
) -> Remedy | None:
    """Return the mildest of ``values``, the strongest last, that makes the stage fit; None where the strongest does not.

    A stronger value needs no more, so half of the values are ruled out by each that is tried.
    """
    best = _try(setting, stage, fits, {**given, key: values[-1]})
    low, high = 0, len(values) - 1
    while best is not None and low < high:
        middle = (low + high) // 2
        remedy = _try(setting, stage, fits, {**given, key: values[middle]})
        low, high, best = (low, middle, remedy) if remedy is not None else (middle + 1, high, best)
    return best


def _together(setting: Setting, stage: str, fits: Fits, levers: Mapping[str, list[Any]]) -> list[Remedy]:
    """Return one combination: levers at their strongest, one after the other, until the last one is enough."""
    given: dict[str, Any] = {}
    for key, values in levers.items():
        remedy = _mildest(setting, stage, fits, given, key, values)
        if remedy is not None:
            return [remedy]
        given[key] = values[-1]
    return []


def _try(setting: Setting, stage: str, fits: Fits, settings: dict[str, Any]) -> Remedy | None:
    config = with_settings(setting.config, settings)
    need = None if config is None else plan_stage(setting.of(config), stage)
    return Remedy(settings=settings, peak=need.peak) if need is not None and fits(need) else None


def _levers(config: Config, stage: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield (dotted key, its values from the mildest to the strongest) that could lower what a stage needs."""
    name = SECTIONS.get(stage, stage)
    section = getattr(config, name, None)
    if stage not in TRAIN_ALONE and section is not None:
        batch = section.batch_size
        if hasattr(section, "accumulate"):
            pieces = _doubled(section.accumulate, batch)
            yield from [(f"{name}.accumulate", pieces)] if pieces else []
        if getattr(section, "gradient_checkpointing", True) is False:
            yield f"{name}.gradient_checkpointing", [True]
        backend = config.backend
        if fewest_workers(backend) > 1 and not backend.shard_optimizer and hasattr(section, "optimizer"):
            yield from [("backend.shard_optimizer", [True])] if backend.precision != "fp16" else []
        if getattr(section, "validations", 0):
            yield f"{name}.validations", [0]
        if getattr(section, "moments_in_8_bit", False) and section.optimizer == "adamw":
            yield f"{name}.optimizer", ["adamw8bit"]
        if getattr(section, "ema", 0.0):
            yield f"{name}.ema", [0.0]
        if name == "denoiser" and section.pretrained is not None and section.train == "all":
            yield "denoiser.train", ["lora", "adapter"]
        if config.backend.precision == "float32":
            yield "backend.precision", ["bf16"]
        smaller = _halved(batch, max(2 if name == "embedder" else 1, backend.most_train_workers))
        yield from [(f"{name}.batch_size", smaller)] if smaller else []
    sides = _halved(config.data.image_size, SMALLEST_SIDE)
    yield from [("data.image_size", sides)] if sides else []


def _doubled(value: int, most: int) -> list[int]:
    return list(itertools.takewhile(lambda v: v <= most, (value * 2**k for k in range(1, 12))))


def _halved(value: int, least: int) -> list[int]:
    return [value // 2**k for k in range(1, 12) if value // 2**k >= least]
