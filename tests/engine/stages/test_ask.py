"""The questions of a round: unlabelled images alone, one per lesion, none like what is known, whatever the hidden labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.artifacts import asked
from engine.config import parse_config
from engine.errors import DataError
from engine.parts.dataset import open_dataset
from engine.stages import ask, classifier, pool, predict
from engine.types import UNLABELLED, Query, QueryState
from policies import registry
from tests.fakes import hide, make_dataset_folders, run_stage

CONFIG = parse_config(
    {
        "data": {"image_size": 16, "unlabelled": "keep"},
        "classifier": {"model": "test_resnet", "steps": 12, "batch_size": 16},
        "loop": {"labels_per_round": 6},
        "policy": {"query": {"name": "margin"}},
    },
    check_policy=registry.check,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("ask")
    images, split = make_dataset_folders(root, n_lesions=90)
    made = {"images": images, "split": hide(split, root / "hidden")}
    made["pool"] = run_stage(pool, root / "pool", made, pool.Params.of(CONFIG, "real", []))
    params = classifier.Params.of(CONFIG, "real", steps=12, continues=False)
    made["classifier"] = run_stage(classifier, root / "classifier", made, params)
    made["predictions"] = run_stage(predict, root / "predict", made, predict.Params.of(CONFIG))
    made["judge"] = made["classifier"]
    return made


def question(folders: dict[str, Path], out: Path, **changes: object) -> asked.Asked:
    params = ask.Params.of(CONFIG, 1).model_copy(update=changes)
    return asked.read(run_stage(ask, out, folders, params))


def test_questions_are_of_unlabelled_lesions_each_once(folders: dict[str, Path], tmp_path: Path) -> None:
    found = question(folders, tmp_path / "ask")
    dataset = open_dataset(folders["images"], folders["split"], unlabelled=True)
    rows, own = dataset.positions(found.image_id), dataset.table.image_id[dataset.where("train")]
    assert len(found) == 6 and set(dataset.table.split[rows]) == {UNLABELLED}
    assert len(set(dataset.table.lesion_id[rows])) == 6
    assert np.allclose(found.prob_QC.sum(axis=1), 1.0)
    order = np.sort(found.prob_QC, axis=1)
    assert (np.diff(order[:, -1] - order[:, -2]) > -1e-6).all(), "the smallest margin is asked about first"
    assert found.predicted.tolist() == [dataset.classes[k] for k in found.prob_QC.argmax(axis=1)]
    lesion = dict(zip(dataset.table.image_id.tolist(), dataset.table.lesion_id.tolist(), strict=True))
    for neighbours in found.neighbour_ids_QK.tolist():
        assert set(neighbours) <= set(own.tolist())
        assert len({lesion[name] for name in neighbours}) == len(neighbours) == ask.NEIGHBOURS
    facts = asked.read_facts(tmp_path / "ask")
    pool_size = len(dataset.where(UNLABELLED))
    assert (facts.wanted, facts.unlabelled, facts.open, facts.left_out) == (6, pool_size, pool_size, {})


def test_neither_what_was_asked_nor_what_looks_like_it_is_asked_again(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    dataset = open_dataset(folders["images"], folders["split"], unlabelled=True)
    apart, table = dataset.where(UNLABELLED), dataset.table
    first = question(folders, tmp_path / "first", total=len(apart))
    twins = [str(table.image_id[row]) for row in apart if np.sum(table.lesion_id == table.lesion_id[row]) > 1]
    copy, own = str(first.image_id[0]), str(table.image_id[dataset.where("train")[0]])
    before = next(name for name in twins if name != copy)
    images = tmp_path / "images"
    shutil.copytree(folders["images"], images)
    pd.DataFrame({"image_id_1": [own], "image_id_2": [copy], "distance": [0.1]}).to_parquet(
        images / "duplicates.parquet"
    )
    found = question({**folders, "images": images}, tmp_path / "ask", total=len(apart), besides=[before])
    lesion = dict(zip(table.image_id.tolist(), table.lesion_id.tolist(), strict=True))
    assert {lesion[name] for name in found.image_id} == {lesion[n] for n in first.image_id} - {
        lesion[before],
        lesion[copy],
    }
    facts = asked.read_facts(tmp_path / "ask")
    assert facts.left_out["asked before"] == facts.left_out["their lesion was asked about before"] == 1
    assert facts.left_out["like a labelled image"] == np.sum(table.lesion_id == lesion[copy])
    assert facts.open + sum(facts.left_out.values()) == facts.unlabelled


class Noting:
    """A query policy that keeps the state it was given, and asks about nothing."""

    wanted = None

    def __init__(self) -> None:
        self.states: list[QueryState] = []

    def query(self, state: QueryState, rng: np.random.Generator) -> Query:
        self.states.append(state)
        return Query(chosen=np.zeros(0, dtype=np.int64), value_N=np.zeros(len(state)))


def test_policies_see_the_labels_that_were_bought_and_the_questions_without_one(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(folders["images"], folders["split"], unlabelled=True)
    apart = dataset.table.image_id[dataset.where(UNLABELLED)].tolist()
    own, noting = len(dataset.where("train")), Noting()
    monkeypatch.setattr(ask.registry, "make", lambda kind, spec: noting)
    answers = {apart[0]: "nv", apart[3]: "mel"}
    params = ask.Params.of(CONFIG, 2, besides=[*answers, apart[5]], answers=answers)
    run_stage(ask, tmp_path / "second", folders, params)
    run_stage(ask, tmp_path / "first", folders, ask.Params.of(CONFIG, 1))
    second, first = noting.states
    assert first.unlabelled_asked_AF is None and len(first.labelled_label_M) == own
    by_image = dict(zip(first.image_id.tolist(), first.feature_NF, strict=True))
    given = [dataset.classes[k] for k in second.labelled_label_M[own:]]
    assert given == ["nv", "mel"] and (second.labelled_label_M[:own] == first.labelled_label_M).all()
    assert (second.labelled_feature_MF[own:] == [by_image[name] for name in answers]).all()
    assert second.unlabelled_asked_AF is not None
    assert (second.unlabelled_asked_AF == by_image[apart[5]]).all() and len(second.covered_KF) == own + 3
    assert not set(second.image_id.tolist()) & {*answers, apart[5]}


def test_neighbours_of_a_question_are_own_images_though_labels_were_bought(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    dataset = open_dataset(folders["images"], folders["split"], unlabelled=True)
    names = dataset.table.image_id
    bought = dict.fromkeys(names[dataset.where(UNLABELLED)][:10].tolist(), "nv")
    found = question(folders, tmp_path / "ask", besides=sorted(bought), answers=bought)
    assert set(found.neighbour_ids_QK.ravel()) <= set(names[dataset.where("train")].tolist())


def test_an_answer_of_no_class_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    dataset = open_dataset(folders["images"], folders["split"], unlabelled=True)
    image = str(dataset.table.image_id[dataset.where(UNLABELLED)[0]])
    with pytest.raises(DataError, match=r"labels\.parquet: wart is no class of the data \(bkl, mel, nv\)"):
        question(folders, tmp_path / "ask", besides=[image], answers={image: "wart"})


def test_params_without_answers_have_no_key_of_them() -> None:
    assert not {"answers", "besides"} & set(ask.Params.of(CONFIG, 1).to_json())
    assert "answers" not in ask.Params.of(CONFIG, 2, besides=["a"], answers={}).to_json()


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("query"))
def test_no_policy_sees_a_hidden_label(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    images = tmp_path / "images"
    shutil.copytree(folders["images"], images)
    frame = pd.read_parquet(images / "table.parquet")
    hidden = frame["image_id"].isin(
        pd.read_parquet(folders["split"] / "split.parquet").query("dx == ''")["image_id"]
    )
    assert hidden.any()
    frame.loc[hidden, "dx"] = "mel"
    frame.to_parquet(images / "table.parquet", index=False)
    policy = {"name": name}
    true = question(folders, tmp_path / "true", policy=policy)
    other = question({**folders, "images": images}, tmp_path / "other", policy=policy)
    assert true.image_id.tolist() == other.image_id.tolist() and len(true) == 6
    assert true.value_Q.tolist() == other.value_Q.tolist()


def test_without_an_unlabelled_image(folders: dict[str, Path], tmp_path: Path) -> None:
    split = tmp_path / "split"
    shutil.copytree(folders["split"], split)
    pd.read_parquet(split / "split.parquet").query("dx != ''").to_parquet(
        split / "split.parquet", index=False
    )
    with pytest.raises(DataError, match=r"no unlabelled image to ask about; give data\.unlabelled=keep"):
        question({**folders, "split": split}, tmp_path / "ask")
