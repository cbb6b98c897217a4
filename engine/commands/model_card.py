"""The model card of an exported classifier: what it is for, how well it did, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.artifacts.calibration import Calibration
from engine.artifacts.classifier_fit import WEIGHTS
from engine.artifacts.markdown_text import as_text
from engine.artifacts.report_json import RoundEntry, RunReport
from engine.commands.finished_run import Chosen
from engine.evaluation.intervals import lesions_behind
from engine.report.wording import (
    NOTHING,
    SIMULATED_TITLE,
    SIMULATED_WORDS,
    figure_text,
    one_run,
    percent,
    percent_interval,
    protocol_words,
    seed_count,
)

LIMITS = """## Limits

- Research software, not a medical device. Never for decisions about a patient.
- Measured on test lesions of the same data set it was trained on; other cameras, clinics and skin types were not
  tested. Score your own data with `hardcase evaluate` before you believe any figure.
- Probabilities are calibrated for the class frequencies of the data set, which are not those of a clinic: malignant
  lesions are commonly enriched in research data.
- Where trained on HAM10000: it has no patient identifiers and no skin type, many nevi were confirmed only by
  follow-up, and akiec includes premalignant lesions. HAM10000 is CC BY-NC 4.0, and weights made from it are to be
  treated alike.
- A classifier trained on images, real or synthetic, can reveal what it was trained on.
"""


APPLYING = [
    "## Apply it",
    "",
    "```",
    "pip install numpy pillow onnxruntime",
    "python apply.py PHOTOGRAPH [PHOTOGRAPH ...] > predictions.csv",
    "```",
    "",
    "Decode photographs as `decoding.py` does (it needs numpy and Pillow alone): another decoder gives other pixels, and",
    "other probabilities.",
    "",
]


def model_card(chosen: Chosen, report: RunReport, *, onnx: bool) -> str:
    """Return README.md: origin, figures on test with intervals, operating point, limits."""
    from engine.classifier.weights import read_meta

    meta, calibration, config = read_meta(chosen.weights), chosen.calibration, chosen.run.config
    files = [f"{WEIGHTS} (weights; the header rebuilds the model)", Calibration.FILE,
             "preprocessing.json"]  # fmt: skip
    files += (
        ["classifier.onnx (calibrated probabilities)", "apply.py, decoding.py (apply it)"] if onnx else []
    )
    lines = [
        f"# {config.name}: {chosen.name}",
        "",
        f"A {meta.model} that sorts {meta.image_size} px dermatoscopic images into {_names(meta.classes)}, "
        f"made by hardcase (data: {config.data.format}, seed {config.seed}, loop seed {config.loop.seed}).",
        "",
        *[f"- {name}" for name in files],
        "",
        *(APPLYING if onnx else []),
        *_figures(report, report.entry(chosen.round, chosen.arm), simulated=chosen.simulated),
        "## Operating point",
        "",
        operating_point(calibration),
        "",
        LIMITS,
    ]
    return "\n".join(lines)


def _figures(report: RunReport, entry: RoundEntry | None, *, simulated: bool) -> list[str]:
    title, explanation = protocol_words(report.protocol, report.data)
    lines = ["## Measured on the run's test lesions", "", f"**{title}.** {explanation}", ""]
    lines += [f"**{SIMULATED_TITLE}.** {SIMULATED_WORDS}", ""] if simulated else []
    if entry is None:
        return [*lines, "This round and arm is not in report.json: no figures.", ""]
    test, malignant = entry.test, entry.test["malignant"]
    seeds, count = entry.seeds or {}, seed_count(entry.to_json())
    if count > 1:
        lines += [
            f"The weights here are those of the first of {count} classifier seeds, seed {seeds['seeds'][0]}. Intervals are",
            f"those of the mean over all {count}.",
            "",
            f"| figure | these weights | mean of {count} seeds (95 % interval by lesion) | images |",
            "|---|---|---|---|",
        ]
    else:
        lines += ["| figure | value (95 % interval by lesion) | images |", "|---|---|---|"]
    rows = [(n.replace("_", " "), n, test["n"]) for n in ("balanced_accuracy", "accuracy", "macro_f1")]
    rows += [
        ("malignant sensitivity", "malignant.sensitivity", malignant["n"]),
        ("malignant specificity", "malignant.specificity", malignant["n_benign"]),
    ]
    for dx, figures in test["per_class"].items():
        name = as_text(dx)
        rows.append((f"sensitivity {name}", f"per_class.{dx}.sensitivity", figures["n"]))
        rows.append((f"specificity {name}", f"per_class.{dx}.specificity", test["n"] - figures["n"]))
    for words, figure, images in rows:
        shown = percent_interval(entry.figure("test", figure), lesions_behind(test, figure))
        lines.append(f"| {words} |{_first(entry, figure, percent)} {shown} | {images} |")
    for words, figure in (("AUC", "auc"), ("malignant AUC", "malignant.auc"), ("ECE", "ece")):
        first = _first(entry, figure, lambda value: f"{value:.3f}")
        lines.append(f"| {words} |{first} {figure_text(test, figure)} | {test['n']} |")
    trained = (
        f"Trained for {entry.optimizer_steps} optimizer steps on {entry.n_real} real images"
        f" and what the arm {entry.arm} adds ({entry.n_accepted} synthetic images accepted in this round)."
    )
    return [
        *lines,
        "",
        trained,
        f"{one_run(entry.to_json())}: differences to other models within the intervals mean nothing.",
        "",
    ]


def _first(entry: RoundEntry, figure: str, text: Callable[[float], str]) -> str:
    """The cell of the first classifier seed, whose weights are exported; "" where there is one seed alone."""
    seeds = entry.seeds or {}
    if seed_count(entry.to_json()) < 2:
        return ""
    values = ((seeds.get("test") or {}).get(figure) or {}).get("values")
    return f" {text(values[0]) if values else NOTHING} |"


def _names(classes: Iterable[str]) -> str:
    return ", ".join(map(as_text, classes))


def operating_point(calibration: Calibration) -> str:
    """Return the sentence on when a lesion is called malignant, as Markdown."""
    if calibration.threshold is None:
        return f"None: no malignant classes, or val could not fix one. Temperature {calibration.temperature:.4f}."
    return (
        f"Malignant or premalignant ({_names(calibration.malignant)}) is called when the sum of these classes' "
        f"calibrated probabilities is at least {calibration.threshold:.6f}: the threshold that gave specificity "
        f"{calibration.specificity:.2f} on val. Temperature {calibration.temperature:.4f}."
    )
