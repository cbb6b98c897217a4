"""Holds a run folder against the contract of ARCHITECTURE.md; used on phantoms and on real lesions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

SYNTHETIC = {
    "sample_id", "parent_image_id", "dx", "neighbour_ids", "weights", "seed", "file", "accepted", "reasons",
    "judge_p", "nearest_train_id", "nearest_train_distance", "policy", "checkpoint",
}  # fmt: skip


def assert_contract(run: Path, rounds: int, arms: set[str]) -> dict[str, Any]:
    """Assert files, columns, intervals and provenance; return report.json's object."""
    split = pd.read_parquet(run / "split.parquet")
    assert list(split.columns) == ["image_id", "lesion_id", "dx", "split", "group"]
    assert (split.groupby("lesion_id")["split"].nunique() == 1).all()
    report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert (run / "report.html").stat().st_size > 10_000
    assert {(r["round"], r["arm"]) for r in report["rounds"]} == {(0, "real")} | {
        (n, arm) for n in range(1, rounds + 1) for arm in arms
    }
    for entry in report["rounds"]:
        _assert_figures(entry["val"])
        _assert_figures(entry["test"])
        parts = [entry["test"][name]["n"] for name in ("challenging", "rest")]
        assert sum(parts) == entry["test"]["n"]
        assert set(entry["test"]["subgroups"]) == {"sex", "age", "site", "skin_type"}
        assert set(entry["val"]["melanoma"]) >= {"sensitivity", "specificity", "class", "threshold", "n"}
    for number in range(1, rounds + 1):
        _assert_round(run / "rounds" / f"{number:04d}", split, arms)
    assert json.loads((run / "champion.json").read_text(encoding="utf-8"))["metric"].startswith("val/")
    return report


def _assert_figures(value: Any) -> None:
    """Every {value, low, high} holds its value or is null throughout."""
    if isinstance(value, dict) and {"value", "low", "high"} <= value.keys():
        if value["value"] is None:
            assert value["low"] is None
        else:
            assert value["low"] <= value["value"] <= value["high"]
    elif isinstance(value, dict):
        for inner in value.values():
            _assert_figures(inner)


def _assert_round(folder: Path, split: pd.DataFrame, arms: set[str]) -> None:
    part = dict(zip(split["image_id"], split["split"], strict=True))
    cases = pd.read_parquet(folder / "hard_cases.parquet")
    assert list(cases.columns) == ["image_id", "dx", "predicted", "score"]
    assert {part[name] for name in cases["image_id"]} <= {"mine"}
    synthetic = pd.read_parquet(folder / "synthetic.parquet")
    assert set(synthetic.columns) >= SYNTHETIC
    assert {part[name] for name in synthetic["nearest_train_id"]} <= {"train"}
    assert {part[name] for row in synthetic["neighbour_ids"] for name in row} <= {"train", "mine"}
    assert set(synthetic["parent_image_id"]) <= set(cases["image_id"])
    assert len(list((folder / "synthetic").glob("*.png"))) == len(synthetic) > 0
    accept = json.loads((folder / "accept.json").read_text(encoding="utf-8"))
    assert 0 <= accept["memorized"]["count"] <= len(synthetic)
    assert json.loads((folder / "fidelity.json").read_text(encoding="utf-8"))["n_synthetic"] == len(synthetic)
    assert (folder / "nearest.png").exists()
    predictions = pd.read_parquet(folder / "predictions.parquet")
    probabilities = predictions[[c for c in predictions if c.startswith("p_")]]
    assert (abs(probabilities.sum(axis=1) - 1) < 1e-5).all()
    assert set(predictions["image_id"]) == set(split["image_id"])
    for arm in arms - {"hard"}:
        assert (folder / "arms" / arm / "report.json").exists()
        assert (folder / "arms" / arm / "predictions.parquet").exists()
