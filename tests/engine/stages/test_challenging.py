"""Challenging lesions: wrong for every reference model by the lesion's mean, and arms scored on them and on the rest."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from engine.classifier.model import build_model
from engine.classifier.weights import describe, save_classifier
from engine.config import parse_config
from engine.stages import challenging, evaluate
from engine.stages.challenging import wrong_for_all
from engine.types import strings
from tests.fakes import make_dataset_folders, run_stage


def test_a_lesion_is_challenging_where_every_model_is_wrong_on_its_mean() -> None:
    lesion = strings(["a", "a", "b", "c"])
    label = np.array([0, 0, 1, 1])
    first = [[0.9, 0.1], [0.3, 0.7], [0.8, 0.2], [0.6, 0.4]]  # a by its mean right, b and c wrong
    second = [[0.1, 0.9], [0.2, 0.8], [0.9, 0.1], [0.3, 0.7]]  # a and b wrong, c right
    assert wrong_for_all(np.array([first, second]), label, lesion).tolist() == [False, False, True, False]
    assert wrong_for_all(np.array([second]), label, lesion).tolist() == [True, True, True, False]


def test_the_list_holds_test_lesions_alone_and_splits_the_figures(tmp_path) -> None:
    images, split = make_dataset_folders(tmp_path, n_lesions=60)
    judge = tmp_path / "judge"
    judge.mkdir()
    for fold in range(3):
        meta = describe("test_resnet", ("bkl", "mel", "nv"), 16, False, None)
        save_classifier(
            build_model("test_resnet", 3, 16, seed=fold), meta, judge / f"fold_{fold}.safetensors"
        )
    inputs = {"images": images, "split": split, "judge": judge}
    config = parse_config(
        {"evaluation": {"bootstrap": 100, "specificity": 0.9}, "data": {"malignant": ["mel"]}}
    )
    run_stage(challenging, tmp_path / "challenging", inputs, challenging.Params.of(config))
    frame = pd.read_parquet(tmp_path / "challenging" / "challenging.parquet")
    table = pd.read_parquet(split / "split.parquet")
    assert sorted(frame["image_id"]) == sorted(table["image_id"][table["split"] == "test"])
    assert (frame.groupby("lesion_id")["challenging"].nunique() == 1).all()
    facts = json.loads((tmp_path / "challenging" / "challenging.json").read_text())
    assert (facts["models"], facts["n_challenging"]) == (
        3,
        frame["lesion_id"][frame["challenging"]].nunique(),
    )

    predictions = tmp_path / "predictions"
    predictions.mkdir()
    right = table.merge(frame, on="image_id", how="left")["challenging"].fillna(False).to_numpy()
    label = table["dx"].map({"bkl": 0, "mel": 1, "nv": 2}).to_numpy()
    prob = np.eye(3)[
        np.where(right, label, (label + 1) % 3)
    ]  # an arm that is right exactly where the others are not
    columns = {f"p_{name}": prob[:, c] for c, name in enumerate(("bkl", "mel", "nv"))}
    table[["image_id", "split", "dx"]].assign(**columns).to_parquet(predictions / "predictions.parquet")
    (predictions / "calibration.json").write_text(
        json.dumps(
            {
                "temperature": 1.0,
                "threshold": 0.5,
                "specificity": 0.9,
                "malignant": ["mel"],
                "classes": ["bkl", "mel", "nv"],
            }
        )
    )
    whole = {**inputs, "predictions": predictions, "challenging": tmp_path / "challenging"}
    run_stage(evaluate, tmp_path / "evaluate", whole, evaluate.Params.of(config))
    test = json.loads((tmp_path / "evaluate" / "report.json").read_text())["test"]
    assert test["challenging"]["n"] + test["rest"]["n"] == test["n"] == len(frame)
    assert test["rest"]["accuracy"]["value"] == 0.0
    if frame["challenging"].any():
        assert test["challenging"]["accuracy"]["value"] == 1.0
