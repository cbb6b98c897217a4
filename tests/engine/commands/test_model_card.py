"""The model card says of which classifier seed its figures are."""

from __future__ import annotations

from typing import Any

from engine.artifacts.report_json import RoundEntry, RunReport
from engine.commands.model_card import _figures

FIGURE = {"value": 0.8, "low": 0.7, "high": 0.9}
TEST: dict[str, Any] = {
    "n": 40,
    "n_lesions": 30,
    **dict.fromkeys(("balanced_accuracy", "accuracy", "macro_f1", "auc", "ece"), FIGURE),
    "malignant": {
        "n": 22,
        "n_benign": 18,
        "n_lesions": 21,
        **dict.fromkeys(("sensitivity", "specificity", "auc"), FIGURE),
    },
    "per_class": {"mel": {"n": 22, "n_lesions": 21, "sensitivity": FIGURE, "specificity": FIGURE}},
}


def card(**more: Any) -> str:
    entry = RoundEntry(round=1, arm="hard", test=TEST, **more)
    return "\n".join(_figures(RunReport(protocol="safe", rounds=()), entry, simulated=False))


def test_one_seed_has_one_column() -> None:
    text = card()
    assert "| balanced accuracy | 80.0\u00a0% (70.0–90.0) | 40 |" in text
    assert "One run with one seed: differences" in text and "these weights" not in text


def test_with_several_seeds_the_exported_one_stands_beside_the_mean() -> None:
    """The weights are the first seed's, which recognises 60 % of the malignant lesions and not the mean's 80 %."""
    names = (
        "balanced_accuracy",
        "accuracy",
        "macro_f1",
        "malignant.sensitivity",
        "malignant.auc",
        "auc",
        "ece",
    )
    spread = {name: {"mean": 0.8, "sd": 0.2, "values": [0.6, 0.8, 1.0]} for name in names}
    text = card(seeds={"seeds": [3, 4, 5], "val": {}, "test": spread})
    assert "first of 3 classifier seeds, seed 3" in text
    assert "| figure | these weights | mean of 3 seeds (95 % interval by lesion) | images |" in text
    assert "| malignant sensitivity | 60.0\u00a0% | 80.0\u00a0% (70.0–90.0) | 22 |" in text
    assert "| malignant AUC | 0.600 | 0.800 (0.700–0.900) | 40 |" in text
    assert "| malignant specificity | – | 80.0\u00a0% (" in text, "undefined in one of the seeds"
    assert "One run with one training set (means of 3 classifier seeds): differences" in text
    assert "one seed" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {5}
