"""Kim et al., Table I, with what it leaves open held fixed: one (training set, row, model) cell at a time.

usage: python -m experiments.table1 run CONFIG --set K --part development|confirm [--train] [--per-class] [--pixels 32]
           [--models resnet18 vgg13 ...] [--rows Origin500 Hybrid1000 ...] [--with key=value ...]
       python -m experiments.table1 collect

Every row is trained from scratch for the same optimizer steps, with the same augmentation (but "Origin500 plain", the arm
real) and from the same seed; the synthetic images are those that CONFIG's run made of ResNet18's hard cases, whatever model
is trained on them. ``run`` plays that run (or finds it in the stage cache), then each cell that is asked for, and writes
results/table1/set_KK.json (per_class_KK.json) after every cell; the same command goes on. ``collect`` needs no data: it
reads those files and writes result.json, table.md and table.png.

A training set is two of the config's disjoint sets of 250: Origin250 is half of Origin500, and Origin1000 two of them.
``--part development`` leaves the test part out of the run altogether (``data.split.seal``) and scores val; it takes the
sets in DEVELOPMENT alone. ``--part confirm`` takes the others, and no setting that changes what is computed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from engine import build
from engine.config import ARMS, Config
from engine.errors import ConfigError
from engine.progress import RichListener
from engine.recipes import Recipes
from engine.store import StageFolder
from engine.store.files import read_json, write_json
from engine.store.run_folder import arm_role
from experiments import common
from experiments.common import provenance, require_frozen, this_command
from experiments.replicates import beside, point_figures, read_replicate

DEVELOPMENT = (0, 1)
"""The training sets on which settings are chosen; none of them is ever scored on test."""
SETS = 10
HALF = 250
PER_CLASS = "data.split.train_sets={count: 4, images: 250, per_class: true}"
MODELS = {
    "resnet18": ("resnet18", False),
    "resnet34": ("resnet34", False),
    "vgg13": ("vgg13_bn", True),
    "vgg16": ("vgg16_bn", True),
    "vgg19": ("vgg19_bn", True),
}
"""Name in the table: timm's name (VGGs with batch norm: they start from nothing), and whether a VGG's head is made small."""
ORIGIN = {"Origin250": 0.5, "Origin500": 1.0, "Origin1000": 2.0}
"""Rows of real images alone: how many training sets each holds."""
SYNTHETIC = {"Origin500 plain": "real", "Synthetic500": "synthetic", "Hybrid1000": "hard"} | {
    f"Hybrid1000 {arm}": arm for arm in ARMS if arm not in ("real", "synthetic", "hard", "all_real")
}
"""Rows that an arm of the run trains."""
ROWS = (*ORIGIN, *SYNTHETIC)
PAPER_ROWS = ("Origin250", "Origin500", "Synthetic500", "Hybrid1000")


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
        """Where the cells of this call stand in the set's file."""
        return " ".join([self.saw, "per class" if self.per_class else "in total", f"{self.pixels} px"])

    def halves(self, sets: float = 1.0) -> list[int]:
        """The sets of 250 that make half a training set, one, or two (with its neighbour of the same part)."""
        own = [2 * self.number, 2 * self.number + 1]
        if sets < 1.0:
            return own[:1]
        other = neighbour(self.number)
        return own if sets == 1.0 else [*own, 2 * other, 2 * other + 1]

    def load(self, name: str, *more: str, sets: float = 1.0) -> Config:
        """The config for a run of its own, with what this call changes."""
        counts = (
            [PER_CLASS, "loop.max_synthetic=null", "loop.max_synthetic_ratio=1.0"] if self.per_class else []
        )
        sealed = "test" if self.part == "development" else "null"
        kind = self.label.replace(" ", "-")
        return build.load(
            self.config,
            [
                *self.overrides,
                *counts,
                f"name=table1-{kind}-{self.part}-{self.number:02d}-{name}",
                f"data.image_size={self.pixels}",
                f"loop.generator_saw={self.saw}",
                f"data.split.seal={sealed}",
                f"data.split.train_sets.use={self.halves(sets)}",
                *more,
            ],
        )


def main() -> None:
    """Run cells, or collect them."""
    arguments = parse()
    if arguments.action == "collect":
        from experiments.table1_report import collect

        print(collect(common.RESULTS / "table1"))
        return
    request = Request(
        config=arguments.config,
        number=arguments.set,
        part=arguments.part,
        saw="train" if arguments.train else "own",
        per_class=arguments.per_class,
        pixels=arguments.pixels,
        overrides=tuple(arguments.overrides),
    )
    check(request)
    print(run(request, arguments.models, arguments.rows))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("collect")
    one = actions.add_parser("run")
    one.add_argument("config", type=Path)
    one.add_argument("--set", type=int, required=True)
    one.add_argument("--part", choices=("development", "confirm"), required=True)
    one.add_argument(
        "--train", action="store_true", help="the generator saw the whole pool, not the set alone"
    )
    one.add_argument(
        "--per-class", action="store_true", help="250, 500 and 1000 images a class, up to what exists"
    )
    one.add_argument("--pixels", type=int, default=64)
    one.add_argument("--models", nargs="+", choices=MODELS, default=["resnet18"])
    one.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    one.add_argument("--with", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def check(request: Request) -> None:
    """Refuse what would let the test part have a say.

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


def neighbour(number: int) -> int:
    """The next training set of the same part: what Origin1000 adds."""
    part = [k for k in range(SETS) if (k in DEVELOPMENT) == (number in DEVELOPMENT)]
    return part[(part.index(number) + 1) % len(part)]


def run(request: Request, models: Sequence[str], rows: Sequence[str]) -> Path:
    """Train and score every asked cell, keeping the set's file after each."""
    kind = "per_class" if request.per_class else "set"
    path = common.RESULTS / "table1" / f"{kind}_{request.number:02d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [row for row in rows if row != "Origin1000" or not request.per_class]
    config = request.load("run")
    pools: dict[str, StageFolder] = {}
    if any(row in SYNTHETIC for row in rows):
        folder, report = build.run(config, listener=RichListener(Console()))
        last = config.loop.rounds
        pools = {arm: folder.stage(arm_role(last, arm, "pool")) for arm in config.loop.arms}
        entries = {entry["arm"]: beside(entry, scored_part(request)) for entry in report["rounds"]}
        keep(path, request, config, {"protocol": report["protocol"], "arms": entries})
    for model in models:
        for row in rows:
            if row in ORIGIN or SYNTHETIC[row] in pools:
                cases, found = cell(request, model, row, pools.get(SYNTHETIC.get(row, "")))
                keep(path, request, config, {"cases": cases}, {f"{model} | {row}": found})
    return path


def scored_part(request: Request) -> str:
    """The part of the split whose figures count."""
    return "val" if request.part == "development" else "test"


def cell(
    request: Request, model: str, row: str, pool: StageFolder | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train one model on one row's images; return the scored cases and what it says of them, as JSON."""
    name, small = MODELS[model]
    settings = [f"classifier.model={name}", f"classifier.small_stem={str(small).lower()}"]
    changes = [] if model == "resnet18" else settings
    config = request.load(f"{model}-{row.replace(' ', '-')}", *changes, sets=ORIGIN.get(row, 1.0))
    wiring = build.wire(config, listener=RichListener(Console()), track=False)
    try:
        recipes = wiring.loop().recipes
        recipes.data()
        arm = SYNTHETIC.get(row, "classical")  # the augmentation of every arm but plain real
        pool = pool or recipes.pool(0, "real", {}, {})
        return scored(recipes, config, arm, pool, scored_part(request))
    finally:
        wiring.backend.close()


def scored(
    recipes: Recipes, config: Config, arm: str, pool: StageFolder, part: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train from scratch for the config's steps, predict, and read the outcome on one part."""
    last = config.loop.rounds
    classifier = recipes.classifier(last, arm, pool, config.classifier.steps, None)
    predict = recipes.predict(last, arm, classifier)
    cases, outcome = read_replicate(predict.path, recipes.stages["split"].path, part)
    contents = read_json(pool.path / "pool.json")
    return cases.to_json(), {
        "part": part,
        "n_real": contents["n_real"],
        "n_synthetic": contents["n_synthetic"],
        "n_rows": contents["n_rows"],
        "optimizer_steps": config.classifier.steps,
        "seed": config.loop.seed,
        "seconds": round(classifier.seconds + predict.seconds, 1),
        "figures": point_figures(cases, outcome),
        "outcome": outcome.to_json(),
    }


def keep(
    path: Path, request: Request, config: Config, facts: dict[str, Any], cells: dict[str, Any] | None = None
) -> None:
    """Add facts and cells to the set's file; the cases are kept once for all its cells."""
    found = read_json(path) if path.exists() else {"set": request.number, "part": request.part, "tables": {}}
    table = found["tables"].setdefault(request.label, {"cells": {}})
    table |= {**provenance(this_command(), config), **facts}
    table["cells"] |= cells or {}
    write_json(path, found)


def tables(folder: Path) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    """Yield (set, part, label, table) of every kept table."""
    for path in sorted([*folder.glob("set_*.json"), *folder.glob("per_class_*.json")]):
        found = read_json(path)
        for label, table in found["tables"].items():
            yield found["set"], found["part"], label, table


if __name__ == "__main__":
    main()
