"""Which labels are worth asking for, beside synthetic images? The active study (PROTOCOL.md, third part). SIMULATED LABELS.

usage: python -m experiments.active develop CONFIG --set K [--only NAME ...] [--with key=value ...]
       python -m experiments.active run CONFIG --set K [--with key=value ...]
       python -m experiments.active collect --runs FOLDER

``develop`` plays query policies on val of one start, test sealed; arms with synthetic images are not looked at, so the
generator is hardly trained. ``run`` plays the frozen config for one start: with its own query policy, with margin sampling,
and with a generator that saw unlabelled images. Both resume. ``collect`` reads the finished runs in FOLDER, and what was
developed, and writes results/active/.
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
from engine.study.label_curves import QUERY, RANDOM
from experiments.lib import keeping
from experiments.lib.active_figures import ActiveStudy, read_study
from experiments.lib.active_plot import draw_curves
from experiments.lib.keeping import provenance, require_frozen, run_or_collect, save, script, this_command
from experiments.lib.settings import develop, kept, on_val, played
from experiments.lib.study_tables import points

NAME: Final = "active"
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
    parser, collecting, trying, scoring = run_or_collect(__doc__, "develop", "run")
    for one in (trying, scoring):
        one.add_argument("--set", type=int, required=True)
    trying.add_argument("--only", nargs="+", choices=tuple(POLICIES), default=tuple(POLICIES), metavar="NAME")
    collecting.add_argument("--runs", type=Path, default=None, help="folder that the finished runs lie in")
    found = parser.parse_args()
    folder = keeping.RESULTS / NAME
    if found.action == "develop":
        overrides = [*DEVELOPING, *found.overrides]
        print(develop(found.config, found.set, POLICIES, found.only, overrides, folder, every_round))
    elif found.action == "run":
        print(*score(found.config, found.set, found.overrides), sep="\n")
    else:
        print(collect(folder, found.runs))


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


def score(config_path: Path, number: int, overrides: Sequence[str]) -> list[Path]:
    """Play the runs of start ``number`` and return their folders (ConfigError: the config is not frozen)."""
    require_frozen(config_path, overrides)
    folders = []
    for name, more in RUNS.items():
        config = build.load(config_path, [*overrides, f"data.split.train_sets.use=[{number}]", *more])
        title = run_name(config.name, name, number)
        played(config, title)
        folders.append(Path(config.output) / title)
    return folders


def run_name(config: str, kind: str, number: int) -> str:
    """Return the name of one run of a start; ``kind`` is one of RUNS."""
    return f"{config}-{kind}-{number}"


def collect(folder: Path, runs: Path | None) -> Path:
    """Write what was developed and, of every start whose runs are all finished, the study.

    Raises:
        ConfigError: neither is there.
    """
    if any(folder.glob("development_*.json")):
        write_text(folder / "development.md", "\n".join(tried(kept(folder))) + "\n")
    starts = finished(runs) if runs is not None else []
    if not starts:
        if not (folder / "development.md").is_file():
            raise ConfigError(
                "--runs: holds no finished start, and nothing was developed; run develop or run first"
            )
        return folder / "development.md"
    study = read_study([{kind: read_run(path) for kind, path in start.items()} for start in starts])
    save(NAME, {**provenance(this_command()), "starts": len(starts), **study.to_json()})
    draw_curves(study, folder / "curves.png")
    return write_text(folder / "table.md", "\n".join(table(study)) + "\n")


def finished(runs: Path) -> list[dict[str, Path]]:
    """Return the run folders of every start that has all its runs, by kind, in the order of starts."""
    starts: dict[str, dict[str, Path]] = {}
    for kind in RUNS:
        for path in runs.glob(f"*-{kind}-*"):
            if read_run(path).report.finished:
                starts.setdefault(path.name.rpartition("-")[2], {})[kind] = path
    return [starts[number] for number in sorted(starts, key=int) if len(starts[number]) == len(RUNS)]


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
