"""Trains the cells of Kim et al.'s Table I, one (training set, row, model) at a time, and collects them.

usage: python -m experiments.table1 run CONFIG --set K --part development|confirm [--train] [--per-class] [--pixels 32]
           [--models resnet18 vgg13 ...] [--rows Origin500 Hybrid1000 ...] [--with key=value ...]
       python -m experiments.table1 collect

What the paper leaves open is held fixed. Every row is trained from scratch for the same optimizer steps, from the same seed
and with the same augmentation (except "Origin500 plain", the arm real). The synthetic images are those of CONFIG's run, made
of ResNet18's hard cases, for every model. ``run`` plays that run (or finds it in the stage cache), then each requested cell.
It writes results/table1/set_KK.json (per_class_KK.json) after every cell; killed, the same command goes on. ``collect``
needs no data: it reads those files and writes result.json, table.md, tried.md and the figures.

A training set is two of the config's disjoint sets of 250: Origin250 is half of Origin500, and Origin1000 two of them.
``--part development`` leaves the test part out of the run (``data.split.seal``), scores val, and takes sets 0 and 1 only.
``--part confirm`` takes the other sets, and refuses settings that change what is computed.
"""

from __future__ import annotations

import argparse

from experiments.lib import keeping
from experiments.lib.keeping import run_or_collect
from experiments.table1.cells import run
from experiments.table1.plan import MODELS, ROWS, Request, check
from experiments.table1.report import collect


def main() -> None:
    """Run cells, or collect them."""
    arguments = parse()
    if arguments.action == "collect":
        print(collect(keeping.RESULTS / "table1"))
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
    parser, _, one = run_or_collect(__doc__)
    one.add_argument("--set", type=int, required=True)
    one.add_argument("--part", choices=("development", "confirm"), required=True)
    one.add_argument(
        "--train", action="store_true", help="the generator saw the whole pool, not the set alone"
    )
    one.add_argument(
        "--per-class", action="store_true", help="250, 500 and 1000 images per class, up to what exists"
    )
    one.add_argument("--pixels", type=int, default=64)
    one.add_argument("--models", nargs="+", choices=MODELS, default=["resnet18"])
    one.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    return parser.parse_args()
