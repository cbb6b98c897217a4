"""Subgroups: figures by hand, counts of lesions, warnings, and what is not assessable."""

from __future__ import annotations

import numpy as np
import pytest

from engine.evaluation.scoring import ScoredSplit
from engine.evaluation.subgroups import age_bands, subgroup_figures
from engine.report.blocks.subgroups import mean_subgroups, subgroup_tables
from engine.types import strings


def split(lesions: int = 60) -> ScoredSplit:
    """Two photographs a lesion; women's lesions are all called rightly, men's melanomas all missed."""
    lesion = np.repeat(np.arange(lesions), 2)
    label = (lesion % 2).astype(np.int64)  # odd lesions are nv
    male = lesion >= lesions // 2
    score = np.where(label == 0, np.where(male, 0.1, 0.9), 0.2)
    names = strings([f"L{n}" for n in lesion])
    return ScoredSplit(
        prob_NC=np.column_stack([score, 1 - score]),
        label_N=label,
        lesion_id=names,
        group_N=names,
        classes=("mel", "nv"),
        malignant=("mel",),
        threshold=0.5,
    )


def figures(lesions: int = 60) -> dict:
    half = lesions
    columns = {
        "sex": strings(["female"] * half + ["male"] * half),
        "age": age_bands(np.array([29.9, 30.0, 80.0, np.nan] * (lesions // 2))),
        "skin_type": strings(["unknown", ""] * lesions),
    }
    return subgroup_figures([split(lesions)], columns, draws=50, rng=np.random.default_rng(0))


def test_figures_and_counts_by_hand() -> None:
    female, male = figures(80)["sex"]["groups"]
    assert (female["sensitivity"]["value"], male["sensitivity"]["value"]) == (1.0, 0.0)
    assert female["specificity"]["value"] == male["specificity"]["value"] == 1.0
    assert (female["n"], female["n_lesions"]) == (80, 40)
    assert (female["n_malignant_lesions"], female["n_benign_lesions"], female["too_few"]) == (20, 20, [])


def test_few_lesions_are_marked_and_unknown_ones_counted() -> None:
    found = figures(60)
    assert found["sex"]["groups"][0]["too_few"] == ["sensitivity", "specificity"]
    assert found["age"]["unknown"] == 30
    assert [g["name"] for g in found["age"]["groups"]] == ["under 30", "30–44", "75 and over"]


def test_an_attribute_nobody_has_is_not_assessable() -> None:
    assert figures()["skin_type"] is None
    tables = {t["title"]: t for t in subgroup_tables({"hard": {"test": {"subgroups": figures()}}})}
    assert tables["Skin type"]["rows"] == [] and tables["Body site"]["rows"] == []
    assert tables["Sex"]["warned"] and [r["name"] for r in tables["Sex"]["rows"]] == ["female", "male"]
    assert subgroup_tables({"hard": {"test": {}}}) == []


@pytest.mark.parametrize(("same_test", "count"), [(True, 15), (False, 30)])
def test_several_runs_share_their_lesions_or_add_them_up(same_test: bool, count: int) -> None:
    entry = {"hard": {"test": {"subgroups": figures()}}}
    table = mean_subgroups([entry, entry], same_test=same_test)[0]
    row = table["rows"][1]
    assert (row["name"], row["malignant"]) == ("male", count)
    assert row["cells"][0]["text"].startswith("0.0") and row["cells"][0]["few"] == same_test
