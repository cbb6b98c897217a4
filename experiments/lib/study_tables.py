"""Writes a study as Markdown: its answer, contrasts, and what it reports beside them. Means in %, differences in points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.evaluation.metrics import Floats
from engine.study.contrasts import ARM, PRIMARY, Study
from experiments.lib.outcomes import ENDPOINTS
from experiments.lib.study_beside import GROUPS, SHARES


def challenging_lines(found: Mapping[str, Any]) -> list[str]:
    """Return ``challenging`` as Markdown: %, means over replicates, and what ``hard`` has more, in points."""
    if not found:
        return []
    titles = [f"{group}: {share.replace('_', ' ')}" for group in GROUPS for share in SHARES]
    low, high = min(found["challenging"]["n"]), max(found["challenging"]["n"])
    lines = [
        "### Challenging lesions and the rest",
        "",
        f"Challenging: the {low} to {high} test images of lesions that three reference models of another architecture get "
        "wrong, listed before any arm is trained. Malignant operating point fixed on val; %, mean over replicates.",
        "",
        "| arm | " + " | ".join(titles) + " |",
        "|---" * (len(titles) + 1) + "|",
    ]
    for arm in found["challenging"]["arms"]:
        lines.append(f"| {arm} | " + " | ".join(_means(found, arm)) + " |")
    for arm in found["challenging"]["hard_minus"]:
        if arm in ("real", "random", "classical"):
            cells = [points(found[group]["hard_minus"][arm][share]) for group in GROUPS for share in SHARES]
            lines.append(f"| hard minus {arm} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _means(found: Mapping[str, Any], arm: str) -> list[str]:
    return [_mean(found[group]["arms"][arm][share]) for group in GROUPS for share in SHARES]


def class_lines(study: Study) -> list[str]:
    """Return every class's sensitivity and specificity by arm, and the calibration error, as Markdown: %, means."""
    classes = study.runs[0].classes
    lines = [
        "### By class, and calibration",
        "",
        "Sensitivity / specificity of each class (highest probability), and the calibration error (lower is better); %, "
        "mean over replicates.",
        "",
        "| arm | " + " | ".join(classes) + " | calibration error |",
        "|---" * (len(classes) + 2) + "|",
    ]
    for arm, figures in study.arms.items():
        cells = [
            " / ".join(
                _mean(figures.get(f"per_class.{dx}.{share}")) for share in ("sensitivity", "specificity")
            )
            for dx in classes
        ]
        lines.append(f"| {arm} | {' | '.join(cells)} | {_mean(figures.get('ece'))} |")
    return [*lines, ""]


def _mean(values: Floats | Sequence[float | None] | None) -> str:
    """The mean over replicates, %; "" where one of them lacks the figure."""
    known = np.array([np.nan] if values is None else values, dtype=np.float64)
    return f"{100 * known.mean():.1f}" if np.isfinite(known).all() else ""


def subgroup_lines(found: Mapping[str, Any]) -> list[str]:
    """Return ``subgroups`` as Markdown; a share that rests on too few lesions is marked."""
    lines = [
        "| | group | malignant lesions | sensitivity: real | hard | hard minus real "
        "| benign lesions | specificity: real | hard | hard minus real |",
        "|---" * 10 + "|",
    ]
    for name, groups in found.items():
        for group, figures in groups.items():
            cells = []
            for figure, count in (
                (PRIMARY, "n_malignant_lesions"),
                ("malignant.specificity", "n_benign_lesions"),
            ):
                values = figures[figure]
                mark = " (too few)" if values["too_few"] else ""
                shares = [_mean(values[arm]) for arm in ("real", ARM)]
                cells += [f"{figures[count]}{mark}", *shares, points(values["difference"])]
            lines.append(f"| {name} | {group} | {' | '.join(cells)} |")
    return [*lines, "", "Skin type: not assessable, HAM10000 does not give it.", ""]


def ends(low: float, high: float, digits: int = 1) -> str:
    """Return the ends of an interval, times 100."""
    return f"{100 * low:+.{digits}f} to {100 * high:+.{digits}f}"


def points(found: Mapping[str, float] | None, digits: int = 1) -> str:
    """Return a difference in points with its interval, or with its range and how often it is above 0; "" for none."""
    if found is None:
        return ""
    spread = ("low", "high") if "low" in found else ("least", "most")
    low, high = (found[name] for name in spread)
    count = "" if "low" in found else f"; {found['above_0']} of {found['replicates']} above 0"
    return f"{100 * found['value']:+.{digits}f} ({ends(low, high, digits)}{count})"


def study_lines(study: Study | None) -> list[str]:
    """Return the answer and the contrasts of a study, in points."""
    if study is None:
        return ["Fewer than two training sets with the arms `hard` and `real`: no contrast yet."]
    lines = [
        f"**{study.answer.sentence}** {study.answer.reason}",
        "",
        f"`hard` minus each arm over {study.design.replicates} {study.design.unit}s, points, 95 % intervals:",
        "",
        "| minus | " + " | ".join(ENDPOINTS) + " | Holm p | claim |",
        "|---" * (len(ENDPOINTS) + 3) + "|",
    ]
    for baseline in study.arms:
        found = {name: study.contrast(name, baseline) for name in ENDPOINTS}
        first = found[PRIMARY]
        if baseline == ARM or first is None:
            continue
        p_holm = "" if first.adjusted_p is None else f"{first.adjusted_p:.3f}"
        cells = [points(contrast and vars(contrast.difference)) for contrast in found.values()]
        lines.append(f"| {baseline} | " + " | ".join([*cells, p_holm, first.claim or first.role]) + " |")
    return lines


def percent(value: float | None) -> str:
    """Return a share in % with one decimal; "" for an undefined one."""
    return "" if value is None else f"{100 * value:.1f}"
