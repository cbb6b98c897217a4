"""The mine stage looks at the mined part alone and writes the policy's hard cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.classifier.model import build_model
from engine.classifier.predict import LogitWorker, predict_logits, softmax
from engine.classifier.weights import describe, save_classifier
from engine.config import parse_config
from engine.errors import ConfigError, DataError, StageError
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.draws import make_draws
from engine.stages import mine
from engine.types import DrawRequest, HardCases, strings
from tests.fakes import make_context, make_dataset_folders, map_in_process, run_stage


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return open_dataset(*make_dataset_folders(tmp_path, n_lesions=30))


def write_predictions(
    folder: Path, dataset: Dataset, wrong: dict[str, float], order: Any = slice(None)
) -> Path:
    """Everything right with 0.8, but the images in ``wrong``: the class after the true one, p_true as given."""
    count, classes = len(dataset.table), len(dataset.classes)
    prob = np.full((count, classes), 0.1)
    prob[np.arange(count), dataset.labels] = 0.8
    for image_id, p_true in wrong.items():
        row = int(dataset.positions(strings([image_id]))[0])
        label = int(dataset.labels[row])
        prob[row] = 0.0
        prob[row, label], prob[row, (label + 1) % classes] = p_true, 1 - p_true
    frame = pd.DataFrame(
        {"image_id": dataset.table.image_id, "split": dataset.table.split, "dx": dataset.table.dx}
    )
    for column, name in enumerate(dataset.classes):
        frame[f"p_{name}"] = prob[:, column]
    folder.mkdir()
    frame.iloc[order].to_parquet(folder / "predictions.parquet", index=False)
    return folder


def run(
    tmp_path: Path,
    predictions: Path,
    out: str = "out",
    *,
    policy: dict[str, Any] | None = None,
    mine_from: str = "mine",
    number: int = 1,
    others: dict[str, Path] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    inputs = {"images": tmp_path / "images", "split": tmp_path / "split", "predictions": predictions}
    tree = {
        "policy": {"mining": policy or {"name": "misclassified"}},
        "loop": {"mine_from": mine_from},
        "data": {"malignant": ["mel"]},
    }
    params = mine.Params.of(parse_config(tree), number)
    folder = run_stage(mine, tmp_path / out, {**inputs, **(others or {})}, params, seed=seed)
    return pd.read_parquet(folder / "hard_cases.parquet")


def part(dataset: Dataset, name: str, dx: str) -> list[str]:
    return [str(i) for i in dataset.table.image_id[(dataset.table.split == name) & (dataset.table.dx == dx)]]


def test_only_the_mined_part_is_mined(tmp_path: Path, dataset: Dataset) -> None:
    everywhere = {str(image_id): 0.3 for image_id in dataset.table.image_id}
    hard = part(dataset, "mine", "mel")[0]
    predictions = write_predictions(tmp_path / "predictions", dataset, {**everywhere, hard: 0.05})
    for source, split in (("mine", "mine"), ("crossfit", "train"), ("test", "test")):
        cases = run(
            tmp_path,
            predictions,
            source,
            mine_from=source,
            policy={"name": "misclassified", "per_lesion": False},
        )
        expected = dataset.table.image_id[dataset.table.split == split]
        assert sorted(cases["image_id"]) == sorted(expected.tolist())
        assert all(np.diff(cases["score"]) <= 0)


def test_rows_hold_class_mistake_and_score(tmp_path: Path, dataset: Dataset) -> None:
    first, second = part(dataset, "mine", "mel")[0], part(dataset, "mine", "nv")[0]
    predictions = write_predictions(tmp_path / "predictions", dataset, {first: 0.05, second: 0.2})
    cases = run(tmp_path, predictions)
    assert cases.columns.tolist() == ["image_id", "dx", "predicted", "score"]
    assert cases["image_id"].tolist() == [first, second]
    assert cases["dx"].tolist() == ["mel", "nv"]
    assert cases["predicted"].tolist() == ["nv", "bkl"]
    assert cases["score"].tolist() == pytest.approx([0.95, 0.8])


def test_no_mistake_gives_an_empty_table(tmp_path: Path, dataset: Dataset) -> None:
    cases = run(tmp_path, write_predictions(tmp_path / "predictions", dataset, {}))
    assert len(cases) == 0
    assert cases.columns.tolist() == ["image_id", "dx", "predicted", "score"]
    assert cases["score"].dtype == np.float64


def test_same_seed_same_bytes_whatever_the_order_of_the_predictions(tmp_path: Path, dataset: Dataset) -> None:
    forward = write_predictions(tmp_path / "forward", dataset, {})
    backward = write_predictions(tmp_path / "backward", dataset, {}, slice(None, None, -1))
    spec = {"name": "random", "top_k": 4}
    cases = run(tmp_path, forward, "a", policy=spec)
    run(tmp_path, backward, "b", policy=spec)
    files = [(tmp_path / out / "hard_cases.parquet").read_bytes() for out in ("a", "b")]
    assert files[0] == files[1]
    assert len(cases) == 4
    assert run(tmp_path, forward, "c", policy=spec, seed=1)["image_id"].tolist() != cases["image_id"].tolist()


def test_history_is_given_oldest_first_on_the_mined_images(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    class Spy:
        wanted = None
        wants_early = False

        def mine(self, state: Any, rng: np.random.Generator) -> Any:
            seen.append(state)
            return HardCases(image_id=strings([]), true=strings([]), predicted=strings([]), score=np.zeros(0))

    monkeypatch.setattr(mine.registry, "make", lambda kind, spec: Spy())
    hard = part(dataset, "mine", "mel")[0]
    folders = {n: write_predictions(tmp_path / f"h{n}", dataset, {hard: p}) for n, p in ((2, 0.2), (10, 0.4))}
    history = {f"history_{n}": folder for n, folder in folders.items()}
    run(tmp_path, write_predictions(tmp_path / "predictions", dataset, {}), others=history, number=3)
    (state,) = seen
    assert (state.round, state.malignant) == (3, ("mel",))
    assert [p.image_id.tolist() for p in state.history] == [state.predictions.image_id.tolist()] * 2
    row = state.predictions.image_id.tolist().index(hard)
    assert [float(p.prob_NC[row, p.label_N[row]]) for p in state.history] == pytest.approx([0.2, 0.4])


def test_early_predictions_are_read_where_the_policy_wants_them(tmp_path: Path, dataset: Dataset) -> None:
    """Early, two images of one class are unsure and lie in the slow cluster; at the end all are sure."""
    train = part(dataset, "train", "mel")
    slow = {train[0]: 0.3, train[1]: 0.2}
    early = write_predictions(tmp_path / "early", dataset, slow, slice(None, None, -1))
    predictions = write_predictions(tmp_path / "predictions", dataset, {})
    (early / "predictions.parquet").rename(predictions / "early.parquet")
    spec = {"name": "slow_learner", "per_lesion": False, "top_k": 2}
    cases = run(tmp_path, predictions, policy=spec, mine_from="crossfit")
    assert cases["image_id"].tolist() == [train[1], train[0]]
    assert cases["score"].tolist() == pytest.approx([-np.log(0.2), -np.log(0.3)])
    assert cases["predicted"].tolist() == ["mel", "mel"]
    (predictions / "early.parquet").unlink()
    with pytest.raises(DataError, match=r"early\.parquet: is missing; rerun"):
        run(tmp_path, predictions, "out2", policy=spec, mine_from="crossfit")


def test_bad_input_is_named(tmp_path: Path, dataset: Dataset) -> None:
    predictions = write_predictions(tmp_path / "predictions", dataset, {})
    with pytest.raises(ConfigError, match=r"policy\.mining\.name: unknown mining policy 'hardest'"):
        run(tmp_path, predictions, policy={"name": "hardest"})
    missing = part(dataset, "mine", "bkl")[0]
    short = write_predictions(tmp_path / "short", dataset, {}, dataset.table.image_id != missing)
    with pytest.raises(DataError, match=rf"predictions.parquet lacks image_id {missing} .*rerun"):
        run(tmp_path, short, "out2")
    split = pd.read_parquet(tmp_path / "split" / "split.parquet")
    split[split["split"] != "mine"].to_parquet(tmp_path / "split" / "split.parquet", index=False)
    with pytest.raises(
        StageError, match=r"loop\.mine_from: mine has no image to mine; raise data\.split\.mine"
    ):
        run(tmp_path, predictions, "out3")


@pytest.fixture
def judged(tmp_path: Path) -> dict[str, Path]:
    """A classifier and a judge of two folds, of three architectures' random weights."""
    folders = {}
    for role, names in (("classifier", ["classifier"]), ("judge", ["fold_0", "fold_1"])):
        folders[role] = tmp_path / role
        folders[role].mkdir()
        for seed, name in enumerate(names):
            meta = describe("test_resnet", ("bkl", "mel", "nv"), 16, False, None)
            model = build_model("test_resnet", 3, 16, seed=seed + 10 * len(names))
            save_classifier(model, meta, folders[role] / f"{name}.safetensors")
    return folders


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec", [{"name": "bald", "draws": 8}, {"name": "committee"}, {"name": "committee", "measure": "votes"}]
)
def test_policies_that_ask_for_draws_get_them(
    tmp_path: Path, dataset: Dataset, judged: dict[str, Path], spec: dict[str, Any]
) -> None:
    predictions = write_predictions(tmp_path / "predictions", dataset, {})
    cases = run(tmp_path, predictions, "a", policy=spec, others=judged)
    again = run(tmp_path, predictions, "b", policy=spec, others=judged)
    assert len(cases) == len(np.unique(dataset.table.lesion_id[dataset.table.split == "mine"]))
    assert cases["score"].tolist() == again["score"].tolist()
    assert (cases["score"] >= 0).all()
    if spec != {"name": "committee", "measure": "votes"}:
        assert (cases["score"] > 0).all()


def test_dropout_draws_have_the_mean_of_the_classifier(
    tmp_path: Path, dataset: Dataset, judged: dict[str, Path]
) -> None:
    """Without dropout every draw is the classifier's own prediction; with it, draws differ from image to image."""
    inputs = {"images": tmp_path / "images", "split": tmp_path / "split", **judged}
    context = make_context(tmp_path / "out", inputs)
    rows = dataset.rows[dataset.where("mine")]
    worker = LogitWorker(
        weights=judged["classifier"] / "classifier.safetensors", images=tmp_path / "images" / "images.npy"
    )
    plain = softmax(predict_logits(map_in_process, worker, rows, "x"))
    almost = make_draws(context, DrawRequest(kind="dropout", count=2, rate=1e-9), rows, ("bkl", "mel", "nv"))
    assert np.allclose(almost, plain, atol=1e-4)
    dropped = make_draws(context, DrawRequest(kind="dropout", count=3, rate=0.5), rows, ("bkl", "mel", "nv"))
    assert dropped.shape == (3, len(rows), 3)
    assert np.allclose(dropped.sum(axis=2), 1)
    assert not np.allclose(dropped[0], dropped[1])


def test_a_member_of_other_classes_is_named(
    tmp_path: Path, dataset: Dataset, judged: dict[str, Path]
) -> None:
    context = make_context(tmp_path / "out", {"images": tmp_path / "images", **judged})
    with pytest.raises(StageError, match=r"classifier\.safetensors knows bkl, mel, nv, the predictions a, b"):
        make_draws(context, DrawRequest(kind="committee"), dataset.rows, ("a", "b"))
