"""Trains all arms on all of the data, in five-fold lesion-grouped cross-validation, one fold at a time.

usage: python -m experiments.arms_full run CONFIG --fold K [--seed S] [--with key=value ...]
       python -m experiments.arms_full collect

``run`` plays CONFIG with fold K as test and writes results/arms_full/fold_K_seed_S.json; killed, the same command goes on.
Every fold is scored on its own test lesions, so ``run`` takes only the committed configuration. ``collect`` needs no data:
it reads the folds and writes result.json, table.md and contrasts.png.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine import build
from engine.artifacts.whole_files import write_text
from engine.store.files import write_json
from engine.study.contrasts import Study, make_study
from engine.study.record import study_record
from experiments.lib import keeping
from experiments.lib.contrasts_plot import draw_contrasts
from experiments.lib.folds import missing, replicates, score
from experiments.lib.keeping import (
    require_engine,
    require_frozen,
    require_same,
    run_or_collect,
    script,
)
from experiments.lib.outcomes import DRAWS, ENDPOINTS
from experiments.lib.parted import first_files, read_parted
from experiments.lib.study_beside import challenging
from experiments.lib.study_tables import challenging_lines, class_lines, percent, study_lines

FROZEN = "3e428b4"
"""The commit whose engine scores the folds. Folds 0 and 1 came from a6073a7, where a classifier's fit went wrong if it was
resumed or had two workers; theirs had neither (results/arms_full/README.md)."""


def main() -> None:
    """Run a fold, or collect them."""
    parser, _, one = run_or_collect(__doc__)
    one.add_argument("--fold", type=int, required=True)
    one.add_argument("--seed", type=int, default=0, help="loop.seed; a fold's seeds are averaged")
    arguments = parser.parse_args()
    folder = keeping.RESULTS / "arms_full"
    if arguments.action == "collect":
        print(collect(folder))
        return
    require_frozen(arguments.config, arguments.overrides)
    require_engine(FROZEN, "engine", "policies", what="the folds")
    settings = [*arguments.overrides, f"loop.seed={arguments.seed}"]
    print(run(arguments.config, arguments.fold, settings, folder))


def run(config_path: Path, fold: int, settings: list[str], folder: Path) -> Path:
    """Play one fold and keep each arm's predictions of the last round for its test lesions."""
    config = build.load(config_path, [*settings, f"data.split.folds.use={fold}"])
    seed = config.loop.seed
    path = folder / f"fold_{fold}_seed_{seed}.json"
    return score(config, f"fold {fold} seed {seed}", path, {"fold": fold})


def collect(folder: Path, draws: int = DRAWS) -> Path:
    """Write result.json, table.md and contrasts.png of the finished folds, with the seeds that all of them have.

    Args:
        folder: where the folds' files are.
        draws: bootstrap draws of lesions.
    """
    files, seeds = finished(folder)
    runs = replicates(files)
    study = make_study(runs, draws=draws, objection=missing(len(seeds))) if runs else None
    if study is not None:
        draw_contrasts(study, folder / "contrasts.png")
    facts = [{"fold": file["fold"], "split_digest": file["split_digest"]} for file in files]
    folds = sorted(seeds)
    common = sorted({file["cases"]["seed"] for file in files})
    found: dict[str, Any] = {"folds": folds, "seeds": common, "study": study and study_record(study, facts)}
    lines = markdown(folds, study)
    if study is not None and len(common) == 1:
        found["beside"] = challenging([file["arms"] for file in files], study.design)
        lines += ["", *challenging_lines(found["beside"]), *class_lines(study)]
    write_json(folder / "result.json", found)
    write_text(folder / "table.md", "\n".join(lines) + "\n")
    return folder


def finished(folder: Path) -> tuple[list[dict[str, Any]], dict[int, set[int]]]:
    """Return the files of the seeds that all folds have, and every fold's seeds.

    Raises:
        ConfigError: folds of different configs.
    """
    files = [read_parted(path) for path in first_files(folder, "fold_*.json")]
    for file in files:
        what = f"fold {file['fold']}, seed {file['cases']['seed']}"
        require_same(files[0]["config"], file["config"], what, "run it again, or move its file away")
    seeds: dict[int, set[int]] = {}
    for file in files:
        seeds.setdefault(file["fold"], set()).add(file["cases"]["seed"])
    common = set.intersection(*seeds.values()) if seeds else set()
    return [file for file in files if file["cases"]["seed"] in common], seeds


def markdown(folds: list[int], study: Study | None) -> list[str]:
    """Return the folds' means by arm, and the contrasts, as lines."""
    done = ", ".join(map(str, folds)) or "none"
    lines = ["# All arms, full data", "", f"Folds finished: {done}. Test lesions, %, mean over folds.", ""]
    if study is None:
        return lines
    lines += ["| arm | " + " | ".join(ENDPOINTS) + " |", "|---" * (len(ENDPOINTS) + 1) + "|"]
    for arm, found in study.arms.items():
        cells = [percent(float(np.mean(found[name]))) if name in found else "" for name in ENDPOINTS]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return [*lines, "", *study_lines(study)]


if __name__ == "__main__":
    script(main)
