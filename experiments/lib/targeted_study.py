"""The targeted study's folds, collected: the answer, both endpoints' contrasts, what the study could have shown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.artifacts.whole_files import write_text
from engine.errors import ConfigError
from engine.store.files import write_json
from engine.study.comparison import corrected_t
from engine.study.contrasts import ARM, Contrast, Study, make_study
from engine.study.design import Design, find_design
from engine.study.power import POWER
from engine.study.power_study import PowerRow, power_study
from engine.study.record import study_record
from experiments.lib.contrasts_plot import draw_contrasts
from experiments.lib.folds import missing, replicates
from experiments.lib.keeping import provenance, require_same, this_command
from experiments.lib.outcomes import DRAWS
from experiments.lib.parted import divide, first_files, read_parted
from experiments.lib.study_tables import ends, points

PANELS: Final[Mapping[str, str]] = {
    "malignant.auc": "malignant AUROC\n(primary)",
    "log_loss": "log loss, lower is better\n(co-primary)",
    "malignant.sensitivity": "malignant sensitivity\nat 90 % specificity",
}
"""What the picture and the tables show: the endpoints, then that of the first study."""
SETS: Final = 2
"""Training sets per fold, as the protocol froze them."""
EFFECT: Final = 0.02
"""The protocol's target of hard minus classical, for which power is told."""


def collect_study(folder: Path, draws: int = DRAWS) -> Path | None:
    """Write result.json, table.md and contrasts.png of the folds that are scored; None where none is.

    Args:
        folder: where the files ``study_<fold>_<set>.json`` are.
        draws: bootstrap draws of lesions.

    Raises:
        ConfigError: replicates of different configs, or with endpoints that are not the protocol's.
    """
    paths = first_files(folder, "study_*_*.json")
    for path in paths:
        divide(path)  # the frozen engine writes one file
    files = [read_parted(path) for path in paths]
    if not files:
        return None
    for file in files:
        what = f"fold {file['fold']}, set {file['set']}"
        require_same(files[0]["config"], file["config"], what, "run it again, or move its file away")
    runs = replicates(files)
    planned = tuple(PANELS)[:2]
    if runs[0].endpoints.primary != planned:
        raise ConfigError(
            f"evaluation.primary: the protocol names {', '.join(planned)}, these replicates have "
            f"{', '.join(runs[0].endpoints.primary)}; run them with the committed config"
        )
    told = find_design(runs)
    design = as_planned(told)
    study = make_study(runs, draws=draws, objection=unfinished(files), design=design)
    facts = [{name: file[name] for name in ("fold", "set", "split_digest")} for file in files]
    enough = study.design.replicates > 1
    rows = power_study(runs, draws=draws, effect=EFFECT, design=design).rows if enough else ()
    record = {**study_record(study, facts), "power": [row.to_json() for row in rows]}
    write_json(folder / "result.json", {**provenance(this_command()), "study": record})
    draw_contrasts(study, folder / "contrasts.png", PANELS)
    found = [*lines(study, rows), *(afterwards(study, told) if enough else ())]
    return write_text(folder / "table.md", "\n".join(found) + "\n")


def as_planned(design: Design) -> Design:
    """Return the design with the correlation of folds that the frozen engine supposed, whatever they have in common.

    It was n_test / (n_test + n_train), or none where they share nothing (PROTOCOL.md, changes to the analysis).
    """
    return replace(design, supposed=design.cap if design.in_common else 0.0)


def unfinished(files: Sequence[Mapping[str, Any]]) -> str:
    """Return what forbids a claim: folds or training sets of the protocol that are not scored; "" for nothing."""
    sets = Counter(file["fold"] for file in files)
    if absent := missing(len(sets)):
        return absent
    if set(sets.values()) != {SETS}:
        return f"{len(files)} training sets are scored; the protocol says {SETS} per fold"
    return ""


def lines(study: Study, rows: Sequence[PowerRow]) -> list[str]:
    """Return table.md's lines; all figures times 100."""
    design = study.design
    found = [
        "# The targeted study: figures",
        "",
        f"**{study.answer.sentence}** {study.answer.reason}",
        "",
        f"Test lesions of {design.replicates} {design.unit}s, means over classifier seeds, all figures times 100.",
        f"Adjusted: Holm's p, and the interval that holds for all {len(study.family)} confirmatory contrasts together.",
        "Fold 0 alone is blind to the choice of the setting (PROTOCOL.md).",
        "",
        "| figure | hard minus | difference (95 %) | fold 0 alone | adjusted interval | p, Holm | role | claim |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for figure in PANELS:
        contrasts = [study.contrast(figure, arm) for arm in study.arms if arm != ARM]
        found += [_contrast_row(one) for one in contrasts if one is not None]
    found += [f"| | {arm} | trained on the same images | | | | | not tested |" for arm in study.untested]
    found += ["", "| arm | " + " | ".join(PANELS) + " |", "|---" * (len(PANELS) + 1) + "|"]
    for arm, figures in study.arms.items():
        cells = " | ".join(f"{100 * np.mean(figures[name]):.2f}" for name in PANELS)
        found.append(f"| {arm} | {cells} |")
    if not rows:
        return found
    found += [
        "",
        f"What the study could have shown at {POWER:.0%} power, and where chance comes from (standard deviations):",
        "",
        "| figure | hard minus | could have shown | training sets | seeds | lesions |",
        "|---|---|---|---|---|---|",
    ]
    return [*found, *map(_power_row, rows)]


def afterwards(study: Study, design: Design) -> list[str]:
    """Return table.md's lines of the t over folds by ``design``, the engine's rule of today: no claim of this study."""
    found = [
        "",
        f"The t over folds by the rule that was chosen after the study (correlation {design.correlation:.2f}, in place of "
        f"{design.cap:.2f}; PROTOCOL.md, changes to the analysis). It was looked for because of these intervals, so nothing "
        "is claimed by it:",
        "",
        "| figure | hard minus | t over folds (95 %) | p, not adjusted |",
        "|---|---|---|---|",
    ]
    for figure in tuple(PANELS)[:2]:
        for one in (study.contrast(figure, arm) for arm in study.arms if arm != ARM):
            if one is not None:
                t = corrected_t(np.array(one.values), design.correlation)
                found.append(f"| {figure} | {one.baseline} | {points(vars(t), 2)} | {t.p_value:.3f} |")
    return found


def _contrast_row(one: Contrast) -> str:
    found, wide = one.difference, one.adjusted
    cells = [one.figure, one.baseline, points(vars(found), 2)]
    cells += [
        f"{100 * one.values[0]:+.2f}",
        "" if wide is None else ends(wide.low, wide.high, 2),
        "" if one.adjusted_p is None else f"{one.adjusted_p:.3f}",
        one.role,
        one.claim,
    ]
    return f"| {' | '.join(cells)} |"


def _power_row(row: PowerRow) -> str:
    parts = (row.components.training_sets, row.components.seeds, row.components.lesions)
    shown = " | ".join("" if part is None else f"{100 * math.sqrt(part):.2f}" for part in parts)
    could = "none" if row.detectable is None else f"{100 * row.detectable:.2f}"
    return f"| {row.figure} | {row.baseline} | {could} | {shown} |"
