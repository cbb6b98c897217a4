"""Keeps results: their folder, how they were made, and checks that a frozen config is the committed one."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from engine.cli import say_what_to_mend
from engine.config import Config
from engine.errors import ConfigError, HardcaseError
from engine.store.files import read_json
from engine.store.run_folder import INDIFFERENT, config_changes

EXPERIMENTS = Path(__file__).parents[1]
ROOT = EXPERIMENTS.parent
RESULTS = EXPERIMENTS / "results"
REPLICATE = ("name", "loop.seed", "data.split.train_sets.use", "data.split.folds.use")
"""Keys in which the replicates of one study differ; in all others they must not."""


def provenance(command: str, config: Config | None = None) -> dict[str, Any]:
    """Return how a result was made: command, date, commit, machine, config; without paths of this machine."""
    found: dict[str, Any] = {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD")
        + (" with changes" if _git("status", "--porcelain", "--", ":/", f":(exclude){RESULTS}") else ""),
        "machine": f"{os.cpu_count()} x {_processor()}, Python {platform.python_version()}, torch {_torch()}",
    }
    if config is not None:
        found |= {
            "seeds": {"foundation": config.seed, "loop": config.loop.seed},
            "config": public_config(config),
        }
    return found


def public_config(config: Config) -> dict[str, Any]:
    """Return the config tree without places (data root, output, tracking server)."""
    tree: dict[str, Any] = config.model_dump(mode="json")
    tree["data"]["root"] = tree["data"]["root"] and "$HARDCASE_DATA/..."
    tree["output"] = "runs"
    tree["tracking"]["uri"] = None
    return tree


def this_command() -> str:
    """Return the command line as someone else would type it."""
    return " ".join([this_script(), *map(_shown, sys.argv[1:])])


def this_script() -> str:
    """Return how this script is called: ``python -m experiments.<module or package>``."""
    path = Path(sys.argv[0])
    return f"python -m experiments.{path.parent.name if path.stem == '__main__' else path.stem}"


def _shown(argument: str) -> str:
    """An argument without this machine's places: ``data.root=/here/ham10000`` becomes ``data.root=.../ham10000``."""
    key, sign, value = argument.partition("=")
    if sign and Path(value).is_absolute():
        return f"{key}=.../{Path(value).name}"
    return Path(argument).name if Path(argument).is_absolute() else argument


def script(main: Callable[[], None]) -> NoReturn:
    """Run a script; a user's error is one line on stderr and the exit code of the command ``hardcase``."""
    try:
        main()
    except (HardcaseError, KeyboardInterrupt, OSError) as error:
        sys.exit(say_what_to_mend(error))
    sys.exit(0)


def data_root(name: str) -> Path:
    """Return a data set's folder below HARDCASE_DATA.

    Raises:
        ConfigError: the variable is not set, or its folder lacks the data set.
    """
    place = os.environ.get("HARDCASE_DATA", "")
    if not place:
        raise ConfigError(f"HARDCASE_DATA is not set; let it name the folder that holds {name}/")
    if not (Path(place) / name).is_dir():
        raise ConfigError(f"HARDCASE_DATA: {place} holds no folder {name}/; name the one that does")
    return Path(place) / name


def run_or_collect(doc: str | None, *names: str) -> list[argparse.ArgumentParser]:
    """Return the command line of a script that runs one replicate at a time and collects them, then those of its actions.

    The first action is ``collect``; ``names`` are the others, each of which takes a config and overrides. Default: ``run``.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=this_script(), description=doc, formatter_class=form)
    actions = parser.add_subparsers(dest="action", required=True)
    collecting = actions.add_parser("collect")
    found = [actions.add_parser(name) for name in names or ("run",)]
    for one in found:
        one.add_argument("config", type=Path)
        one.add_argument("--with", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
    return [parser, collecting, *found]


def save(name: str, figures: Mapping[str, Any]) -> Path:
    """Write experiments/results/<name>/result.json; return its folder."""
    folder = RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(figures, indent=1, allow_nan=False)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
    return folder


def read_result(path: Path) -> dict[str, Any]:
    """Read a result, or a note of a measurement under way (DataError: absent or broken)."""
    found: dict[str, Any] = read_json(path)
    return found


def changes(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that change what is computed, not where or how fast, by name."""
    return sorted(
        text
        for text in overrides
        if not any(text.partition("=")[0] == name or text.startswith(name + ".") for name in INDIFFERENT)
    )


def require_frozen(config: Path, overrides: Sequence[str]) -> None:
    """Refuse to score a test part with anything but the committed configuration under the committed protocol.

    Raises:
        ConfigError: an override changes what is computed, or the config or PROTOCOL.md differ from their commit.
    """
    changed = changes(overrides)
    if changed:
        raise ConfigError(
            f"test is scored with the configuration as it is committed; drop {', '.join(changed)} or commit it first"
        )
    for file in (config.resolve(), EXPERIMENTS / "PROTOCOL.md"):
        if not _git("ls-files", "--", str(file)) or _git("status", "--porcelain", "--", str(file)):
            raise ConfigError(
                f"{file.name} is not in git as it lies here; commit it before a test figure exists"
            )


def require_engine(commit: str, *paths: str, what: str, root: Path = ROOT) -> None:
    """Refuse to score a test part (of ``what``, in the plural) with other code than the study began with.

    Raises:
        ConfigError: one of the paths differs from ``commit``, or the commit is not in this clone.
    """
    call = ["git", "diff", "--name-only", commit, "--", *paths]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=root)
    if done.returncode or done.stdout.strip():
        other = ", ".join(done.stdout.split()[:3]) or "this clone does not have it"
        raise ConfigError(
            f"{what} are scored with the engine of commit {commit} ({other} differs): "
            f"git worktree add ../frozen {commit}, run the same command there, copy its result file here and collect"
        )


def require_same(kept: Mapping[str, Any], now: Mapping[str, Any], what: str, remedy: str) -> None:
    """Refuse to put figures of two configurations into one table.

    Raises:
        ConfigError: the config trees differ in more than which replicate they are.
    """
    changed = config_changes(kept, now, besides=REPLICATE)
    if changed:
        raise ConfigError(f"{what}: was made with another config: {', '.join(changed[:3])}; {remedy}")


def interval(draws: np.ndarray[Any, Any], value: float) -> dict[str, float]:
    """Return {value, low, high} with the 95 % percentile interval of bootstrap draws."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"value": float(value), "low": float(low), "high": float(high)}


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return done.stdout.strip()


def _processor() -> str:
    """The processor's name as the system has it: figures of two kinds are not compared."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else platform.machine()


def _torch() -> str:
    import torch

    return str(torch.__version__)
