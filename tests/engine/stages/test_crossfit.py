"""Out-of-fold predictions come from fits that never saw the lesion, and only train is used."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.artifacts import synthetic as synthetic_file
from engine.artifacts.conditioning import Samples
from engine.artifacts.synthetic import SyntheticTable
from engine.config import parse_config
from engine.errors import DataError
from engine.parts.dataset import open_dataset
from engine.stages import crossfit
from engine.training.plan import TrainEnv
from engine.types import Verdicts, strings
from tests.fakes import add_train_sets, make_dataset_folders, run_stage

TREE = {
    "classifier": {"model": "test_resnet", "steps": 2, "batch_size": 8},
    "loop": {"crossfit_folds": 2, "mine_from": "crossfit"},
}
CONFIG = parse_config(TREE)
PARAMS = crossfit.Params.of(CONFIG, adds=False)


@pytest.fixture
def inputs(tmp_path):
    images, split = make_dataset_folders(tmp_path)
    return {"images": images, "split": split}


def test_train_is_predicted_in_its_order(tmp_path, inputs):
    run_stage(crossfit, tmp_path / "out", inputs, PARAMS)
    frame = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    dataset = open_dataset(inputs["images"], inputs["split"])
    assert frame["image_id"].tolist() == dataset.table.image_id[dataset.where("train")].tolist()
    assert set(frame["split"]) == {"train"}
    assert np.allclose(frame[["p_bkl", "p_mel", "p_nv"]].sum(axis=1), 1)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["predictions.parquet"]


def test_with_training_sets_its_own_images_alone_are_seen_and_predicted(tmp_path, inputs):
    split = add_train_sets(inputs["split"], tmp_path / "sets")
    jobs = []

    def launch(fit):
        jobs.append(fit.args[0])
        fit(TrainEnv())

    sets = {"split": {"train_sets": {"count": 2, "images": 1, "use": 1}}}
    params = crossfit.Params.of(parse_config({**TREE, "data": sets}), adds=False)
    run_stage(crossfit, tmp_path / "out", {**inputs, "split": split}, params, launch=launch)
    table = pd.read_parquet(split / "split.parquet")
    own = table[table["train_set"] == 1]
    frame = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert frame["image_id"].tolist() == own["image_id"].tolist()
    assert set(np.concatenate([job.images.row_N for job in jobs])) == set(own["row"])


def test_each_fit_sees_train_lesions_of_the_other_folds_only(tmp_path, inputs):
    jobs = []

    def launch(fit):
        jobs.append(fit.args[0])
        fit(TrainEnv())

    run_stage(crossfit, tmp_path / "out", inputs, PARAMS, launch=launch)
    table = pd.read_parquet(inputs["split"] / "split.parquet").set_index("row")
    seen = [set(table.loc[job.images.row_N, "lesion_id"]) for job in jobs]
    train = set(table.loc[table["split"] == "train", "lesion_id"])
    assert seen[0] | seen[1] == train
    assert not (train - seen[0]) & (train - seen[1]), "a lesion is left out once"
    assert {job.augment for job in jobs} == {"classical"}
    assert jobs[0].checkpoint != jobs[1].checkpoint
    assert jobs[0].labels_N.tolist() == [
        ("bkl", "mel", "nv").index(d) for d in table.loc[jobs[0].images.row_N, "dx"]
    ]


def synthetic(folder, rows, inputs):
    """Folders accept and synthesize of one round; ``rows`` are (dx, parent, neighbours, accepted)."""
    accept, made = folder / "accept", folder / "synthesize"
    accept.mkdir(parents=True)
    made.mkdir()
    count = len(rows)
    samples = Samples(
        sample_id=strings([f"s{row}" for row in range(count)]),
        label_S=strings([row[0] for row in rows]),
        parent_image_id=strings([row[1] for row in rows]),
        neighbour_ids_SK=strings([name for row in rows for name in [*row[2], "", ""][:2]]).reshape(count, 2),
        weights_SK=np.full((count, 2), 0.5),
        seed_S=np.arange(count),
        difficulty_S=np.zeros(count),
    )
    accepted = np.array([row[3] for row in rows])
    none = strings([""] * count)
    table = SyntheticTable(
        samples=samples,
        verdicts=Verdicts(accepted_S=accepted, reason_S=none),
        judge_p_S=np.zeros(count),
        judge_predicted_S=none,
        nearest_train_id_S=none,
        nearest_train_distance_S=np.zeros(count),
        policy="all",
        checkpoint="",
    )
    synthetic_file.write(table, accept)
    shape = np.load(inputs["images"] / "images.npy", mmap_mode="r").shape[1:]
    np.save(made / "images.npy", np.zeros((len(rows), *shape), dtype=np.uint8))
    return {"accept_1": accept, "synthesize_1": made}


def test_later_rounds_train_on_accepted_images_but_none_made_of_a_held_out_lesion(tmp_path, inputs):
    table = pd.read_parquet(inputs["split"] / "split.parquet")
    train = table[table["split"] == "train"].groupby("lesion_id").first().reset_index()
    mined = table[table["split"] == "mine"].iloc[0]["image_id"]
    first, second = train["image_id"].iloc[:2]
    rows = [
        ("mel", mined, [first, ""], True),
        ("nv", mined, [second], True),
        ("bkl", first, [second], True),
        ("nv", mined, [], False),
    ]
    made = synthetic(tmp_path / "round", rows, inputs)
    jobs = []

    def launch(fit):
        jobs.append(fit.args[0])
        fit(TrainEnv())

    params = crossfit.Params.of(CONFIG, adds=True)
    run_stage(crossfit, tmp_path / "out", inputs | made, params, launch=launch)
    lesion = table.set_index("image_id")["lesion_id"]
    by_row = table.set_index("row")["lesion_id"]
    assert {job.augment for job in jobs} == {"classical"}
    for job in jobs:
        assert job.added_N.tolist() == job.synthetic_N.tolist() == (job.images.source_N > 0).tolist()
        own = job.images.source_N == 0
        held_out = set(train["lesion_id"]) - set(by_row.loc[job.images.row_N[own]])
        expected = [
            row for row, (_, parent, near, accepted) in enumerate(rows)
            if accepted and not {lesion[n] for n in [parent, *near] if n} & held_out
        ]  # fmt: skip
        assert job.images.row_N[~own].tolist() == expected
        names = ("bkl", "mel", "nv")
        assert job.labels_N[~own].tolist() == [names.index(rows[row][0]) for row in expected]
    assert sum((job.images.source_N == 1).sum() for job in jobs) < 2 * 3, "some were left out"


def test_finished_folds_are_not_fitted_again(tmp_path, inputs):
    started = []

    def launch(fit):
        started.append(fit.args[0].weights.name)
        if len(started) == 2:
            raise KeyboardInterrupt
        fit(TrainEnv())

    with pytest.raises(KeyboardInterrupt):
        run_stage(crossfit, tmp_path / "out", inputs, PARAMS, launch=launch)
    run_stage(crossfit, tmp_path / "out", inputs, PARAMS, launch=launch)
    assert started == ["fold_0.safetensors", "fold_1.safetensors", "fold_1.safetensors"]
    run_stage(crossfit, tmp_path / "whole", inputs, PARAMS)
    resumed, whole = (pd.read_parquet(tmp_path / n / "predictions.parquet") for n in ("out", "whole"))
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)


def test_more_folds_than_lesions(tmp_path):
    images, split = make_dataset_folders(tmp_path, n_lesions=15)
    many = parse_config({**TREE, "loop": {"crossfit_folds": 20, "mine_from": "crossfit"}})
    params = crossfit.Params.of(many, adds=False)
    with pytest.raises(DataError, match=r"20 folds need at least 20 lesions .* but train has 6"):
        run_stage(crossfit, tmp_path / "out", {"images": images, "split": split}, params)


def test_lesions_of_one_group_are_held_out_together(tmp_path, inputs):
    """Lesions of one patient, or near-duplicates under two lesion ids: no fit sees one of them and predicts another."""
    file = inputs["split"] / "split.parquet"
    table = pd.read_parquet(file)
    lesions = sorted(set(table.loc[table["split"] == "train", "lesion_id"]))
    patient = {lesion: f"P{min(at // 2, 1)}" for at, lesion in enumerate(lesions)}
    table.assign(group=table["lesion_id"].map(lambda lesion: patient.get(lesion, lesion))).to_parquet(file)
    jobs = []

    def launch(fit):
        jobs.append(fit.args[0])
        fit(TrainEnv())

    run_stage(crossfit, tmp_path / "out", inputs, PARAMS, launch=launch)
    by_row = table.set_index("row")["lesion_id"].map(patient)
    assert sorted(sorted(set(by_row.loc[job.images.row_N])) for job in jobs) == [["P0"], ["P1"]]
