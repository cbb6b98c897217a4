"""Positive and negative control: phantoms with a planted blind spot, which `hard` must find and mend, and without it.

usage: python -m experiments.blind_spot run CONFIG --seeds 0-9 [--control positive | negative] [--name FOLDER]
           [--with key=value ...]
       python -m experiments.blind_spot oracle CONFIG --seeds 100-102 [--times 5] [--with key=value ...]
       python -m experiments.blind_spot show CONFIG
       python -m experiments.blind_spot collect [--name FOLDER]

``run`` plays CONFIG once per seed, on phantoms with its blind spot (positive) and on the same phantoms without (negative).
A seed draws phantoms, split, foundation and classifiers anew. Each run is kept in results/blind_spot/<control>_SSS.json when
it is done; killed, the same command goes on. ``oracle`` trains on real images alone, with the subtype as rare as it is and
--times as frequent: a blind spot must close with more examples. ``collect`` writes result.json, table.md and controls.png,
``show`` the picture subtype.png. --name keeps the controls of another config in a folder of their own below results/.

Seeds from 100 are for development: CONFIG was chosen on them, and no result counts them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console

from engine import build
from engine.artifacts import run_stages
from engine.artifacts.whole_files import write_text
from engine.commands.run_study import numbers
from engine.config import BlindSpotConfig, Config
from engine.errors import ConfigError
from engine.execution.progress import RichListener
from engine.store.files import write_json
from experiments.lib import keeping
from experiments.lib.controls import summary, verdict
from experiments.lib.controls_page import draw, table
from experiments.lib.keeping import provenance, read_result, require_same, script, this_command, this_script
from experiments.lib.subtype_figures import measure
from experiments.lib.subtype_oracle import compare
from experiments.lib.subtype_sheet import draw_subtype

Control = Literal["positive", "negative"]
CONTROLS: Final[tuple[Control, ...]] = ("positive", "negative")
NAME: Final = "blind_spot"
"""Folder of results."""
DEVELOPMENT: Final = 100
"""Seeds from here are for development."""


def main() -> None:
    """Run the controls of some seeds, ask the oracle, show the subtype, or collect."""
    asked = _arguments()
    folder = keeping.RESULTS / asked.name
    folder.mkdir(parents=True, exist_ok=True)
    if asked.action == "collect":
        print(collect(folder))
    elif asked.action == "show":
        config, spot = planted(asked.config, asked.overrides)
        path = folder / "subtype.png"
        print(draw_subtype(config.data.phantom, spot, config.data.image_size, DEVELOPMENT, path))
    elif asked.action == "oracle":
        config, spot = planted(asked.config, asked.overrides)
        path = folder / "oracle.json"
        found = compare(config, spot, asked.seeds, asked.times)
        write_json(path, {**provenance(this_command(), config), **found})
        print(path)
    else:
        for seed in asked.seeds:
            for control in asked.control:
                print(run(asked.config, asked.overrides, control, seed, folder), flush=True)


def planted(path: Path, overrides: Sequence[str]) -> tuple[Config, BlindSpotConfig]:
    """Read a config whose phantoms have a blind spot, and the blind spot.

    Raises:
        ConfigError: they have none, or an arm that the verdict needs is missing.
    """
    config = build.load(path, overrides)
    spot = config.data.phantom.blind_spot
    if config.data.format != "phantom" or spot is None:
        raise ConfigError(
            f"{path}: data.phantom.blind_spot is null; set it, for example {{share: 0.1, difficulty: 0.8}}"
        )
    absent = sorted({"real", "random"} - set(config.loop.arms))
    if absent:
        raise ConfigError(
            f"{path}: loop.arms lacks {', '.join(absent)}, which `hard` is compared with; add it"
        )
    return config, spot


def run(path: Path, overrides: Sequence[str], control: Control, seed: int, folder: Path) -> Path:
    """Play one seed of a control, unless it is kept already; return its file.

    Raises:
        ConfigError: the file was made with another config.
    """
    base, spot = planted(path, overrides)
    kept = folder / f"{control}_{seed:03d}.json"
    if kept.exists():
        remedy = "move the file away, or use its config"
        require_same(read_result(kept)["config"], keeping.public_config(base), kept.name, remedy)
        return kept
    config = of_seed(path, overrides, control, seed)
    place, _ = build.run(config, listener=RichListener(Console()))
    facts = {**provenance(this_command(), base), "seeds": {"foundation": seed, "loop": seed}}
    took = {line.key: line.seconds for line in run_stages.read_log(place.path)}
    facts |= {"control": control, "seed": seed, "seconds": round(sum(took.values()), 1)}
    write_json(kept, {**facts, **measure(place, spot)})
    return kept


def of_seed(path: Path, overrides: Sequence[str], control: Control, seed: int) -> Config:
    """Return one seed's config: with the blind spot, or with the same phantoms without it."""
    without = ["data.phantom.blind_spot=null"] if control == "negative" else []
    seeds = [f"seed={seed}", f"loop.seed={seed}"]
    config = build.load(path, [*overrides, *seeds, *without])
    return config.model_copy(update={"name": f"{config.name}-{control}-{seed}"})


def collect(folder: Path) -> Path:
    """Write result.json, table.md and controls.png of the seeds that are kept; seeds for development do not count.

    Raises:
        ConfigError: no control has two seeds yet, or seeds were run with different configs.
    """
    files = {control: _kept(folder, control) for control in CONTROLS}
    every = [file for many in files.values() for file in many]
    for file in every:
        what = f"{file['control']} control, seed {file['seed']}"
        require_same(every[0]["config"], file["config"], what, "run it again, or move its file away")
    shown: dict[str, Any] = {control: summary(many) for control, many in files.items() if len(many) > 1}
    if not shown:
        raise ConfigError(f"{folder}: holds no two seeds of a control; run them first, --seeds 0-9")
    answer = verdict(shown.get("positive"), shown.get("negative"))
    runs = [
        {name: file[name] for name in ("control", "seed", "date", "commit", "machine", "seconds")}
        for file in every
    ]
    seeds = {control: one["seeds"] for control, one in shown.items()}
    facts = {**provenance(this_command()), "config": every[0]["config"], "seeds": seeds, "runs": runs}
    write_json(folder / "result.json", {**facts, "verdict": answer, **shown})
    write_text(folder / "table.md", "\n".join(table(shown, answer)) + "\n")
    draw(shown, folder / "controls.png")
    return folder


def _kept(folder: Path, control: Control) -> list[dict[str, Any]]:
    files = [read_result(path) for path in sorted(folder.glob(f"{control}_*.json"))]
    return [file for file in files if file["seed"] < DEVELOPMENT]


def _arguments() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=this_script(), description=__doc__, formatter_class=form)
    actions = parser.add_subparsers(dest="action", required=True)
    collecting = actions.add_parser("collect")
    collecting.add_argument("--name", default=NAME)
    for name in ("run", "oracle", "show"):
        one = actions.add_parser(name)
        one.add_argument("--name", default=NAME)
        one.add_argument("config", type=Path)
        one.add_argument("--with", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
        if name != "show":
            one.add_argument("--seeds", type=partial(numbers, option="--seeds"), required=True, metavar="0-9")
        if name == "run":
            one.add_argument("--control", nargs=1, choices=CONTROLS, default=CONTROLS)
        if name == "oracle":
            one.add_argument("--times", type=float, default=5.0, help="how much more frequent it gets")
    return parser.parse_args()


if __name__ == "__main__":
    script(main)
