"""Stage evaluate on small folders written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.artifacts import lesions
from engine.config import parse_config
from engine.errors import DataError
from engine.stages import evaluate
from engine.types import LesionTable, strings
from tests.fakes import run_stage

CLASSES = ("bcc", "mel", "nv")
PARAMS = evaluate.Params.of(
    parse_config(
        {"evaluation": {"bootstrap": 100, "specificity": 0.9}, "data": {"malignant": ["mel", "bcc"]}}
    )
)


def write_predictions(
    folder: Path, frame: pd.DataFrame, prob: np.ndarray, threshold: float | None = 0.5
) -> Path:
    folder.mkdir(parents=True)
    columns = {f"p_{name}": prob[:, c] for c, name in enumerate(CLASSES)}
    frame.assign(**columns).to_parquet(folder / "predictions.parquet", index=False)
    calibration = {"temperature": 1.0, "threshold": threshold, "specificity": 0.9}
    calibration |= {"malignant": ["mel"], "classes": list(CLASSES)}
    (folder / "calibration.json").write_text(json.dumps(calibration))
    return folder


def table(n: int = 60, splits: tuple[str, ...] = ("train", "val", "test")) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": [f"I{i:03d}" for i in range(n)],
            "split": [splits[i % len(splits)] for i in range(n)],
            "dx": [CLASSES[(i // 3) % 3] for i in range(n)],
        }
    )


def probabilities(frame: pd.DataFrame, right: float, seed: int = 0) -> np.ndarray:
    """Rows that are right with the given share."""
    rng = np.random.default_rng(seed)
    truth = np.array([CLASSES.index(dx) for dx in frame["dx"]])
    taken = np.where(rng.random(len(frame)) < right, truth, (truth + 1) % 3)
    return 0.1 + 0.7 * np.eye(3)[taken]


def split_folder(tmp_path: Path, frame: pd.DataFrame) -> Path:
    folder = tmp_path / "split"
    folder.mkdir()
    lesion = [f"L{i // 6}" for i in range(len(frame))]
    frame.assign(lesion_id=lesion, row=range(len(frame))).to_parquet(folder / "split.parquet", index=False)
    return folder


def images_folder(tmp_path: Path) -> Path:
    """The images stage's table: women below 40 by turns with men above, no skin type."""
    folder = tmp_path / "images"
    if not folder.exists():
        folder.mkdir()
        count = 60
        blank = strings([""] * count)
        table = LesionTable(
            image_id=strings([f"I{i:03d}" for i in range(count)]),
            lesion_id=blank,
            patient_id=blank,
            dx=blank,
            split=blank,
            origin=strings(["real"] * count),
            age=np.where(np.arange(count) % 2 == 0, 35.0, 62.0),
            sex=strings(["female", "male"] * (count // 2)),
            localization=strings(["back", ""] * (count // 2)),
            skin_type=blank,
            path=blank,
            mask_path=blank,
        )
        lesions.write(table, folder)
    return folder


def run(tmp_path: Path, inputs: dict[str, Path], seed: int = 0) -> dict:
    inputs = {"images": images_folder(tmp_path), **inputs}
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    run_stage(evaluate, out, inputs, PARAMS, seed=seed, map=None, launch=None)
    text = (out / "report.json").read_text()
    assert "NaN" not in text
    return json.loads(text)


def test_report_holds_val_test_and_p_value(tmp_path: Path) -> None:
    frame = table()
    prob = probabilities(frame, 0.7)
    inputs = {
        "predictions": write_predictions(tmp_path / "now", frame, prob),
        "split": split_folder(tmp_path, frame),
        "reference": write_predictions(
            tmp_path / "then", frame.iloc[::-1], probabilities(frame, 0.2, 1)[::-1]
        ),
    }
    report = run(tmp_path, inputs)
    assert set(report) == {"val", "test", "p_value_vs_round0"}
    test = frame["split"] == "test"
    right = prob.argmax(axis=1) == [CLASSES.index(dx) for dx in frame["dx"]]
    assert report["test"]["accuracy"]["value"] == pytest.approx(right[test].mean())
    assert report["val"]["n"] == 20 and report["test"]["malignant"]["threshold"] == 0.5
    assert 0 < report["p_value_vs_round0"] < 0.05
    assert report == run(tmp_path, inputs)
    assert report["test"]["accuracy"] != run(tmp_path, inputs, seed=1)["test"]["accuracy"]


def test_subgroups_are_scored_with_their_counts(tmp_path: Path) -> None:
    frame = table()
    prob = probabilities(frame, 0.7)
    inputs = {
        "predictions": write_predictions(tmp_path / "now", frame, prob),
        "split": split_folder(tmp_path, frame),
    }
    groups = run(tmp_path, inputs)["test"]["subgroups"]
    assert list(groups) == ["sex", "age", "site", "skin_type"] and groups["skin_type"] is None
    female, male = groups["sex"]["groups"]
    assert (female["name"], male["name"], female["n"] + male["n"]) == ("female", "male", 20)
    rows = (frame["split"] == "test") & (np.arange(60) % 2 == 0)
    truth = frame["dx"][rows].isin(["mel", "bcc"]).to_numpy()
    called = prob[rows][:, :2].sum(axis=1) >= 0.5
    assert female["sensitivity"]["value"] == pytest.approx((truth & called).sum() / truth.sum())
    assert female["too_few"] == ["sensitivity", "specificity"]
    assert [g["name"] for g in groups["age"]["groups"]] == ["30–44", "60–74"]
    assert groups["site"]["unknown"] == 10 and [g["name"] for g in groups["site"]["groups"]] == ["back"]


def test_melanoma_has_its_own_operating_point(tmp_path: Path) -> None:
    frame = table()
    prob = probabilities(frame, 0.7)
    folder = write_predictions(tmp_path / "now", frame, prob)
    calibration = json.loads((folder / "calibration.json").read_text())
    (folder / "calibration.json").write_text(
        json.dumps(calibration | {"melanoma": "mel", "melanoma_threshold": 0.5, "melanoma_sensitivity": 0.95})
    )
    found = run(tmp_path, {"predictions": folder, "split": split_folder(tmp_path, frame)})["test"]["melanoma"]
    test = (frame["split"] == "test").to_numpy()
    truth, called = (frame["dx"] == "mel").to_numpy()[test], prob[test, 1] >= 0.5
    assert found["sensitivity"]["value"] == pytest.approx((truth & called).sum() / truth.sum())
    assert (found["class"], found["threshold"], found["n"]) == ("mel", 0.5, int(truth.sum()))


def test_round_zero_has_no_p_value(tmp_path: Path) -> None:
    frame = table()
    inputs = {
        "predictions": write_predictions(tmp_path / "now", frame, probabilities(frame, 0.7)),
        "split": split_folder(tmp_path, frame),
    }
    assert run(tmp_path, inputs)["p_value_vs_round0"] is None
    assert run(tmp_path, inputs | {"reference": inputs["predictions"]})["p_value_vs_round0"] is None


def test_external_data_with_test_alone_has_a_null_val(tmp_path: Path) -> None:
    frame = table(splits=("test",))
    inputs = {
        "predictions": write_predictions(tmp_path / "now", frame, probabilities(frame, 0.7)),
        "split": split_folder(tmp_path, frame),
    }
    report = run(tmp_path, inputs)
    assert report["val"]["accuracy"] == {"value": None, "low": None, "high": None}
    assert set(report["val"]["per_class"]) == set(CLASSES)
    assert report["test"]["accuracy"]["value"] is not None


def test_no_threshold_leaves_the_operating_point_null(tmp_path: Path) -> None:
    frame = table()
    inputs = {
        "predictions": write_predictions(tmp_path / "now", frame, probabilities(frame, 0.7), threshold=None),
        "split": split_folder(tmp_path, frame),
    }
    report = run(tmp_path, inputs)
    assert report["test"]["malignant"]["sensitivity"]["value"] is None
    assert report["test"]["malignant"]["auc"]["value"] is not None


def test_unknown_diagnosis_is_named(tmp_path: Path) -> None:
    frame = table()
    frame.loc[3, "dx"] = "scc"
    inputs = {
        "predictions": write_predictions(tmp_path / "now", frame, np.full((60, 3), 1 / 3)),
        "split": split_folder(tmp_path, frame),
    }
    with pytest.raises(DataError, match=r"knows bcc, mel, nv, not scc; .*data\.map_labels"):
        run(tmp_path, inputs)


def test_missing_probability_is_named(tmp_path: Path) -> None:
    frame = table()
    prob = probabilities(frame, 0.7)
    prob[5, 1] = np.nan
    inputs = {
        "predictions": write_predictions(tmp_path / "now", frame, prob),
        "split": split_folder(tmp_path, frame),
    }
    with pytest.raises(DataError, match="image_id I005"):
        run(tmp_path, inputs)


def test_predicted_image_without_a_split_is_named(tmp_path: Path) -> None:
    frame = table()
    inputs = {
        "predictions": write_predictions(tmp_path / "now", frame, probabilities(frame, 0.7)),
        "split": split_folder(tmp_path, frame.iloc[:58]),
    }
    with pytest.raises(DataError, match="lacks image_id I058"):
        run(tmp_path, inputs)


def test_other_test_images_in_the_reference_are_refused(tmp_path: Path) -> None:
    frame = table()
    prob = probabilities(frame, 0.7)
    inputs = {
        "predictions": write_predictions(tmp_path / "now", frame, prob),
        "split": split_folder(tmp_path, frame),
        "reference": write_predictions(tmp_path / "then", frame.iloc[:50], prob[:50]),
    }
    with pytest.raises(DataError, match="different test images"):
        run(tmp_path, inputs)


def test_intervals_and_p_draw_groups_where_the_split_has_them(tmp_path: Path) -> None:
    frame = table()
    now, then = probabilities(frame, 0.7), probabilities(frame, 0.2, 1)
    inputs = {
        "predictions": write_predictions(tmp_path / "now", frame, now),
        "reference": write_predictions(tmp_path / "then", frame, then),
        "split": split_folder(tmp_path, frame),
    }
    lesions = run(tmp_path, inputs)
    file = inputs["split"] / "split.parquet"
    parts = pd.read_parquet(file)
    parts.assign(group=parts["lesion_id"].map(lambda name: f"P{int(name[1:]) // 5}")).to_parquet(file)
    patients = run(tmp_path, inputs)
    assert patients["p_value_vs_round0"] == pytest.approx(0.5, abs=0.02), "two patients: two signs"
    assert lesions["p_value_vs_round0"] < 0.05
    assert patients["test"]["accuracy"]["value"] == lesions["test"]["accuracy"]["value"]
    assert patients["test"]["accuracy"] != lesions["test"]["accuracy"]
    assert patients["test"]["n_lesions"] == lesions["test"]["n_lesions"] == 10


def test_figures_of_several_seeds_are_their_means(tmp_path: Path) -> None:
    frame = table()
    inputs = {"split": split_folder(tmp_path, frame), "images": images_folder(tmp_path)}
    folders = [
        write_predictions(tmp_path / f"p{seed}", frame, probabilities(frame, right, seed), threshold)
        for seed, (right, threshold) in enumerate(((0.9, 0.5), (0.5, 0.4)))
    ]
    alone = [run(tmp_path, {**inputs, "predictions": f}) for f in folders]
    both = run(tmp_path, {**inputs, "predictions": folders[0], "seed_1": folders[1]})
    for part in ("val", "test"):
        for name in ("accuracy", "auc", "nll"):
            values = [report[part][name]["value"] for report in alone]
            assert both[part][name]["value"] == pytest.approx(np.mean(values))
            spread = both["seeds"][part][name]
            assert spread["values"] == pytest.approx(values)
            assert spread["sd"] == pytest.approx(np.std(values, ddof=1))
            assert both[part][name]["low"] <= both[part][name]["value"] <= both[part][name]["high"]
    sensitivity = [report["test"]["malignant"]["sensitivity"]["value"] for report in alone]
    assert both["test"]["malignant"]["sensitivity"]["value"] == pytest.approx(np.mean(sensitivity))
    women = [
        report["test"]["subgroups"]["sex"]["groups"][0]["specificity"]["value"] for report in (*alone, both)
    ]
    assert women[2] == pytest.approx(np.mean(women[:2]))
    assert both["test"]["confusion"] == alone[0]["test"]["confusion"]
    assert "seeds" not in alone[0]
