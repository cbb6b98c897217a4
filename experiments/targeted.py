"""Chooses which images to add and how to label them, on val of one outer fold; the study that follows is frozen by it.

usage: python -m experiments.targeted develop CONFIG --set K [--only NAME ...] [--with key=value ...]
       python -m experiments.targeted collect

``develop`` plays every setting of SETTINGS on training set K, one after the other, with the test part sealed. All of them
share the stages they have in common: one generator, one judge, one pool of candidates per arm. Each is kept in
results/targeted/development_K.json when it is done; killed, the same command goes on. ``collect`` writes development.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from engine import build
from engine.artifacts.whole_files import write_text
from engine.config import Config
from engine.errors import ConfigError
from engine.execution.progress import RichListener
from engine.store.files import write_json
from experiments.lib import keeping
from experiments.lib.keeping import (
    provenance,
    read_result,
    require_same,
    run_or_collect,
    script,
    this_command,
)

GATES: Final = "policy.acceptance={name: default}"
BARE: Final = "soft labels, any, beside arms without synthesis"
SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    BARE: ("loop.arms=[real, plain, classical, distilled, mined, retrieved, hard]",),
    "soft labels, any": (),
    "soft labels, disagreement": ("policy.selection={name: disagreement}",),
    "gates, hard labels, any": (GATES, "synthesis.labels=hard"),
    "gates, hard labels, disagreement": (
        GATES,
        "synthesis.labels=hard",
        "policy.selection={name: disagreement}",
    ),
    "soft labels, gradient": ("policy.selection={name: gradient_alignment}",),
    "soft labels, drop the worst quarter": ("policy.selection={name: gradient_alignment, noise: 100.0}",),
    "soft labels, disagreement, edits": (
        "synthesis.strength={easiest: 0.8, hardest: 0.5}",
        "policy.selection={name: disagreement}",
    ),
    "soft labels, disagreement, slow learners": (
        "policy.mining={name: slow_learner, top_k: null}",
        "policy.selection={name: disagreement}",
    ),
    "soft labels, a third intended, disagreement": (
        "synthesis.label_share=0.33",
        "policy.selection={name: disagreement}",
    ),
    "soft labels, disagreement with noise": ("policy.selection={name: disagreement, noise: 1.0}",),
    "gates, soft labels, any": (GATES,),
    "soft labels, loss": ("policy.selection={name: classifier_loss}",),
    "soft labels, entropy": ("policy.selection={name: entropy}",),
    "soft labels, covariance": ("policy.selection={name: covariance}",),
}
"""What is tried, the most telling first: a name, and the keys that differ from the config."""
FIGURES: Final = ("malignant.auc", "nll", "malignant.sensitivity", "balanced_accuracy")
"""Figures of val that are kept, means over classifier seeds."""


def main() -> None:
    """Develop on a training set, or collect."""
    parser, one = run_or_collect(__doc__, "develop")
    one.add_argument("--set", type=int, required=True)
    one.add_argument("--only", nargs="+", choices=tuple(SETTINGS), default=tuple(SETTINGS), metavar="NAME")
    arguments = parser.parse_args()
    folder = keeping.RESULTS / "targeted"
    if arguments.action == "collect":
        print(collect(folder))
        return
    print(develop(arguments.config, arguments.set, arguments.only, arguments.overrides, folder))


def develop(config_path: Path, number: int, names: Sequence[str], overrides: list[str], folder: Path) -> Path:
    """Play the settings on training set ``number`` and keep each one's figures of val.

    Raises:
        ConfigError: the test part is not sealed, or the file holds settings of another config.
    """
    path = folder / f"development_{number}.json"
    base = build.load(config_path, [*overrides, f"data.split.train_sets.use=[{number}]"])
    if base.data.split.seal != "test":
        raise ConfigError("data.split.seal: must be test while settings are chosen; remove the override")
    known = (
        read_result(path)
        if path.exists()
        else {**provenance(this_command(), base), "set": number, "settings": {}}
    )
    require_same(known["config"], keeping.public_config(base), path.name, "move it away, or use its config")
    for place, name in enumerate(SETTINGS):
        if name not in names or name in known["settings"]:
            continue
        config = build.load(
            config_path, [*overrides, f"data.split.train_sets.use=[{number}]", *SETTINGS[name]]
        )
        config = config.model_copy(update={"name": f"{config.name}-set-{number}-{place:02d}"})
        known["settings"][name] = {**provenance(this_command()), "arms": played(config)}
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, known)
    return path


def played(config: Config) -> dict[str, Any]:
    """Play a setting and return what every arm of its last round reached on val, per classifier seed."""
    _, report = build.run(config, listener=RichListener(Console()))
    last = max(entry["round"] for entry in report["rounds"])
    return {
        entry["arm"]: {
            "val": {name: entry["seeds"]["val"][name]["values"] for name in FIGURES},
            "accepted": entry["n_accepted"],
            "generated": entry["n_generated"],
            "added": entry["pool"]["added"],
            "seconds": entry["seconds"],
        }
        for entry in report["rounds"]
        if entry["round"] == last
    }


def collect(folder: Path) -> Path:
    """Write development.md: every setting on every set, against real images alone and against random parents."""
    files = [read_result(path) for path in sorted(folder.glob("development_*.json"))]
    if not files:
        raise ConfigError(f"{folder}: holds no development_K.json; run develop first")
    for file in files:
        require_same(files[0]["config"], file["config"], f"set {file['set']}", "run it again")
    path = folder / "development.md"
    write_text(path, "\n".join(table(files)) + "\n")
    return path


def table(files: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return development.md's lines: means over sets and seeds, the spread of single fits beside them."""
    sets = ", ".join(str(file["set"]) for file in files)
    lines = [
        "# What was tried on development",
        "",
        f"Val of outer fold 0, test sealed; training sets {sets}, three classifier seeds each. AUROC of malignant against",
        "benign and log loss x 100 (lower is better), as differences from `real` of the same set; sd: of one fit, over the",
        "seeds of a setting. Looked at to choose; nothing here is a claim.",
        "",
        "| setting | arm | AUROC, points | log loss x 100 | added images | sd AUROC | sd log loss |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in SETTINGS:
        arms = sorted({arm for file in files for arm in file["settings"].get(name, {"arms": {}})["arms"]})
        lines += [row for arm in arms if (row := _row(files, name, arm)) is not None]
    return lines


def _row(files: Sequence[Mapping[str, Any]], name: str, arm: str) -> str | None:
    """One setting's row; None where a set lacks it, or has no ``real`` to compare with."""
    gains, losses, spreads, added = [], [], [], []
    for file in files:
        bare = file["settings"].get(BARE, {"arms": {}})["arms"].get("real")
        own = file["settings"].get(name, {"arms": {}})["arms"].get(arm)
        if bare is None or own is None:
            return None
        auc, nll = (np.array(own["val"][figure]) for figure in ("malignant.auc", "nll"))
        gains.append(auc.mean() - np.mean(bare["val"]["malignant.auc"]))
        losses.append(nll.mean() - np.mean(bare["val"]["nll"]))
        spreads.append((auc.std(ddof=1), nll.std(ddof=1)))
        added.append(sum(own["added"].values()))
    auc_sd, nll_sd = (
        100 * float(np.sqrt(np.mean(np.square(column)))) for column in zip(*spreads, strict=True)
    )
    return (
        f"| {name} | {arm} | {100 * np.mean(gains):+.2f} | {100 * np.mean(losses):+.1f} | "
        f"{np.mean(added):.0f} | {auc_sd:.2f} | {nll_sd:.1f} |"
    )


if __name__ == "__main__":
    script(main)
