"""What a study reports beside its endpoints, against figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from engine.study.contrasts import PRIMARY, make_study
from engine.study.design import find_design
from experiments.lib import study_beside
from experiments.lib.study_beside import challenging, subgroups
from experiments.lib.study_tables import challenging_lines, class_lines, points, subgroup_lines
from tests.experiments.fake_replicates import opened


def entry(challenging: float | None, rest: float, n: int = 10) -> dict[str, Any]:
    def group(value: float | None) -> dict[str, Any]:
        one = {"value": value, "low": 0.0, "high": 1.0}
        return {"n": n, "balanced_accuracy": one, "malignant": {"sensitivity": one, "specificity": one}}

    return {"challenging": group(challenging), "rest": group(rest)}


def test_challenging_lesions_by_hand(tmp_path: Path) -> None:
    runs = opened(tmp_path / "runs", replicates=2)
    arms = [
        {"real": entry(0.2, 0.5, n=8), "hard": entry(0.3, 0.9, n=8), "random": entry(None, 0.5)},
        {"real": entry(0.4, 0.5), "hard": entry(0.8, 0.9), "random": entry(0.1, 0.5), "dcgan": entry(1, 1)},
    ]
    found = challenging(arms, find_design(runs))
    assert found["challenging"]["n"] == [8, 10]
    assert set(found["challenging"]["arms"]) == {"real", "hard", "random"}, "dcgan is not in both"
    difference = found["challenging"]["hard_minus"]["real"]["sensitivity"]
    spread = {"value": 0.25, "least": 0.1, "most": 0.4, "above_0": 2, "replicates": 2}
    assert difference == pytest.approx(spread), "a t over sets would forget their common lesions"
    assert points(difference) == "+25.0 (+10.0 to +40.0; 2 of 2 above 0)"
    assert found["challenging"]["hard_minus"]["random"]["sensitivity"] is None, "undefined in one replicate"
    text = "\n".join(challenging_lines(found))
    assert "the 8 to 10 test images" in text
    assert "| real | 30.0 | 30.0 | 30.0 | 50.0 | 50.0 | 50.0 |" in text
    assert f"| hard minus real | {points(difference)}" in text
    del arms[1]["real"]["challenging"]
    assert challenging(arms, find_design(runs)) == {}, "a run without reference models lists none"
    assert challenging_lines({}) == []


def test_folds_have_the_corrected_interval(tmp_path: Path) -> None:
    design = find_design(opened(tmp_path / "runs", folds=True, replicates=4))
    values = [0.1, 0.3, 0.2, 0.25]
    arms = [{"real": entry(0.2, 0.5), "hard": entry(0.2 + value, 0.5)} for value in values]
    found = challenging(arms, design)["challenging"]["hard_minus"]["real"]["sensitivity"]
    half = stats.t.ppf(0.975, 3) * np.sqrt(np.var(values, ddof=1) * (1 / 4 + design.n_test / design.n_train))
    assert found["high"] - found["value"] == pytest.approx(half)


def test_subgroups_keep_the_operating_point_of_all_of_val(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_beside, "DRAWS", 60)
    runs = opened(tmp_path / "runs", replicates=2, gain={"hard": 0.4})
    images = runs[0].test.image_id
    columns = pd.DataFrame(
        {
            "sex": ["female" if k % 3 else "male" for k in range(len(images))],
            "age": [20.0 if k % 2 else np.nan for k in range(len(images))],
            "localization": ["back" if k else "foot" for k in range(len(images))],
        },
        index=pd.Index(images, name="image_id"),
    )
    found = subgroups(runs, find_design(runs), columns)
    assert {name: list(groups) for name, groups in found.items()} == {
        "sex": ["female", "male"],
        "age": ["under 30"],
        "site": ["back", "foot"],
    }
    malignant = np.isin(runs[0].test.label_N, runs[0].malignant_columns)
    female = (columns["sex"] == "female").to_numpy()
    group = found["sex"]["female"]
    assert group["n_malignant_lesions"] == len(set(runs[0].test.lesion_id[malignant & female]))
    sexes = ("female", "male")
    counts = {sex: int((malignant & (columns["sex"] == sex).to_numpy()).sum()) for sex in sexes}
    whole = make_study(runs, draws=10).arms["hard"][PRIMARY]
    for k in range(2):  # all of test is the two sexes together, at one operating point
        together = sum(found["sex"][sex][PRIMARY]["hard"][k] * counts[sex] for sex in sexes) / malignant.sum()
        assert together == pytest.approx(whole[k])
    back = found["site"]["back"][PRIMARY]
    assert back["difference"]["low"] < back["difference"]["value"] < back["difference"]["high"]
    foot = found["site"]["foot"]
    assert foot[PRIMARY]["too_few"] and foot["malignant.specificity"]["too_few"]
    assert foot[PRIMARY]["difference"] is None or foot["malignant.specificity"]["difference"] is None
    text = "\n".join(subgroup_lines(found))
    assert "| site | foot |" in text
    assert "(too few)" in text
    assert "Skin type: not assessable" in text


@pytest.mark.parametrize("folds", [False, True])
def test_a_group_of_all_lesions_has_the_interval_of_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: bool
) -> None:
    monkeypatch.setattr(study_beside, "DRAWS", 60)
    runs = opened(tmp_path / "runs", replicates=3, folds=folds, gain={"hard": 0.4})
    images = sorted({name for run in runs for name in run.test.image_id.tolist()})
    columns = pd.DataFrame({"sex": "female", "age": 50.0, "localization": "back"}, index=images)
    found = subgroups(runs, find_design(runs), columns)
    study = make_study(runs, draws=60)
    for figure in (PRIMARY, "malignant.specificity"):
        contrast = study.contrast(figure, "real")
        assert contrast is not None
        headline = contrast.difference
        expected = {"value": headline.value, "low": headline.low, "high": headline.high}
        assert found["age"]["45–59"][figure]["difference"] == pytest.approx(expected)


def test_classes_and_calibration_are_listed(tmp_path: Path) -> None:
    runs = opened(tmp_path / "runs", replicates=2)
    study = make_study(runs, draws=10)
    lines = class_lines(study)
    (hard,) = (line for line in lines if line.startswith("| hard |"))
    assert hard.endswith(f" {100 * study.arms['hard']['ece'].mean():.1f} |")
    unknown = replace(
        study, arms={"hard": {**study.arms["hard"], "per_class.nv.sensitivity": np.array([np.nan, 1.0])}}
    )
    column = lines[4].split(" | ").index("nv")
    (hard,) = (line for line in class_lines(unknown) if line.startswith("| hard |"))
    assert hard.split(" | ")[column].startswith(" / ") or hard.split(" | ")[column].startswith("/")
