"""Figures as words: percentages with intervals, and the one sentence at the top of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.arms import ENGINE, START, in_words
from engine.artifacts.report_json import Figure, figure_in
from engine.evaluation.figures import is_share
from engine.evaluation.intervals import SHARE, holds, lesions_behind, no_interval
from engine.labelling.oracle import MARK
from engine.study.verdict import Verdict

NOTHING = "–"
Interval = Mapping[str, Any] | Figure
"""A figure with its interval, as report.json has it or as its reader gives it."""

PROTOCOLS: Mapping[str, tuple[str, str]] = {
    "safe": (
        "No leakage found",
        "This says how the run was made, not that the classifier is safe. Hard cases were not sought in the test part, and "
        "no lesion lies in two parts of the split. The test part was recorded and decided nothing.",
    ),
    "leaky": (
        "LEAKY: hard cases were mined from the test part",
        "Images of the test part steered what was synthesized and trained on. The figures below are optimistic and "
        "say nothing about new lesions. Do not quote them as performance.",
    ),
    "leaky_by_duplicates": (
        "LEAKY: near-duplicates lie in two parts of the split",
        "Pairs of images of different lesion ids that show the same, and lie in two parts: {pairs}. What was trained on may "
        "be tested again, and the figures below may be optimistic. Set data.split.merge_duplicates: true, which joins "
        "them, and run again.",
    ),
    "groups_unknown": (
        "GROUPS UNKNOWN: lesions could straddle the split",
        "The data names neither patients nor lesions, so photographs of one lesion may lie both in the training part "
        "and in the test part. The figures below may be optimistic, and the intervals too narrow.",
    ),
}
"""Title and explanation of each protocol of report.json; ``protocol_words`` fills in what it counted."""

SOME_UNGROUPED = (
    "{count} images in use have neither a patient id nor a lesion id, so photographs of one lesion may lie both in the "
    "training part and in the test part. The figures below may be optimistic, and the intervals too narrow. Images of a "
    "plain folder have no ids; in a table, as rows without a diagnosis, they can have some."
)
"""The explanation of groups_unknown where most images have an id."""

VERDICTS: Mapping[Verdict, str] = {
    "helped": "Hard cases helped",
    "hurt": "Hard cases hurt",
    "not shown": "Not shown that hard cases help",
}
"""The verdict as the first words of a page."""

FORMATS: Mapping[str, str] = {
    "ham10000": "HAM10000",
    "isic": "images of the ISIC archive",
    "medmnist": "MedMNIST",
    "folder": "a folder per class",
    "table": "a table of images",
    "pixels": "a table of pixels",
    "torchvision": "a torchvision data set",
    "phantom": "drawn phantoms",
}
"""Words for ``data.format``."""

STAGES: Mapping[str, str] = {
    "images": "decoding", "split": "split", "embedder": "image embedder", "vae": "autoencoder",
    "latents": "latents", "denoiser": "denoiser", "distill": "student of the denoiser", "gan": "GAN",
    "judge": "judge", "index": "index",
    "challenging": "reference models", "likelihood": "likelihood", "features": "features",
    "preview": "contact sheet", "pool": "pool", "crossfit": "fits across folds", "classifier": "training",
    "predict": "prediction", "evaluate": "evaluation", "mine": "mining", "condition": "conditioning",
    "synthesize": "synthesis", "accept": "acceptance", "fidelity": "fidelity",
    "thumbnails": "small pictures", "ask": "questions",
}  # fmt: skip
"""Words for the stages; others are shown as they are."""

MARKS: Mapping[str, str] = {
    "leaky": "LEAKY: mined from test",
    "leaky_by_duplicates": "LEAKY: near-duplicates in two parts",
    "groups_unknown": "GROUPS UNKNOWN",
}
"""What stands beside figures, and beside what else a run has made, where its protocol is not safe."""
SIMULATED = MARK
"""What stands beside figures of classifiers that trained on labels of an oracle."""
SIMULATED_TITLE = f"{SIMULATED}: an oracle uncovered hidden labels"
SIMULATED_WORDS = (
    "No reader answered: labels that the data set holds were hidden, then uncovered when they were asked for. Readers err, "
    "disagree and take time, so figures of arms that train on these labels show what asking could bring at best."
)
SIMULATED_BANNER: Mapping[str, str] = {"title": SIMULATED_TITLE, "explanation": SIMULATED_WORDS}


def protocol_words(protocol: str, data: Mapping[str, Any]) -> tuple[str, str]:
    """Return title and explanation of a protocol; ``data`` is that of report.json."""
    title, explanation = PROTOCOLS.get(
        protocol, (f"Protocol: {protocol}", "This protocol is unknown to the report.")
    )
    if protocol == "groups_unknown" and "without_group" in data:
        explanation = SOME_UNGROUPED.format(count=data["without_group"])
    return title, explanation.format(pairs=data.get("duplicates_apart", "an unknown number"))


def marks(protocol: str, *, simulated: bool) -> str:
    """Return what stands in brackets beside a run's figures: its protocol's mark, SIMULATED LABELS, both, or ""."""
    return "; ".join(filter(None, [MARKS.get(protocol, ""), SIMULATED if simulated else ""]))


def percent(value: float | None, digits: int = 1) -> str:
    """Return 0.7821 as ``78.2 %``, None as a dash."""
    return NOTHING if value is None else f"{100.0 * value:.{digits}f}\u00a0%"


def percent_interval(figure: Interval | None, lesions: int | None = None) -> str:
    """Return ``78.2 % (70.1–85.3)``, ``0.0 % (too few: 1 lesion)`` where the interval says nothing, or a dash."""
    return interval_text(figure, percent, lambda end: f"{100 * end:.1f}", lesions)


def number_interval(figure: Interval | None, lesions: int | None = None) -> str:
    """Return ``0.912 (0.880–0.941)``, ``0.048 (too few: 12 lesions)`` where the interval says nothing, or a dash."""
    return interval_text(figure, lambda value: f"{value:.3f}", lambda end: f"{end:.3f}", lesions)


def interval_text(
    figure: Interval | None,
    value_text: Callable[[float], str],
    end_text: Callable[[float], str],
    lesions: int | None = None,
    scale: tuple[float, float] = SHARE,
) -> str:
    """Return a figure with its interval in brackets, or with why it has none; a dash where it is undefined.

    Args:
        figure: value, low and high.
        value_text: prints the value.
        end_text: prints an end of the interval.
        lesions: how many it rests on; None: not known.
        scale: the least and the greatest value the figure can have.
    """
    found = _numbers(figure)
    if found is None:
        return NOTHING
    value, low, high = found
    said = no_interval(value, low, high, lesions, scale) or f"{end_text(low)}–{end_text(high)}"
    return f"{value_text(value)} ({said})"


def figure_text(metrics: Mapping[str, Any], name: str) -> str:
    """Return a figure of a metric object (``malignant.auc``) as its kind is printed, with its interval."""
    shown = percent_interval if is_share(name) else number_interval
    return shown(figure_in(metrics, name), lesions_behind(metrics, name))


def _numbers(figure: Interval | None) -> tuple[float, float, float] | None:
    """Return (value, low, high), None where the figure is undefined."""
    plain = vars(figure) if isinstance(figure, Figure) else figure
    if not plain or plain["value"] is None:
        return None
    return plain["value"], plain["low"], plain["high"]


def p_text(value: float | None) -> str:
    """Return a p-value with two significant digits at most four decimals, or a dash."""
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Return seconds as ``42 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def latest(rounds: Sequence[Mapping[str, Any]], arm: str) -> Mapping[str, Any] | None:
    """Return the report of the last round that trained ``arm``, None where no round did."""
    mine = [entry for entry in rounds if entry["arm"] == arm]
    return max(mine, key=lambda entry: int(entry["round"])) if mine else None


def headline(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Return the plain comparison of arm hard with arm real on malignant sensitivity, last round, test part."""
    hard, real = latest(rounds, ENGINE), latest(rounds, START)
    if hard is None:
        return f"No round has finished training {in_words(ENGINE)}, so there is nothing to compare yet."
    if real is None:
        return f"No classifier was trained {in_words(START)}, so there is nothing to compare with."
    ours, theirs = (entry["test"]["malignant"]["sensitivity"] for entry in (hard, real))
    if ours["value"] is None or theirs["value"] is None:
        return (
            "Sensitivity to malignant or premalignant lesions is not available: the data names no such class, the "
            "test part holds none, or val fixed no operating point. Compare the arms by balanced accuracy below."
        )
    found, other = (figure_text(entry["test"], "malignant.sensitivity") for entry in (hard, real))
    specificity, its = (figure_text(entry["test"], "malignant.specificity") for entry in (hard, real))
    return (
        f"In round {hard['round']}, the classifier trained {in_words(ENGINE)} recognised {found} of the {_images(hard)} of "
        f"malignant or premalignant lesions, against {other} by the one trained {in_words(START)}{_when(hard, real)}, each "
        f"at the operating point fixed on val, which gave a test specificity of {specificity} and {its}. "
        f"{_overlap(ours, theirs)} {one_run(hard)} proves no gain, whichever way the difference points."
    )


def seed_count(entry: Mapping[str, Any]) -> int:
    """Return over how many classifier seeds a round and arm's object in report.json averages; 0 where it names none."""
    return len((entry.get("seeds") or {}).get("seeds") or ())


def one_run(entry: Mapping[str, Any]) -> str:
    """Return what a report's object rests on: ``One run with one seed``, or how many classifier seeds it averages."""
    count = seed_count(entry)
    return (
        "One run with one seed"
        if count < 2
        else f"One run with one training set (means of {count} classifier seeds)"
    )


def _images(entry: Mapping[str, Any]) -> str:
    malignant = entry["test"]["malignant"]
    return f"{malignant['n']} test images ({malignant['n_lesions']} lesions)"


def _when(hard: Mapping[str, Any], real: Mapping[str, Any]) -> str:
    """Say so where the two were not trained in the same round: then their training lengths differ too."""
    if hard["round"] == real["round"]:
        return ""
    return f" in round {real['round']} (not trained in round {hard['round']}, so not for as many steps)"


def _overlap(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    points = 100.0 * (ours["value"] - theirs["value"])
    equal = abs(points) < 0.05
    told = "The two are equal to a tenth of a percentage point"
    if not equal:
        told = f"That is {abs(points):.1f} percentage points {'higher' if points > 0 else 'lower'}"
    if not all(holds(found["value"], found["low"], found["high"]) for found in (ours, theirs)):
        return f"{told}; so few lesions give no interval."
    apart = ours["low"] > theirs["high"] or theirs["low"] > ours["high"]
    relation = "the 95 % intervals do not overlap" if apart else "the 95 % intervals overlap"
    return f"{told}{' and' if equal else ';'} {relation}."
