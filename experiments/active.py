"""Which labels are worth asking for, beside synthetic images? The active study (PROTOCOL.md, third part). SIMULATED LABELS.

usage: python -m experiments.active develop CONFIG --set K [--only NAME ...] [--with key=value ...]
       python -m experiments.active run CONFIG --set K [--with key=value ...]
       python -m experiments.active collect

``develop`` plays query policies on val of one start, test sealed; arms with synthetic images are not looked at, so the
generator is hardly trained. ``run`` plays the frozen config for one start: with its own query policy, with margin sampling,
and with a generator that saw unlabelled images; each is kept in results/active/study_K_*.json when it is done. Both resume.
``collect`` writes development.md and, of the starts whose runs are all kept, result.json, table.md and curves.png.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine import build
from engine.artifacts.run_files import read_run
from engine.artifacts.whole_files import write_text
from engine.errors import ConfigError
from engine.report.blocks.labels import savings_sentence, worth_sentence
from engine.study.label_scores import QUERY, RANDOM
from experiments.lib import keeping
from experiments.lib.active_figures import ActiveStudy, read_study
from experiments.lib.active_kept import is_kept, keep, path_of, read_kept
from experiments.lib.active_plot import draw_curves
from experiments.lib.keeping import (
    provenance,
    require_engine,
    require_frozen,
    run_or_collect,
    save,
    script,
    this_command,
)
from experiments.lib.settings import develop, kept, on_val, played
from experiments.lib.study_tables import points

NAME: Final = "active"
FROZEN: Final = "f32c12d"
"""The commit whose engine scores the study."""
POLICIES: Final[Mapping[str, tuple[str, ...]]] = {
    "margin": (),
    "badge": ("policy.query={name: badge}",),
    "margin, balanced": ("policy.query={name: margin, balanced: true}",),
    "badge, balanced": ("policy.query={name: badge, balanced: true}",),
    "entropy": ("policy.query={name: entropy}",),
    "bald": ("policy.query={name: bald}",),
    "margin with noise": ("policy.query={name: margin, noise: 1.0}",),
    "typical, then uncertain": ("policy.query={name: typical_then_uncertain}",),
    "k-center": ("policy.query={name: k_center}",),
}
"""What is tried on val: a name, and the keys that differ from the config."""
DEVELOPING: Final = (
    "data.split.seal=test",
    "loop.arms=[hard, queried, queried_random]",
    "loop.budget=8",
    "loop.candidates=1",
    "loop.crossfit_folds=2",
    "embedder.steps=20",
    "vae.steps=20",
    "denoiser.steps=20",
    "policy.query={name: margin}",
)
"""Keys of every policy that is tried, whichever was chosen since: no arm that is looked at has a synthetic image."""
RUNS: Final[Mapping[str, tuple[str, ...]]] = {
    "policy": (),
    "margin": ("policy.query={name: margin}", "loop.arms=[hard, queried, queried_random]"),
    "saw": ("loop.generator_saw=unlabelled", "loop.arms=[real, hard]"),
}
"""The runs of one start."""


def main() -> None:
    """Develop on a start, score a start, or collect."""
    parser, _, trying, scoring = run_or_collect(__doc__, "develop", "run")
    for one in (trying, scoring):
        one.add_argument("--set", type=int, required=True)
    trying.add_argument("--only", nargs="+", choices=tuple(POLICIES), default=tuple(POLICIES), metavar="NAME")
    found = parser.parse_args()
    folder = keeping.RESULTS / NAME
    if found.action == "develop":
        overrides = [*DEVELOPING, *found.overrides]
        print(develop(found.config, found.set, POLICIES, found.only, overrides, folder, every_round))
    elif found.action == "run":
        require_frozen(found.config, found.overrides)
        print(*score(found.config, found.set, found.overrides, folder, FROZEN), sep="\n")
    else:
        print(*collect(folder), sep="\n")


def every_round(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the arms that bought labels reached on val in every round, the start as round 0."""
    entries = [entry for entry in report["rounds"] if entry["arm"] in (QUERY, RANDOM)]
    start = next(entry for entry in report["rounds"] if entry["round"] == 0)
    return {
        arm: {"0": {"asked": 0, "val": on_val(start)}}
        | {
            str(entry["round"]): {"asked": entry["labels"]["asked"], "val": on_val(entry)}
            for entry in entries
            if entry["arm"] == arm
        }
        for arm in (QUERY, RANDOM)
    }


def score(config_path: Path, number: int, overrides: Sequence[str], folder: Path, frozen: str) -> list[Path]:
    """Play the runs of start ``number`` and keep each; return the files. What is kept already is not played again.

    Raises:
        ConfigError: this is not the study's engine, or a file was made with another config.
    """
    require_engine(frozen, "engine", "policies", what="the starts")
    files = []
    for kind, more in RUNS.items():
        config = build.load(config_path, [*overrides, f"data.split.train_sets.use=[{number}]", *more])
        path = path_of(folder, number, kind)
        if not is_kept(path, config):
            title = f"{config.name}-{kind}-{number}"
            played(config, title)
            keep(path, read_run(Path(config.output) / title), config, number, kind)
        files.append(path)
    return files


def collect(folder: Path) -> list[Path]:
    """Write what was developed and, of every start whose runs are all kept, the study; return what was written.

    Raises:
        ConfigError: nothing is there.
    """
    written = []
    if any(folder.glob("development_*.json")):
        written.append(write_text(folder / "development.md", "\n".join(tried(kept(folder))) + "\n"))
    starts = read_kept(folder, RUNS)
    if starts:
        study = read_study(starts)
        save(NAME, {**provenance(this_command()), "starts": len(starts), **study.to_json()})
        draw_curves(study, folder / "curves.png")
        written.append(write_text(folder / "table.md", "\n".join(table(study)) + "\n"))
    if not written:
        raise ConfigError(
            f"{folder}: nothing was developed, and no start is scored; run develop or run first"
        )
    return written


def tried(files: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return development.md's lines: AUROC of val by labels asked for, as differences from asking by chance."""
    first = next(iter(files[0]["settings"].values()))["arms"][QUERY]
    asked = [first[number]["asked"] for number in sorted(first, key=int)][1:]
    lines = [
        "# Query policies tried on development",
        "",
        "SIMULATED LABELS. Val, test sealed; malignant AUROC minus that of asking by chance, points, means over classifier "
        f"seeds; starts {', '.join(str(file['set']) for file in files)}. Looked at to choose; nothing here is a claim.",
        "",
        "| policy | start | " + " | ".join(f"{count} labels" for count in asked) + " | mean |",
        "|---|---|" + "---|" * (len(asked) + 1),
    ]
    for name in POLICIES:
        for file in files:
            if name in file["settings"]:
                gains = gains_of(file["settings"][name]["arms"])
                cells = " | ".join(f"{gain:+.2f}" for gain in [*gains, np.mean(gains)])
                lines.append(f"| {name} | {file['set']} | {cells} |")
    return lines


def gains_of(arms: Mapping[str, Any]) -> list[float]:
    """Return the gain over asking by chance after each round, points of malignant AUROC on val."""
    rounds = sorted(arms[QUERY], key=int)[1:]
    means = {
        arm: [np.mean(arms[arm][number]["val"]["malignant.auc"]) for number in rounds]
        for arm in (QUERY, RANDOM)
    }
    return [100 * float(one - other) for one, other in zip(means[QUERY], means[RANDOM], strict=True)]


def table(study: ActiveStudy) -> list[str]:
    """Return table.md's lines: the sentence, savings and worth, the contrasts, the curves."""
    lines = [
        "# The active study: figures",
        "",
        "SIMULATED LABELS. Malignant AUROC on test, means over classifier seeds.",
        "",
    ]
    lines += [study.sentence(), ""]
    lines += [savings_sentence(study.savings[-1])] if study.savings else []
    lines += [worth_sentence(*study.worth), ""]
    lines += [
        "| contrast, points of AUROC in the last round | difference (95 %) | p, Holm | role |",
        "|---|---|---|---|",
    ]
    for one in study.contrasts:
        found, p = one.difference, one.adjusted_p
        lines.append(
            f"| {one.name} | {points(vars(found), 2)} | "
            f"{'' if p is None else f'{p:.3f}'} | {'confirmatory' if one.confirmatory else 'exploratory'} |"
        )
    asked = [f"{count:g}" for count in study.curves[QUERY].asked_P]
    lines += ["", f"| arm | {' | '.join(asked)} labels |", "|---|" + "---|" * len(asked)]
    for name, curve in study.curves.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.4f}" for value in curve.mean_P) + " |")
    return lines


if __name__ == "__main__":
    script(main)
