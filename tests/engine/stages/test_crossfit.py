"""Out-of-fold predictions come from fits that never saw the lesion, and only train is used."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest

from engine.artifacts import accept as accept_file
from engine.artifacts import predictions as predictions_file
from engine.artifacts import synthetic as synthetic_file
from engine.artifacts.conditioning import Samples
from engine.artifacts.synthetic import SyntheticTable
from engine.classifier.predict import predict_logits, softmax
from engine.classifier.weights import load_classifier, save_classifier
from engine.config import parse_config
from engine.errors import DataError
from engine.parts.dataset import open_dataset
from engine.parts.judge_folds import logit_worker
from engine.stages import crossfit, mine
from engine.training.checkpoints import fill
from engine.training.folds import lesion_folds
from engine.training.plan import TrainEnv
from engine.types import Verdicts, strings
from tests.engine.training.test_checkpoints import DAMAGES
from tests.fakes import add_train_sets, make_context, make_dataset_folders, map_in_process, run_stage

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


def synthetic(folder, rows, inputs, judged=None):
    """Folders accept and synthesize of one round; ``rows`` are (dx, parent, neighbours, accepted).

    ``judged`` are the judge's calibrated probabilities of bkl, mel and nv.
    """
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
        judge_prob_SC=judged,
    )
    synthetic_file.write(table, accept)
    accept_file.AcceptFacts(per_class={}, classes=("bkl", "mel", "nv")).write(accept)
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


def jobs_of(tmp_path, inputs, params):
    """The fits of a stage, which are run."""
    jobs = []

    def launch(fit):
        jobs.append(fit.args[0])
        fit(TrainEnv())

    run_stage(crossfit, tmp_path / "out", inputs, params, launch=launch)
    return jobs


def accepted_round(tmp_path, inputs):
    """Three samples of lesions that no fold holds out, one rejected; how the judge sees them."""
    table = pd.read_parquet(inputs["split"] / "split.parquet")
    mined = table[table["split"] == "mine"].iloc[0]["image_id"]
    judged = np.array([[0.25, 0.25, 0.5], [1.0, 0.0, 0.0], [0.0, 0.36, 0.64]])
    rows = [("mel", mined, [], True), ("nv", mined, [], False), ("mel", mined, [], True)]
    return inputs | synthetic(tmp_path / "round", rows, inputs, judged)


def test_accepted_images_train_with_the_labels_and_weights_that_the_pool_gives_them(tmp_path, inputs):
    given = accepted_round(tmp_path, inputs)
    soft = {"labels": "soft", "label_temperature": 2.0, "label_share": 0.25, "weight": 0.5}
    params = crossfit.Params.of(parse_config({**TREE, "synthesis": soft}), adds=True)
    for job in jobs_of(tmp_path, given, params):
        own = job.images.source_N == 0
        assert job.loss_weight_N.tolist() == np.where(own, 1.0, 0.5).tolist()
        smoothed = 0.95 * np.eye(3)[job.labels_N[own]] + 0.05 / 3
        assert job.targets_NC[own] == pytest.approx(smoothed)
        last = [0.0, 0.75 * 0.6 / 1.4 + 0.25, 0.75 * 0.8 / 1.4]
        assert job.targets_NC[~own][-1] == pytest.approx(last, abs=1e-5)
        assert job.labels_N[~own].tolist() == [1, 1], "balanced by the class that was intended"


def test_weights_alone_leave_labels_hard(tmp_path, inputs):
    given = accepted_round(tmp_path, inputs)
    params = crossfit.Params.of(parse_config({**TREE, "synthesis": {"weight": 0.5}}), adds=True)
    for job in jobs_of(tmp_path, given, params):
        assert job.targets_NC is None
        assert sorted(set(job.loss_weight_N)) == [0.5, 1.0]


def test_hard_labels_without_weights_are_no_part_of_the_params(tmp_path, inputs):
    soft = parse_config({**TREE, "synthesis": {"labels": "soft"}})
    assert crossfit.Params.of(soft, adds=False) == PARAMS, "round 1 has no synthetic image yet"
    plain = crossfit.Params.of(CONFIG, adds=True).to_json()
    assert not {"labels", "early"} & set(plain)
    jobs = jobs_of(tmp_path, accepted_round(tmp_path, inputs), crossfit.Params.of(CONFIG, adds=True))
    assert {(job.targets_NC, job.loss_weight_N, job.snapshot) for job in jobs} == {(None, None, None)}


SLOW = parse_config({**TREE, "policy": {"mining": {"name": "slow_learner"}}})
EARLY = parse_config({**TREE, "classifier": {**TREE["classifier"], "steps": 10, "checkpoint_every": 4}})


def early(share):
    return crossfit.Params.of(EARLY, adds=False).model_copy(update={"early": share})


@pytest.mark.slow
def test_early_predictions_are_out_of_fold_and_of_the_weights_after_a_share_of_the_steps(tmp_path, inputs):
    run_stage(crossfit, tmp_path / "out", inputs, early(0.42))
    run_stage(crossfit, tmp_path / "late", inputs, early(None))
    names = [tmp_path / name / "predictions.parquet" for name in ("out", "late")]
    assert names[0].read_bytes() == names[1].read_bytes(), "looking changes nothing"
    assert not (tmp_path / "late" / "early.parquet").exists()
    found = predictions_file.read(tmp_path / "out", schema=predictions_file.EARLY)
    last = predictions_file.read(tmp_path / "out")
    assert found.image_id.tolist() == last.image_id.tolist()
    assert found.label_N.tolist() == last.label_N.tolist()
    dataset, context = (
        open_dataset(inputs["images"], inputs["split"]),
        make_context(tmp_path / "unused", inputs),
    )
    own = dataset.where("train")
    fold_N = lesion_folds(dataset.group_N[own], dataset.table.dx[own], 2, 0)
    for fold in (0, 1):
        checkpoint = next((tmp_path / f"out.checkpoint/fold_{fold}").glob("checkpoint-00000004-*"))
        model, meta = load_classifier(tmp_path / f"out.checkpoint/fold_{fold}.safetensors")
        fill(model.state_dict(), checkpoint, "ema/")
        save_classifier(model, meta, tmp_path / "step_4.safetensors")
        worker = logit_worker(context, tmp_path / "step_4.safetensors", inputs["images"] / "images.npy")
        outside = fold_N == fold
        prob = softmax(predict_logits(map_in_process, worker, dataset.rows[own[outside]], "by hand"))
        assert found.prob_NC[outside].tolist() == prob.tolist()


@pytest.mark.parametrize(("share", "step"), [(0.01, 1), (0.15, 2), (0.2, 2), (1.0, 10)])
def test_a_share_of_the_steps_is_at_least_one_step(tmp_path, inputs, share, step):
    jobs = []
    with pytest.raises(DataError):  # nothing is fitted
        run_stage(
            crossfit, tmp_path / "out", inputs, early(share), launch=lambda fit: jobs.append(fit.args[0])
        )
    assert [job.snapshot.step for job in jobs] == [step] * PARAMS.folds


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [None, *(pytest.param(d, marks=pytest.mark.heavy) for d in DAMAGES[:-1]), DAMAGES[-1]]
)
def test_a_stage_killed_in_its_second_fold_ends_with_the_same_early_predictions(tmp_path, inputs, damage):
    run_stage(crossfit, tmp_path / "whole", inputs, early(0.5))
    started = []

    def launch(fit):
        started.append(fit)

        def progress(what, done, total):
            if (len(started), done) == (2, 9):
                raise KeyboardInterrupt

        fit(TrainEnv(progress=progress))

    with pytest.raises(KeyboardInterrupt):
        run_stage(crossfit, tmp_path / "out", inputs, early(0.5), launch=launch)
    rng = random.Random(0)
    for path in sorted(p for p in (tmp_path / "out.checkpoint").rglob("*") if p.is_file() and damage):
        damage(path, rng)
    run_stage(crossfit, tmp_path / "out", inputs, early(0.5))
    for name in ("predictions.parquet", "early.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_the_mining_policy_decides_whether_fits_are_looked_at_early(monkeypatch):
    class Slow:
        wants_early = True
        share = 0.2

    assert crossfit.Params.of(CONFIG, adds=False).early is None
    assert crossfit.Params.of(SLOW, adds=False).early == 0.15
    monkeypatch.setattr(crossfit.registry, "make", lambda kind, spec: Slow())
    assert crossfit.Params.of(CONFIG, adds=False).early == 0.2


def test_slow_learners_are_mined_in_what_the_fits_left(tmp_path, inputs):
    run_stage(crossfit, tmp_path / "crossfit", inputs, crossfit.Params.of(SLOW, adds=False))
    given = {**inputs, "predictions": tmp_path / "crossfit"}
    run_stage(mine, tmp_path / "mine", given, mine.Params.of(SLOW, 1))
    early = predictions_file.read(tmp_path / "crossfit", schema=predictions_file.EARLY)
    loss = -np.log(early.prob_NC[np.arange(len(early)), early.label_N])
    cases = pd.read_parquet(tmp_path / "mine" / "hard_cases.parquet")
    assert 0 < len(cases) < len(early)
    by_name = dict(zip(early.image_id.tolist(), loss.tolist(), strict=True))
    assert cases["score"].tolist() == pytest.approx([by_name[name] for name in cases["image_id"]])


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
