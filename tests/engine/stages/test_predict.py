"""The predict stage: val fits the calibration, external data fits nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.classifier.calibration import Calibration
from engine.classifier.model import build_model
from engine.classifier.predict import LogitWorker, predict_logits, softmax
from engine.classifier.weights import describe, save_classifier
from engine.config import parse_config
from engine.errors import DataError
from engine.parts.dataset import open_dataset
from engine.stages import predict
from tests.fakes import make_dataset_folders, map_in_process, run_stage

PARAMS = predict.Params.of(
    parse_config({"evaluation": {"specificity": 0.9}, "data": {"malignant": ["mel", "bcc"]}})
)


def classifier_folder(folder, classes=("bkl", "mel", "nv"), size=16):
    folder.mkdir()
    meta = describe("test_resnet", tuple(classes), size, False, None)
    save_classifier(build_model("test_resnet", len(classes), size), meta, folder / "classifier.safetensors")
    return folder


def inputs_of(tmp_path, **changes):
    images, split = make_dataset_folders(tmp_path, n_lesions=60, **changes)
    return {"images": images, "split": split, "classifier": classifier_folder(tmp_path / "classifier")}


def read(folder):
    return pd.read_parquet(folder / "predictions.parquet"), Calibration.read(folder)


def test_every_image_is_predicted_with_vals_temperature(tmp_path):
    inputs = inputs_of(tmp_path)
    run_stage(predict, tmp_path / "out", inputs, PARAMS)
    frame, calibration = read(tmp_path / "out")
    dataset = open_dataset(inputs["images"], inputs["split"])
    assert list(frame.columns) == ["image_id", "split", "dx", "p_bkl", "p_mel", "p_nv"]
    assert frame["image_id"].tolist() == dataset.table.image_id.tolist()
    assert frame["split"].tolist() == dataset.table.split.tolist()
    worker = LogitWorker(
        weights=inputs["classifier"] / "classifier.safetensors", images=inputs["images"] / "images.npy"
    )
    logits = predict_logits(map_in_process, worker, dataset.rows, "x")
    prob = frame[["p_bkl", "p_mel", "p_nv"]].to_numpy()
    assert np.allclose(prob, softmax(logits, calibration.temperature), atol=1e-12)
    assert np.allclose(prob.sum(1), 1)
    assert (calibration.malignant, calibration.specificity) == (("mel",), 0.9)
    benign = frame[(frame["split"] == "val") & (frame["dx"] != "mel")]["p_mel"]
    assert np.mean(benign < calibration.threshold) >= 0.9


def test_only_val_decides_the_calibration(tmp_path):
    inputs = inputs_of(tmp_path)
    run_stage(predict, tmp_path / "a", inputs, PARAMS)
    table = pd.read_parquet(inputs["split"] / "split.parquet")
    array = np.load(inputs["images"] / "images.npy")
    array[table.loc[table["split"] != "val", "row"]] = 0
    np.save(inputs["images"] / "images.npy", array)
    run_stage(predict, tmp_path / "b", inputs, PARAMS)
    assert read(tmp_path / "a")[1] == read(tmp_path / "b")[1]


def test_given_calibration_is_used_as_it_is(tmp_path):
    inputs = inputs_of(tmp_path)
    fixed = Calibration(
        temperature=3.0, malignant=("mel",), threshold=0.1, specificity=0.8, classes=("bkl", "mel", "nv")
    )
    (tmp_path / "fixed").mkdir()
    fixed.write(tmp_path / "fixed")
    run_stage(predict, tmp_path / "out", {**inputs, "calibration": tmp_path / "fixed"}, PARAMS)
    frame, calibration = read(tmp_path / "out")
    assert calibration == fixed
    run_stage(predict, tmp_path / "own", inputs, PARAMS)
    assert not np.allclose(frame["p_mel"], read(tmp_path / "own")[0]["p_mel"])


def test_calibration_of_other_classes_is_refused(tmp_path):
    inputs = inputs_of(tmp_path)
    (tmp_path / "fixed").mkdir()
    Calibration(temperature=1.0, malignant=(), threshold=None, specificity=0.9, classes=("a", "b")).write(
        tmp_path / "fixed"
    )
    with pytest.raises(DataError, match="for classes a, b, but the classifier's are bkl, mel, nv"):
        run_stage(predict, tmp_path / "out", {**inputs, "calibration": tmp_path / "fixed"}, PARAMS)


def test_external_data_with_fewer_classes_keeps_the_classifiers_columns(tmp_path):
    inputs = inputs_of(tmp_path, classes=("mel", "nv"))
    run_stage(predict, tmp_path / "out", inputs, PARAMS)
    assert list(read(tmp_path / "out")[0].columns[3:]) == ["p_bkl", "p_mel", "p_nv"]


def test_dx_the_classifier_does_not_know_is_named(tmp_path):
    inputs = inputs_of(tmp_path, classes=("mel", "nv", "scc"))
    with pytest.raises(DataError, match=r"dx scc: \d+ images \(first IMG_\d+_0\) .*know \(bkl, mel, nv\)"):
        run_stage(predict, tmp_path / "out", inputs, PARAMS)


def test_without_val_nothing_is_fitted(tmp_path):
    inputs = inputs_of(tmp_path)
    table = pd.read_parquet(inputs["split"] / "split.parquet").assign(split="test")
    table.to_parquet(inputs["split"] / "split.parquet", index=False)
    run_stage(predict, tmp_path / "out", inputs, PARAMS)
    calibration = read(tmp_path / "out")[1]
    assert (calibration.temperature, calibration.threshold) == (1.0, None)
