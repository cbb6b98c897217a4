"""Logits in fixed chunks do not depend on what else is predicted."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from engine.classifier.model import build_model
from engine.classifier.predict import LogitWorker, mean_probabilities, predict_logits, softmax
from engine.classifier.weights import describe, save_classifier
from engine.errors import DataError
from tests.fakes import map_in_process


def make_worker(folder, seed=0, size=16):
    images = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)
    np.save(folder / "images.npy", images)
    path = folder / f"{seed}.safetensors"
    meta = describe("test_resnet", ("a", "b", "c"), size, False, None)
    save_classifier(build_model("test_resnet", 3, size, seed=seed), meta, path)
    return LogitWorker(weights=path, images=folder / "images.npy")


def test_rows_come_in_order_and_bit_identical_in_any_company(tmp_path):
    worker = make_worker(tmp_path)
    everything = predict_logits(map_in_process, worker, np.arange(70), "all")
    assert everything.shape == (70, 3)
    some = np.array([69, 3, 3, 40])
    assert np.array_equal(predict_logits(map_in_process, worker, some, "some"), everything[some])
    assert len(np.unique(everything[:, 0])) == 70


def test_chunks_are_of_32(tmp_path):
    worker = make_worker(tmp_path)
    seen = []

    def spy(given, chunks, what):
        seen.extend(len(chunk) for chunk in chunks)
        assert what == "w"
        return map_in_process(given, chunks, what)

    predict_logits(spy, worker, np.arange(70), "w")
    assert seen == [32, 32, 6]


def test_no_rows(tmp_path):
    assert predict_logits(map_in_process, make_worker(tmp_path), np.zeros(0, int), "none").shape == (0, 3)


def test_worker_pickles(tmp_path):
    worker = make_worker(tmp_path)
    assert pickle.loads(pickle.dumps(worker)) == worker


def test_other_image_size_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"16 px images but 0\.safetensors was trained on 32 px; set data\.image_size=32"
    ):
        make_worker(tmp_path, size=32).load()


def test_softmax_by_hand():
    assert softmax(np.array([[np.log(3), 0.0]])) == pytest.approx(np.array([[0.75, 0.25]]))
    assert softmax(np.array([[np.log(9), 0.0]]), 2.0) == pytest.approx(np.array([[0.75, 0.25]]))
    assert softmax(np.array([[1e4, 0.0]])).tolist() == [[1.0, 0.0]]


def test_mean_probabilities_average_the_members(tmp_path):
    workers = [make_worker(tmp_path, seed) for seed in (0, 1)]
    rows = np.arange(5)
    parts = [softmax(predict_logits(map_in_process, w, rows, "x")) for w in workers]
    assert not np.allclose(*parts)
    assert mean_probabilities(map_in_process, workers, rows, "x") == pytest.approx((parts[0] + parts[1]) / 2)
