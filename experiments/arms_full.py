"""All arms on all of the data, five-fold lesion-grouped cross-validation: one fold at a time.

usage: python -m experiments.arms_full run CONFIG --fold K [--seed S] [--with key=value ...]
       python -m experiments.arms_full collect

``run`` plays CONFIG with fold K as test and writes results/arms_full/fold_K_seed_S.json; killed, the same command goes on.
Every fold is scored on its own test lesions, so it takes the configuration as it is committed. ``collect`` needs no data: it
reads the folds and writes result.json and table.md.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from engine import build
from engine.errors import ConfigError
from engine.evaluation import comparison
from engine.evaluation.comparison import Difference, Floats
from engine.evaluation.statistics import LEVEL
from engine.progress import RichListener
from engine.store import RunFolder
from engine.store.files import read_json, write_json, write_text
from engine.store.run_folder import arm_role
from experiments import keeping
from experiments.keeping import provenance, require_frozen, run_or_collect, this_command
from experiments.outcomes import ENDPOINTS, Cases, Outcome, beside, point_figures, read_replicate
from experiments.replicates import Replicate, analyse
from experiments.table1_report import contrast_lines


def main() -> None:
    """Run a fold, or collect them."""
    parser, one = run_or_collect(__doc__)
    one.add_argument("--fold", type=int, required=True)
    one.add_argument("--seed", type=int, default=0, help="loop.seed; a fold's seeds are averaged")
    arguments = parser.parse_args()
    folder = keeping.RESULTS / "arms_full"
    if arguments.action == "collect":
        print(collect(folder))
        return
    require_frozen(arguments.config, arguments.overrides)
    settings = [*arguments.overrides, f"loop.seed={arguments.seed}"]
    print(run(arguments.config, arguments.fold, settings, folder))


def run(config_path: Path, fold: int, settings: list[str], folder: Path) -> Path:
    """Play one fold and keep what its arms said of its test lesions in the last round."""
    config = build.load(config_path, [*settings, f"data.split.folds.use={fold}"])
    seed = config.loop.seed
    config = config.model_copy(update={"name": f"{config.name}-fold-{fold}-seed-{seed}"})
    run_folder, report = build.run(config, listener=RichListener(Console()))
    path = folder / f"fold_{fold}_seed_{seed}.json"
    write_json(
        path,
        {
            **provenance(this_command(), config),
            "fold": fold,
            "protocol": report["protocol"],
            "split_digest": report["split_digest"],
            "n_train": sum(report["data"]["counts"]["train"].values()),
            "n_test": sum(report["data"]["counts"]["test"].values()),
            **arms(run_folder, report),
        },
    )
    return path


def arms(run_folder: RunFolder, report: dict[str, Any]) -> dict[str, Any]:
    """Return the cases of a fold and each arm's outcome in the last round that trained it."""
    split = run_folder.stage("foundation/split").path
    kept: dict[str, Any] = {}
    cases = None
    for entry in report["rounds"]:
        predict = run_folder.stage(arm_role(entry["round"], entry["arm"], "predict")).path
        cases, outcome = read_replicate(predict, split, "test")
        name = "round 0" if entry["round"] == 0 else entry["arm"]
        kept[name] = {
            **beside(entry, "test"),
            "reference": entry.get("reference", False),
            "figures": point_figures(cases, outcome),
            "outcome": outcome.to_json(),
        }
    assert cases is not None
    return {"cases": cases.to_json(), "arms": kept}


def collect(folder: Path) -> Path:
    """Write result.json and table.md of the finished folds."""
    files = [read_json(path) for path in sorted(folder.glob("fold_*.json"))]
    folds = sorted({file["fold"] for file in files})
    if len({str(file["config"]["data"]["split"]["folds"]["count"]) for file in files}) > 1:
        raise ConfigError("the folds are of different cross-validations; keep one config's alone")
    shared = set.intersection(*(set(file["arms"]) for file in files)) if files else set()
    names = [name for name in (files[0]["arms"] if files else ()) if name in shared]
    means = {
        name: {e: _mean([file["arms"][name]["figures"][e] for file in files]) for e in ENDPOINTS}
        for name in names
    }
    analysis = None
    if len(folds) > 1:
        n_train, n_test = (float(np.mean([file[key] for file in files])) for key in ("n_train", "n_test"))
        analysis = analyse(
            [replicate([file for file in files if file["fold"] == fold]) for fold in folds],
            [name for name in names if name != "hard"],
            partial(cross_validation, n_train=n_train, n_test=n_test),
            shared=False,
            protocol="safe" if all(file["protocol"] == "safe" for file in files) else "not safe",
        )
    write_json(folder / "result.json", {"folds": folds, "means": means, "analysis": analysis})
    write_text(folder / "table.md", "\n".join(markdown(folds, means, analysis)) + "\n")
    return folder


def replicate(files: list[Any]) -> Replicate:
    """Return a fold with all its seeds."""
    return Replicate(
        cases=Cases.from_json(files[0]["cases"]),
        outcomes={
            arm: [Outcome.from_json(file["arms"][arm]["outcome"]) for file in files if arm in file["arms"]]
            for arm in files[0]["arms"]
        },
    )


def cross_validation(
    value_R: Floats, drawn_RB: Floats, level: float = LEVEL, *, n_train: float, n_test: float
) -> Difference:
    """Folds: the wider of the bootstrap of lesions within folds and the corrected resampled t."""
    return comparison.headline(
        comparison.fold_bootstrap(value_R, drawn_RB, level),
        comparison.corrected_resampled_t(value_R, n_train, n_test, level),
    )


def markdown(folds: list[int], means: dict[str, Any], analysis: Any) -> list[str]:
    """Return the folds' means by arm, and the contrasts, as lines."""
    done = ", ".join(map(str, folds)) or "none"
    lines = ["# All arms, full data", "", f"Folds finished: {done}. Test lesions, %, mean over folds.", ""]
    lines += ["| arm | " + " | ".join(name.replace("_", " ") for name in ENDPOINTS) + " |"]
    lines += ["|---" * (len(ENDPOINTS) + 1) + "|"]
    for arm, found in means.items():
        cells = ["" if found[name] is None else f"{100 * found[name]:.1f}" for name in ENDPOINTS]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return [*lines, "", *contrast_lines(analysis, "folds")]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


if __name__ == "__main__":
    main()
