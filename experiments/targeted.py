"""Chooses which images to add and how to label them, on val of one outer fold; the study that follows is frozen by it.

usage: python -m experiments.targeted develop CONFIG --set K [--only NAME ...] [--with key=value ...]
       python -m experiments.targeted run CONFIG --fold F --set K [--with key=value ...]
       python -m experiments.targeted collect

``develop`` plays every setting of SETTINGS on training set K, one after the other, with the test part sealed. All of them
share the stages they have in common: one generator, one judge, one pool of candidates per arm. Each is kept in
results/targeted/development_K.json when it is done; killed, the same command goes on. ``run`` scores one training set of one
outer fold with the frozen config and keeps study_F_K.json. ``collect`` writes development.md and, of what is scored, the
study: result.json, table.md, contrasts.png.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine import build
from engine.artifacts.whole_files import write_text
from engine.errors import ConfigError
from experiments.lib import keeping
from experiments.lib.folds import score
from experiments.lib.keeping import require_engine, require_frozen, run_or_collect, script
from experiments.lib.settings import develop, kept, on_val
from experiments.lib.targeted_study import collect_study

FROZEN: Final[str | None] = "da6afe7"
"""The commit whose engine scores the study; None while settings are still chosen, and nothing is scored."""

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


def main() -> None:
    """Develop on a training set, or collect."""
    parser, _, trying, scoring = run_or_collect(__doc__, "develop", "run")
    for one in (trying, scoring):
        one.add_argument("--set", type=int, required=True)
    trying.add_argument("--only", nargs="+", choices=tuple(SETTINGS), default=tuple(SETTINGS), metavar="NAME")
    scoring.add_argument("--fold", type=int, required=True)
    found = parser.parse_args()
    folder = keeping.RESULTS / "targeted"
    if found.action == "collect":
        print(*collect(folder), sep="\n")
    elif found.action == "develop":
        print(develop(found.config, found.set, SETTINGS, found.only, found.overrides, folder, last_round))
    else:
        require_frozen(found.config, found.overrides)
        print(run(found.config, found.fold, found.set, found.overrides, folder, FROZEN))


def run(
    config_path: Path, fold: int, number: int, overrides: Sequence[str], folder: Path, frozen: str | None
) -> Path:
    """Score every arm of one training set on the test lesions of an outer fold; return the file that keeps it.

    Raises:
        ConfigError: the study is not frozen, this is not its engine, or the config seals the test part.
    """
    if frozen is None:
        raise ConfigError(
            "experiments.targeted: the study is not frozen; choose the setting on development, then commit its config and "
            "the engine's commit as FROZEN"
        )
    require_engine(frozen, "engine", "policies", what="the training sets")
    own = [f"data.split.folds.use={fold}", f"data.split.train_sets.use=[{number}]"]
    config = build.load(config_path, [*overrides, *own])
    if config.data.split.seal is not None:
        raise ConfigError(
            f"{config_path}: data.split.seal: hides the test part that is to be scored; drop it"
        )
    path = folder / f"study_{fold}_{number}.json"
    return score(config, f"fold {fold} set {number}", path, {"fold": fold, "set": number})


def last_round(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every arm of a run's last round reached on val, per classifier seed."""
    last = max(entry["round"] for entry in report["rounds"])
    return {
        entry["arm"]: {
            "val": on_val(entry),
            "accepted": entry["n_accepted"],
            "generated": entry["n_generated"],
            "added": entry["pool"]["added"],
            "seconds": entry["seconds"],
        }
        for entry in report["rounds"]
        if entry["round"] == last
    }


def collect(folder: Path) -> list[Path]:
    """Write development.md (every setting on every set) and, of what is scored, the study; return what was written."""
    developed = write_text(folder / "development.md", "\n".join(table(kept(folder))) + "\n")
    study = collect_study(folder)
    return [developed] if study is None else [developed, study]


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
