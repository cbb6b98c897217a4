"""Defines what Table I holds and what one call of experiments.table1 may ask for: rows, models, training sets, configs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from engine import build
from engine.config import Config
from engine.errors import ConfigError
from engine.store.run_folder import flat_config
from experiments.lib.keeping import changes, require_engine, require_frozen

DEVELOPMENT = (0, 1)
"""The training sets on which settings are chosen; none of them is ever scored on test."""
SETS = 10
CONFIRMING = tuple(k for k in range(SETS) if k not in DEVELOPMENT)
"""The training sets that PROTOCOL.md fixes: no claim before all of them are scored."""
FROZEN = "6e3b1f5"
"""The commit whose engine scores the confirming sets: a later fix must not mix two pipelines in one study."""
PER_CLASS = "data.split.train_sets={count: 4, images: 250, per_class: true}"
MODELS = {
    "resnet18": ("resnet18", False),
    "resnet34": ("resnet34", False),
    "vgg13": ("vgg13_bn", True),
    "vgg16": ("vgg16_bn", True),
    "vgg19": ("vgg19_bn", True),
}
"""Name in the table: timm's name (VGGs with batch norm: they start from scratch), and whether its head is made small."""
ORIGIN = {"Origin250": 0.5, "Origin500": 1.0, "Origin1000": 2.0}
"""Rows of real images alone: how many training sets each holds."""
OF_THE_STUDY = ("classical", "mined", "retrieved", "random", "dcgan")
"""Arms of the closed study beside ``real`` (arm ``plain`` today, which its own engine called real), hard and synthetic."""
SYNTHETIC = {"Origin500 plain": "real", "Synthetic500": "synthetic", "Hybrid1000": "hard"} | {
    f"Hybrid1000 {arm}": arm for arm in OF_THE_STUDY
}
"""Rows that an arm of the run trains."""
PLAIN = "Origin500 plain"
"""The one of them that needs nothing from the run: real images alone."""
ROWS = (*ORIGIN, *SYNTHETIC)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one call asks for."""

    config: Path
    number: int
    part: str
    saw: str
    per_class: bool
    pixels: int
    overrides: tuple[str, ...]

    @property
    def label(self) -> str:
        """The table of this call's cells in the set's file; each setting that is tried has its own."""
        kind = " ".join([self.saw, "per class" if self.per_class else "in total", f"{self.pixels} px"])
        return ", ".join([kind, *changes(self.overrides)])

    @property
    def scored(self) -> str:
        """The part of the split whose figures count."""
        return "val" if self.part == "development" else "test"

    def halves(self, sets: float = 1.0) -> list[int]:
        """The sets of 250 that make half a training set, one, or two (with its neighbour of the same part)."""
        own = [2 * self.number, 2 * self.number + 1]
        if sets < 1.0:
            return own[:1]
        other = neighbour(self.number)
        return own if sets == 1.0 else [*own, 2 * other, 2 * other + 1]

    def load(self, name: str, *more: str, sets: float = 1.0) -> Config:
        """The config of a run with what this call changes; every other config is another run."""
        counts = (
            [PER_CLASS, "loop.max_synthetic=null", "loop.max_synthetic_ratio=1.0"] if self.per_class else []
        )
        sealed = "test" if self.part == "development" else "null"
        config = build.load(
            self.config,
            [
                *self.overrides,
                *counts,
                f"data.image_size={self.pixels}",
                f"loop.generator_saw={self.saw}",
                f"data.split.seal={sealed}",
                f"data.split.train_sets.use={self.halves(sets)}",
                *more,
            ],
        )
        digest = hashlib.sha256(json.dumps(flat_config(config), sort_keys=True).encode()).hexdigest()[:8]
        return config.model_copy(update={"name": f"table1-{self.part}-{self.number:02d}-{name}-{digest}"})


def check(request: Request) -> None:
    """Refuse what would let the test part decide anything.

    Raises:
        ConfigError: the set is not of that part, or a confirmation is not of the frozen configuration.
    """
    sets = range(2 if request.per_class else SETS)
    development = DEVELOPMENT[:1] if request.per_class else DEVELOPMENT
    allowed = [k for k in sets if (k in development) == (request.part == "development")]
    if request.number not in allowed:
        raise ConfigError(
            f"--set {request.number} is no set of --part {request.part}; these are {', '.join(map(str, allowed))}. "
            "Development sets are never scored on test, the others are not looked at before"
        )
    if request.part == "development":
        return
    require_frozen(request.config, request.overrides)
    require_engine(FROZEN, "engine", "policies", str(request.config.resolve()), what="the confirming sets")


def neighbour(number: int) -> int:
    """The next training set of the same part: what Origin1000 adds."""
    part = [k for k in range(SETS) if (k in DEVELOPMENT) == (number in DEVELOPMENT)]
    return part[(part.index(number) + 1) % len(part)]
