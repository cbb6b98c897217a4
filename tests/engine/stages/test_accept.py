"""The accept stage on a judge whose probabilities are set by hand and on images of known distance."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from engine.artifacts import conditioning as conditioning_file
from engine.artifacts import predictions as predictions_file
from engine.classifier.model import build_model
from engine.classifier.weights import describe, save_classifier
from engine.config import Config, parse_config
from engine.errors import DataError
from engine.parts.candidates import Selecting
from engine.parts.dataset import open_dataset
from engine.parts.embed import found_masks
from engine.stages import accept, embedder, index
from engine.types import Conditioning, Predictions, Verdicts, strings
from policies import registry
from tests.fakes import make_dataset_folders, run_stage

CLASSES = ("bkl", "mel", "nv")
MODEL = "mobilenetv3_small_050"
FOLDS = ([0.8, 0.1, 0.1], [0.2, 0.7, 0.1])
"""What the two folds say of every image; their mean is (0.5, 0.4, 0.1)."""
HELD_OUT = {"t0": 0, "t1": 1}
"""Train images and the fold that did not learn from them."""
DX = ["bkl", "bkl", "mel", "nv", "mel"]
PARENTS = ["p0", "p0", "p1", "p2", "p1"]
TREE: dict[str, Any] = {
    "embedder": {
        "levels": 2,
        "layers": 2,
        "width": 16,
        "patch": 4,
        "text_layers": 1,
        "steps": 2,
        "batch_size": 8,
    },
    "data": {"mask": "otsu", "crop": "none"},
}
CONFIG = parse_config(TREE)
ROOM = {"bkl": 9, "mel": 9, "nv": 9}


@pytest.fixture(scope="module")
def foundation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Images with Otsu masks, split, a CLIP of two steps, its index, a judge of two constant folds."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("foundation")
    images, split = make_dataset_folders(root)
    np.save(images / "masks.npy", found_masks(np.load(images / "images.npy"), "otsu"))
    inputs = {"images": images, "split": split}
    for name, stage in (("embedder", embedder), ("index", index)):
        inputs[name] = run_stage(stage, root / name, inputs, stage.Params.of(CONFIG))
    facts = json.loads((root / "index" / "index.json").read_text())
    facts["quantiles"] = {"1": 1e-6, "5": 0.5}
    (root / "index" / "index.json").write_text(json.dumps(facts))
    return {**inputs, "judge": write_judge(root / "judge")}


def write_judge(folder: Path) -> Path:
    folder.mkdir()
    for fold, probabilities in enumerate(FOLDS):
        model = build_model(MODEL, 3, 16)
        head = model.get_classifier()  # type: ignore[operator]
        with torch.no_grad():
            head.weight.zero_()
            head.bias.copy_(torch.tensor(probabilities).log())
        save_classifier(model, describe(MODEL, CLASSES, 16, False, None), folder / f"fold_{fold}.safetensors")
    facts = {
        "model": MODEL,
        "folds": 2,
        "classes": list(CLASSES),
        "oof_accuracy": 0.5,
        "val_accuracy": 0.5,
        "thresholds": {"bkl": 0.48, "mel": 0.45, "nv": None},
        "val_recall": {"bkl": 0.8, "mel": 0.6, "nv": None},
        "oof_recall": {"bkl": 0.5, "mel": 0.4, "nv": 0.9},
    }
    oof = pd.DataFrame({"image_id": list(HELD_OUT), "fold": list(HELD_OUT.values())})
    oof.to_parquet(folder / "oof.parquet")
    (folder / "judge.json").write_text(json.dumps(facts))
    return folder


def write_samples(
    root: Path, images: np.ndarray, dx: list[str] = DX, parents: list[str] = PARENTS
) -> dict[str, Path]:
    count = len(dx)
    conditioning = Conditioning(
        sample_id=strings([f"r01_hard_{s:05d}" for s in range(count)]),
        levels_SLD=np.zeros((count, 2, 16), dtype=np.float32),
        label_S=strings(dx),
        parent_image_id=strings(parents),
        neighbour_ids_SK=strings([f"n{s}" for s in range(count)])[:, None],
        weights_SK=np.ones((count, 1)),
        seed_S=np.arange(count, dtype=np.int64),
        difficulty_S=np.linspace(1.0, 0.0, count),
    )
    folders = {name: root / name for name in ("condition", "synthesize")}
    for folder in folders.values():
        folder.mkdir()
    conditioning_file.write(conditioning, folders["condition"])
    np.save(folders["synthesize"] / "images.npy", images)
    (folders["synthesize"] / "synthesis.json").write_text(
        json.dumps({"nfe": 8, "sampler": "ddim", "steps": 4, "checkpoint": "abc"})
    )
    return folders


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (count, 16, 16, 3)).astype(np.uint8)


def run(
    tmp_path: Path,
    inputs: dict[str, Path],
    out: str = "out",
    *,
    policy: str = "default",
    room: dict[str, int] = ROOM,
    config: Config = CONFIG,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    params = accept.Params.of(config, room, policy={"name": policy})
    folder = run_stage(accept, tmp_path / out, inputs, params)
    return pd.read_parquet(folder / "synthetic.parquet"), json.loads((folder / "accept.json").read_text())


def test_the_judges_mean_and_the_nearest_train_image_decide(
    tmp_path: Path, foundation: dict[str, Path]
) -> None:
    dataset = open_dataset(foundation["images"], foundation["split"])
    train = int(dataset.where("train")[4])
    images = noise(5)
    images[1] = dataset.images_NHWC[dataset.rows[train]]
    table, _ = run(tmp_path, {**foundation, **write_samples(tmp_path, images)})
    assert table["judge_p"].tolist() == pytest.approx([0.5, 0.5, 0.4, 0.1, 0.4], abs=1e-6)
    assert table["judge_predicted"].tolist() == ["bkl"] * 5
    assert table["nearest_train_id"].iloc[1] == str(dataset.table.image_id[train])
    assert table["nearest_train_distance"].iloc[1] == pytest.approx(0.0, abs=1e-6)
    reasons = table["reasons"].tolist()
    assert reasons[0] == ""
    assert reasons[2] == reasons[4] == "judge: mel 0.40 < 0.45"
    assert reasons[3] == "judge: bkl, not nv"
    assert reasons[1].endswith("< 0.000001") and "memorized: " in reasons[1]
    assert table["nearest_train_distance"].drop(1).min() > 1e-6
    assert table["accepted"].tolist() == [reason == "" for reason in reasons]


def test_the_table_keeps_the_conditioning_and_adds_provenance(
    tmp_path: Path, foundation: dict[str, Path]
) -> None:
    table, _ = run(tmp_path, {**foundation, **write_samples(tmp_path, noise(5))}, policy="all")
    assert table.columns.tolist() == [
        "sample_id", "parent_image_id", "dx", "neighbour_ids", "weights", "seed", "difficulty", "file", "accepted",
        "reasons", "judge_p", "judge_predicted", "nearest_train_id", "nearest_train_distance", "policy", "checkpoint",
        "value", "judge_prob",
    ]  # fmt: skip
    first = table.iloc[0]
    assert first["file"] == "synthetic/r01_hard_00000.png"
    assert (first["policy"], first["checkpoint"], first["seed"]) == ("all", "abc", 0)
    assert list(first["neighbour_ids"]) == ["n0"]
    assert table["accepted"].all()
    assert set(table["reasons"]) == {""}


def test_agreement_is_set_against_the_judges_recall_on_val(
    tmp_path: Path, foundation: dict[str, Path]
) -> None:
    _, summary = run(tmp_path, {**foundation, **write_samples(tmp_path, noise(5))}, policy="label_consistent")
    assert summary["agreement"] == pytest.approx(2 / 5)
    assert summary["expected_agreement"] == pytest.approx((2 * 0.8 + 2 * 0.6) / 4)
    assert summary["agreement_ratio"] == pytest.approx((2 / 4) / 0.7)
    parents = {dx: figures.pop("per_parent") for dx, figures in summary["per_class"].items()}
    assert parents == {
        dx: sorted(Counter(PARENTS[s] for s in range(5) if DX[s] == dx).values())[::-1] for dx in parents
    }
    assert summary["per_class"] == {
        "bkl": {"generated": 2, "accepted": 2, "agreement": 1.0, "val_recall": 0.8},
        "mel": {"generated": 2, "accepted": 0, "agreement": 0.0, "val_recall": 0.6},
        "nv": {"generated": 1, "accepted": 0, "agreement": 0.0, "val_recall": None},
    }
    assert summary["rejected"] == {"judge": 3}


def test_a_fold_that_learned_from_the_parent_has_no_say(tmp_path: Path, foundation: dict[str, Path]) -> None:
    samples = write_samples(tmp_path, noise(4), dx=["mel"] * 4, parents=["t0", "t1", "p0", "t1"])
    table, summary = run(tmp_path, {**foundation, **samples}, policy="label_consistent")
    assert table["judge_p"].tolist() == pytest.approx([0.1, 0.7, 0.4, 0.7], abs=1e-6)
    assert table["judge_predicted"].tolist() == ["bkl", "mel", "bkl", "mel"]
    assert table["accepted"].tolist() == [False, True, False, True]
    assert summary["expected_agreement"] == pytest.approx((3 * 0.4 + 0.6) / 4), "out of fold, and val for p0"
    assert summary["agreement_ratio"] == pytest.approx(0.5 / 0.45)


def test_a_fold_that_guided_has_no_say_either(tmp_path: Path, foundation: dict[str, Path]) -> None:
    samples = write_samples(tmp_path, noise(3), dx=["mel"] * 3, parents=["t0", "t1", "p0"])
    steered = parse_config({**TREE, "synthesis": {"classifier_scale": 2.0}})
    table, summary = run(tmp_path, {**foundation, **samples}, policy="all", config=steered)
    assert table["judge_p"].tolist() == pytest.approx([0.7] * 3, abs=1e-6), "fold 1 is all that is left"
    assert summary["expected_agreement"] == pytest.approx((0.6 + 0.4 + 0.6) / 3)


def test_calibrated_probabilities_are_written_beside_the_ones_the_gates_see(
    tmp_path: Path, foundation: dict[str, Path]
) -> None:
    """At temperature 2 a fold's (0.8, 0.1, 0.1) become their square roots over the sum; gates stay at temperature 1."""
    samples = write_samples(tmp_path, noise(4), dx=["mel"] * 4, parents=["t0", "t1", "p0", "t1"])
    judges = {"plain": foundation["judge"], "calibrated": tmp_path / "judge"}
    shutil.copytree(foundation["judge"], judges["calibrated"])
    facts = json.loads((judges["calibrated"] / "judge.json").read_text())
    (judges["calibrated"] / "judge.json").write_text(json.dumps({**facts, "temperature": 2.0}))
    tables, summaries = {}, {}
    for name, judge in judges.items():
        given = {**foundation, **samples, "judge": judge}
        tables[name], summaries[name] = run(tmp_path, given, name, policy="label_consistent")
    assert [facts.pop("judge_temperature") for facts in summaries.values()] == [1.0, 2.0]
    assert summaries["plain"] == summaries["calibrated"]
    assert summaries["plain"]["classes"] == list(CLASSES)
    pd.testing.assert_frame_equal(*(table.drop(columns="judge_prob") for table in tables.values()))
    folds = {"plain": np.array(FOLDS), "calibrated": np.sqrt(FOLDS) / np.sqrt(FOLDS).sum(1, keepdims=True)}
    for name, fold in folds.items():
        expected = [fold[0], fold[1], fold.mean(0), fold[1]]
        assert np.stack(tables[name]["judge_prob"]) == pytest.approx(np.stack(expected), abs=1e-6)


def test_a_class_never_gets_more_than_its_room(tmp_path: Path, foundation: dict[str, Path]) -> None:
    inputs = {**foundation, **write_samples(tmp_path, noise(5))}
    table, summary = run(tmp_path, inputs, policy="all", room={"bkl": 1, "mel": 2})
    assert table["reasons"].tolist() == ["", accept.NO_ROOM, "", accept.NO_ROOM, ""]
    assert table["accepted"].tolist() == [True, False, True, False, True]
    assert summary["rejected"] == {accept.NO_ROOM: 2}
    assert summary["per_class"]["bkl"]["accepted"] == 1


def test_every_parent_keeps_one_image_before_any_keeps_two() -> None:
    parents = strings(["a", "a", "a", "b", "c", "c"])
    accepted = np.array([True, True, True, True, False, True])
    verdicts = Verdicts(accepted_S=accepted, reason_S=strings(["", "", "", "", "judge: x", ""]))
    for room, kept in ((2, [0, 3]), (3, [0, 3, 5]), (4, [0, 1, 3, 5]), (0, []), (9, [0, 1, 2, 3, 5])):
        limited = accept.limit(verdicts, strings(["nv"] * 6), parents, {"nv": room})
        assert np.flatnonzero(limited.accepted_S).tolist() == kept
        assert limited.reason_S[4] == "judge: x"
    assert not accept.limit(verdicts, strings(["nv"] * 6), parents, {}).accepted_S.any()
    limited = accept.limit(verdicts, strings(["nv"] * 6), parents, {"nv": 9}, most=3)
    assert np.flatnonzero(limited.accepted_S).tolist() == [0, 3, 5]
    assert limited.reason_S[1] == "over max_synthetic"


def test_no_sample_gives_an_empty_table_and_no_figure(tmp_path: Path, foundation: dict[str, Path]) -> None:
    inputs = {**foundation, **write_samples(tmp_path, noise(0), dx=[], parents=[])}
    table, summary = run(tmp_path, inputs)
    assert len(table) == 0
    assert [summary[key] for key in ("agreement", "expected_agreement", "agreement_ratio")] == [
        None,
        None,
        None,
    ]
    assert summary["per_class"]["nv"] == {
        "generated": 0,
        "accepted": 0,
        "agreement": None,
        "val_recall": None,
        "per_parent": [],
    }
    assert summary["rejected"] == {}


def test_two_runs_write_the_same_bytes(tmp_path: Path, foundation: dict[str, Path]) -> None:
    inputs = {**foundation, **write_samples(tmp_path, noise(5))}
    for out in ("a", "b"):
        run(tmp_path, inputs, out)
    for name in ("synthetic.parquet", "accept.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_bad_input_is_named(tmp_path: Path, foundation: dict[str, Path]) -> None:
    with pytest.raises(DataError, match=r"holds 4 images for 5 rows of conditioning\.parquet"):
        run(tmp_path, {**foundation, **write_samples(tmp_path, noise(4))})
    (tmp_path / "other").mkdir()
    samples = write_samples(tmp_path / "other", noise(1), dx=["df"], parents=["p0"])
    with pytest.raises(DataError, match=r"fold_0.safetensors knows bkl, mel, nv, not df; rerun the judge"):
        run(tmp_path, {**foundation, **samples}, "out2")


def test_a_dcgan_is_steered_by_no_judge_so_every_fold_may_judge_it() -> None:
    """What the run and the command ``synthesize`` judge by: scales of steering mean nothing to a GAN."""
    for scales in ({"classifier_scale": 2.0}, {"adversarial_scale": 2.0}, {}):
        section = {"generator": "dcgan", **scales}
        assert accept.Params.of(parse_config({**TREE, "synthesis": section}), ROOM).guided is False
    for scales, guided in (
        ({"classifier_scale": 2.0}, True),
        ({"adversarial_scale": 2.0}, True),
        ({}, False),
    ):
        assert accept.Params.of(parse_config({**TREE, "synthesis": scales}), ROOM).guided is guided


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory, foundation: dict[str, Path]) -> dict[str, Path]:
    """A classifier that has learned nothing, and what it says of every image of the data set."""
    folder = tmp_path_factory.mktemp("learner")
    model = build_model(MODEL, 3, 16)
    save_classifier(model, describe(MODEL, CLASSES, 16, False, None), folder / "classifier.safetensors")
    dataset = open_dataset(foundation["images"], foundation["split"])
    prob_NC = np.random.default_rng(3).dirichlet(np.ones(3), len(dataset.table))
    known = Predictions(
        image_id=dataset.table.image_id,
        classes=CLASSES,
        prob_NC=prob_NC,
        label_N=dataset.labels,
        split=dataset.table.split,
    )
    predictions_file.write(known, folder)
    return {"classifier": folder, "predictions": folder}


def choose(policy: str, source: str = "hard", **tree: Any) -> accept.Params:
    loop = {"candidates": 2.5, "budget": 2, **tree.pop("loop", {})}
    config = parse_config({**TREE, "loop": loop, "policy": {"selection": {"name": policy}}, **tree})
    selecting = Selecting.of(config, 1, source)
    return accept.Params.of(config, ROOM, policy={"name": "all"}, selecting=selecting)


@pytest.mark.slow
@pytest.mark.parametrize("policy", registry.names("selection"))
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_of_the_candidates_that_passed_as_many_as_the_budget_are_kept(
    tmp_path: Path, foundation: dict[str, Path], learner: dict[str, Path], policy: str, labels: str
) -> None:
    inputs = {**foundation, **learner, **write_samples(tmp_path, noise(5))}
    params = choose(policy, synthesis={"labels": labels})
    table = pd.read_parquet(run_stage(accept, tmp_path / "out", inputs, params) / "synthetic.parquet")
    assert table["accepted"].sum() == 2
    assert set(table.loc[~table["accepted"], "reasons"]) == {accept.NOT_SELECTED}
    assert table["value"].notna().all()
    assert table.loc[table["accepted"], "dx"].tolist() == ["bkl", "mel"], (
        "each class keeps its share: 0.8, 0.8, 0.4"
    )


@pytest.mark.slow
def test_gates_come_before_the_choice_and_room_after_it(
    tmp_path: Path, foundation: dict[str, Path], learner: dict[str, Path]
) -> None:
    inputs = {**foundation, **learner, **write_samples(tmp_path, noise(5))}
    params = choose("entropy", loop={"budget": 4})
    gated = params.model_copy(update={"policy": {"name": "label_consistent"}})
    table = pd.read_parquet(run_stage(accept, tmp_path / "gated", inputs, gated) / "synthetic.parquet")
    passed = ~table["reasons"].str.startswith("judge")
    assert 0 < passed.sum() < 4 and table["accepted"].tolist() == passed.tolist()
    full = params.model_copy(update={"room": {"bkl": 1, "mel": 0, "nv": 9}})
    table = pd.read_parquet(run_stage(accept, tmp_path / "full", inputs, full) / "synthetic.parquet")
    assert set(table["reasons"]) == {"", accept.NOT_SELECTED, accept.NO_ROOM}
    assert table.loc[table["accepted"], "dx"].tolist() == ["bkl", "nv"]


def test_who_does_without_the_engine_chooses_at_random() -> None:
    assert choose("entropy", "unguided").selecting == choose("random").selecting
    assert choose("entropy", "random").selecting == choose("entropy", "hard").selecting
    assert choose("entropy", loop={"candidates": 1}).selecting is None


def test_a_classifier_of_other_classes_is_named(
    tmp_path: Path, foundation: dict[str, Path], learner: dict[str, Path]
) -> None:
    model = build_model(MODEL, 2, 16)
    save_classifier(model, describe(MODEL, ("a", "b"), 16, False, None), tmp_path / "classifier.safetensors")
    inputs = {**foundation, **learner, "classifier": tmp_path, **write_samples(tmp_path, noise(5))}
    with pytest.raises(DataError, match="knows a, b, the judge bkl, mel, nv; train both"):
        run_stage(accept, tmp_path / "out", inputs, choose("entropy"))
