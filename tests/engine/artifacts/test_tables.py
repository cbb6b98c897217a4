"""Each table's values after writing and reading, the layout of old files, and the narrow readers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from engine.artifacts import (
    asked,
    challenging,
    conditioning,
    duplicates,
    hard_cases,
    index,
    judge,
    lesions,
    neighbours,
    pool,
    predictions,
    schema,
    split,
    synthetic,
)
from engine.artifacts.schema import Column, TableSchema
from engine.errors import DataError
from tests.engine.artifacts import examples
from tests.engine.artifacts.examples import write_everything


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_everything(tmp_path_factory.mktemp("artifacts"))


def test_lesions(written: dict[str, Path], tmp_path: Path) -> None:
    table = lesions.read(written["images"])
    assert table.image_id.tolist() == ["I1", "I2", "I3"]
    assert table.sex.tolist() == ["male", "", "female"]
    assert table.age[[0, 2]].tolist() == [40.0, 61.5]
    assert np.isnan(table.age[1])
    assert lesions.read_lesion_of(written["images"]) == {"I1": "L1", "I2": "L1", "I3": "L2"}
    pd.read_parquet(written["images"] / lesions.FILE).drop(columns="skin_type").to_parquet(
        tmp_path / lesions.FILE
    )
    assert lesions.read(tmp_path).skin_type.tolist() == ["", "", ""]


def test_duplicates(written: dict[str, Path], tmp_path: Path) -> None:
    found = duplicates.read(written["images"])
    assert found.ids == [("I1", "I3")]
    assert found.distance_P.tolist() == [0.125]
    assert found.turn_P is not None and found.turn_P.tolist() == ["as it is"]
    assert found.placement_P4 is not None and found.placement_P4.tolist() == [[0.5, 0.25, -1.0, 2.0]]
    assert found.inliers_P is not None and found.inliers_P.tolist() == [56]
    unsure = replace(examples.pairs(), sure_P=np.array([False]))
    duplicates.write(unsure, tmp_path)
    assert duplicates.read(tmp_path).ids == [] and len(duplicates.read(tmp_path)) == 1, "listed, not joined"
    small = replace(examples.pairs(), by_P=None, inliers_P=None, sure_P=None)
    duplicates.write(small, tmp_path)
    assert duplicates.read(tmp_path).ids == [("I1", "I3")]
    assert "sure" not in duplicates.read_frame(tmp_path), "the file of small pictures is as it was"
    pd.DataFrame({"image_id_1": ["a"], "image_id_2": ["b"], "distance": [0.1]}).to_parquet(
        tmp_path / duplicates.FILE
    )
    old = duplicates.read(tmp_path)
    assert (old.ids, old.exact_P, old.turn_P, old.placement_P4) == ([("a", "b")], None, None, None)
    assert len(duplicates.read_frame(tmp_path)) == len(old) == 1


def test_no_duplicates(tmp_path: Path) -> None:
    found, none = examples.pairs(), np.zeros(0, dtype=np.int64)
    kept = {name: getattr(found, name)[none] for name in found.__dataclass_fields__}
    duplicates.write(duplicates.DuplicatePairs(**kept), tmp_path)
    assert str(pq.read_schema(tmp_path / duplicates.FILE).field("turn").type) == "double"
    assert duplicates.read(tmp_path).ids == []


def test_split(written: dict[str, Path]) -> None:
    table = split.read(written["split"])
    assert table.split.tolist() == ["train", "train", "test"]
    assert table.group_N.tolist() == ["L1", "L1", "P9"]
    assert split.rows_of(table, written["split"]).tolist() == [0, 1, 4]
    assert table.own(None).tolist() == [True, True, False]
    assert table.own([1]).tolist() == [False, True, False]
    found = table.find(["I3", "I1"])
    assert (found.image_id.tolist(), found.train_set_N.tolist()) == (["I3", "I1"], [-1, 0])  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"split.parquet lacks image_id I7 that was predicted \(2 in all\)"):
        table.find(["I1", "I7", "I8"])


def test_published_and_old_split(written: dict[str, Path], tmp_path: Path) -> None:
    split.publish(written["split"], tmp_path)
    before = tmp_path / "before.parquet"
    pd.read_parquet(written["split"] / split.FILE).drop(columns="row").to_parquet(before, index=False)
    assert (tmp_path / split.FILE).read_bytes() == before.read_bytes()
    published = split.read_file(tmp_path / split.FILE)
    assert published.row_N is None
    with pytest.raises(DataError, match="lacks column row"):
        split.rows_of(published, tmp_path)
    old = pd.read_parquet(before).drop(columns=["group", "train_set"])
    old.to_parquet(tmp_path / split.FILE)
    table = split.read(tmp_path)
    assert table.group_N.tolist() == ["L1", "L1", "L2"]
    assert table.take(np.array([2])).frame().to_dict("records") == [
        {"image_id": "I3", "lesion_id": "L2", "dx": "nv", "split": "test", "group": "L2"}
    ]
    with pytest.raises(DataError, match="has no column train_set"):
        table.own([0])


def test_predictions(written: dict[str, Path]) -> None:
    found = predictions.read(written["predict"])
    assert found.classes == ("nv", "mel")
    assert found.prob_NC.tolist() == [[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]
    assert found.label_N.tolist() == [1, 1, 0]
    assert predictions.find(found, examples.IDS[[2, 0]], "the mined part").label_N.tolist() == [0, 1]
    with pytest.raises(DataError, match="lacks image_id X of the mined part"):
        predictions.find(found, np.array(["X"]), "the mined part")
    frame = pd.read_parquet(written["predict"] / predictions.FILE)
    assert frame.columns.tolist() == ["image_id", "split", "dx", "p_nv", "p_mel"]
    assert frame["dx"].tolist() == ["mel", "mel", "nv"]


def test_predictions_that_make_no_sense(written: dict[str, Path], tmp_path: Path) -> None:
    frame = pd.read_parquet(written["predict"] / predictions.FILE)
    frame.drop(columns="p_nv").to_parquet(tmp_path / predictions.FILE)
    with pytest.raises(DataError, match=r"predictions.parquet: the classifier knows mel, not nv; rename"):
        predictions.read(tmp_path)
    frame.assign(p_mel=[0.75, np.nan, 0.0]).to_parquet(tmp_path / predictions.FILE)
    with pytest.raises(DataError, match="image_id I2 has a probability that is no number"):
        predictions.read(tmp_path)
    frame[["image_id", "split", "dx"]].to_parquet(tmp_path / predictions.FILE)
    with pytest.raises(DataError, match="lacks column p_<dx>"):
        predictions.read(tmp_path)


def test_no_prediction(tmp_path: Path) -> None:
    predictions.write(examples.predicted().take(np.zeros(0, dtype=np.int64)), tmp_path)
    assert len(predictions.read(tmp_path)) == 0


def test_judge(written: dict[str, Path]) -> None:
    found = judge.read(written["judge"])
    assert (found.fold_N.tolist(), found.label_N.tolist()) == ([0, 0, 1], [0, 0, 1])
    assert found.prob_NC[0].tolist() == [0.75, 0.25]
    assert judge.read_fold_of(written["judge"]) == {"I1": 0, "I2": 0, "I3": 1}
    assert judge.read_facts(written["judge"]).oof_recall == {"mel": 0.5, "nv": None}
    assert pq.read_schema(written["judge"] / judge.FILE).names == ["image_id", "fold", "dx", "p_mel", "p_nv"]


def test_hard_cases(written: dict[str, Path], tmp_path: Path) -> None:
    found = hard_cases.read(written["mine"])
    assert list(zip(found.image_id, found.true, found.predicted, found.score, strict=True)) == [
        ("I2", "mel", "nv", 0.75), ("I1", "mel", "mel", 0.5)
    ]  # fmt: skip
    hard_cases.write(found.__class__(image_id=found.image_id[:0], true=found.true[:0], predicted=found.predicted[:0],
                                     score=found.score[:0]), tmp_path)  # fmt: skip
    assert len(hard_cases.read(tmp_path)) == 0
    pd.DataFrame({"image_id": ["a"]}).to_parquet(tmp_path / hard_cases.FILE)
    assert hard_cases.read_ids(tmp_path).tolist() == ["a"]


def test_conditioning(written: dict[str, Path], tmp_path: Path) -> None:
    found = conditioning.read(written["condition"])
    assert found.neighbour_ids_SK.tolist() == [["I1", "I2"], ["I3", ""]]
    assert found.weights_SK.tolist() == [[0.75, 0.25], [1.0, 0.0]]
    assert found.levels_SLD[1].tolist() == [[4.0, 5.0], [6.0, 7.0]]
    assert (found.seed_S.tolist(), found.label_S.tolist()) == ([7, 11], ["mel", "nv"])
    rows = pq.read_table(written["condition"] / conditioning.FILE).to_pylist()
    assert rows[1] == {"sample_id": "s1", "parent_image_id": "I3", "dx": "nv", "neighbour_ids": ["I3"],
                       "weights": [1.0], "seed": 11, "difficulty": 0.0}  # fmt: skip
    one = conditioning.take(found, np.array([1]))
    conditioning.write(one, tmp_path)
    assert conditioning.read(tmp_path).neighbour_ids_SK.tolist() == [["I3"]]
    assert conditioning.read_column(tmp_path, "parent_image_id").tolist() == ["I3"]


def test_conditioning_of_no_sample_and_without_its_levels(tmp_path: Path) -> None:
    conditioning.write(conditioning.take(examples.conditioned(), np.zeros(0, dtype=np.int64)), tmp_path)
    assert conditioning.read(tmp_path).neighbour_ids_SK.shape == (0, 1)
    conditioning.LEVELS.write(np.zeros((3, 2, 2)), tmp_path)
    with pytest.raises(DataError, match=r"holds 3 rows for 0 of conditioning.parquet"):
        conditioning.read(tmp_path)
    (tmp_path / "levels.npy").unlink()
    assert len(conditioning.read_samples(tmp_path)) == 0
    with pytest.raises(DataError, match=r"levels.npy: is missing"):
        conditioning.read(tmp_path)


def test_neighbours(written: dict[str, Path]) -> None:
    found = neighbours.read(written["condition"])
    assert list(found.rows()) == [("I1", [("I7", 0.5), ("I8", 0.25)]), ("I2", [("I9", 0.125)])]
    assert found.similarity_MK[1, 1] == -np.inf
    assert neighbours.read_ids(written["condition"]) == ["I7", "I8", "I9"]


def test_synthetic(written: dict[str, Path]) -> None:
    found = synthetic.read(written["accept"])
    assert found.file_S.tolist() == ["synthetic/s0.png", "synthetic/s1.png"]
    assert found.accepted_S.tolist() == [True, False]
    assert found.verdicts.reason_S.tolist() == ["", "judge: nv 0.12 < 0.50"]
    assert (found.policy, found.checkpoint) == ("label_consistent", "abc")
    assert found.take(found.accepted_S).samples.sample_id.tolist() == ["s0"]
    row = pq.read_table(written["accept"] / synthetic.FILE).to_pylist()[1]
    assert row == {
        "sample_id": "s1", "parent_image_id": "I3", "dx": "nv", "neighbour_ids": ["I3"], "weights": [1.0], "seed": 11,
        "difficulty": 0.0, "file": "synthetic/s1.png", "accepted": False, "reasons": "judge: nv 0.12 < 0.50",
        "judge_p": 0.125, "judge_predicted": "mel",
        "nearest_train_id": "I1", "nearest_train_distance": 0.5, "policy": "label_consistent",
        "checkpoint": "abc", "value": -1.0, "judge_prob": [0.5, 0.5],
    }  # fmt: skip


def test_parts_of_synthetic(written: dict[str, Path], tmp_path: Path) -> None:
    pd.read_parquet(written["accept"] / synthetic.FILE)[
        ["sample_id", "dx", "parent_image_id", "accepted"]
    ].to_parquet(tmp_path / synthetic.FILE)
    found = synthetic.read_judgement(tmp_path)
    assert (len(found), found.parent_image_id.tolist()) == (2, ["I1", "I3"])
    assert synthetic.read_sample_ids(tmp_path).tolist() == ["s0", "s1"]
    assert synthetic.read_frame(tmp_path, ["dx"])["dx"].tolist() == ["mel", "nv"]
    with pytest.raises(DataError, match="lacks column neighbour_ids, weights, seed, file"):
        synthetic.read(tmp_path)


def test_pool(written: dict[str, Path]) -> None:
    found = pool.read(written["pool"])
    assert (found.source.tolist(), found.row_N.tolist()) == (["data", "data", "extra"], [0, 1, 0])
    assert pool.joined([found, found]).image_id.tolist() == ["I1", "I2", "s0"] * 2
    assert found.soft_N.tolist() == [False, False, True]
    assert found.label_NC is not None and found.label_NC[2].tolist() == [0.75, 0.25]
    assert found.weight_N is not None and found.weight_N.tolist() == [1.0, 1.0, 0.5]
    assert pq.read_table(written["pool"] / pool.FILE)["label"].to_pylist() == [[], [], [0.75, 0.25]]
    assert pool.read_facts(written["pool"]).classes == ("mel", "nv")
    assert pool.EXTRA.read(written["pool"]).shape == (1, 2, 2, 3)
    assert pool.read_facts(written["pool"]).n_own == 2


def test_rows_without_labels_and_weights_are_joined_to_rows_with(tmp_path: Path) -> None:
    plain, taught = examples.training_pool(), examples.taught_pool()
    both = pool.joined([plain, taught])
    assert both.soft_N.tolist() == [False, False, False, False, False, True]
    assert both.weight_N is not None and both.weight_N.tolist() == [1, 1, 1, 1, 1, 0.5]
    none = pool.joined([plain, plain])
    assert (none.label_NC, none.weight_N, none.soft_N.any()) == (None, None, False)
    for name, changes in (
        ("plain", {"label_NC": None, "weight_N": None}),
        ("ones", {"weight_N": np.ones(3)}),
    ):
        pool.write(replace(taught, **changes), examples.images(1, 2, 2, 3), examples.pool_facts(), tmp_path)
        columns = {"label", "weight"} & set(pq.read_schema(tmp_path / pool.FILE).names)
        assert columns == ({"label"} if name == "ones" else set()), name


def test_a_pool_whose_labels_are_none(written: dict[str, Path], tmp_path: Path) -> None:
    frame = pd.read_parquet(written["pool"] / pool.FILE)
    frame["label"] = [[], [0.5, 0.25, 0.25], [0.75, 0.25]]
    frame.to_parquet(tmp_path / pool.FILE)
    with pytest.raises(
        DataError, match="column label holds rows that are no probabilities of the same classes"
    ):
        pool.read(tmp_path)
    frame["label"] = [[], [], [np.nan, 0.25]]
    frame.to_parquet(tmp_path / pool.FILE)
    with pytest.raises(DataError, match="no probabilities"):
        pool.read(tmp_path)
    frame["label"] = [[], [], []]
    frame.to_parquet(tmp_path / pool.FILE)
    assert pool.read(tmp_path).label_NC is None


def test_the_judge_s_probabilities_of_samples(written: dict[str, Path], tmp_path: Path) -> None:
    assert synthetic.read_judge_prob(written["accept"], 2).tolist() == [[0.75, 0.25], [0.5, 0.5]]
    with pytest.raises(
        DataError, match=r"synthetic\.parquet: column judge_prob does not hold 3 numbers; rerun"
    ):
        synthetic.read_judge_prob(written["accept"], 3)
    frame = pd.read_parquet(written["accept"] / synthetic.FILE)
    frame.drop(columns="judge_prob").to_parquet(tmp_path / synthetic.FILE)
    assert synthetic.read(tmp_path).judge_prob_SC is None
    with pytest.raises(DataError, match="lacks column judge_prob; rerun"):
        synthetic.read_judge_prob(tmp_path, 2)
    found = synthetic.read(written["accept"]).take(np.array([1]))
    assert found.judge_prob_SC is not None and found.judge_prob_SC.tolist() == [[0.5, 0.5]]
    synthetic.write(found.take(np.zeros(0, dtype=np.int64)), tmp_path)
    assert synthetic.read_judge_prob(tmp_path, 2).shape == (0, 2)


def test_a_judge_of_before_0_3(written: dict[str, Path], tmp_path: Path) -> None:
    facts = json.loads((written["judge"] / "judge.json").read_text())
    assert (judge.read_facts(written["judge"]).temperature, facts["val"]["n"]) == (1.5, 2)
    old = {key: value for key, value in facts.items() if key not in ("temperature", "val")}
    (tmp_path / "judge.json").write_text(json.dumps(old))
    assert (judge.read_facts(tmp_path).temperature, judge.read_facts(tmp_path).val) == (1.0, {})
    (tmp_path / "judge.json").write_text(json.dumps({**old, "temperature": 0.0}))
    with pytest.raises(DataError, match=r"judge\.json: temperature: Input should be greater than 0"):
        judge.read_facts(tmp_path)


def test_early_predictions(written: dict[str, Path]) -> None:
    found = predictions.read(written["crossfit"], schema=predictions.EARLY)
    assert found.prob_NC.tolist() == [[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]
    with pytest.raises(DataError, match=r"predictions\.parquet: is missing"):
        predictions.read(written["crossfit"])


def test_index_and_challenging(written: dict[str, Path]) -> None:
    assert index.read(written["index"]).lesion_id.tolist() == ["L1", "L1", "L2"]
    assert index.read_facts(written["index"]).distance_quantiles == {1: 0.125, 50: 0.5}
    found = challenging.read(written["challenging"])
    assert (found.hard, found.rest) == ({"I1", "I2"}, {"I3"})


def test_asked(written: dict[str, Path], tmp_path: Path) -> None:
    found, wrote = asked.read(written["ask"]), examples.questions()
    for name in ("image_id", "value_Q", "predicted", "prob_QC", "neighbour_ids_QK"):
        assert getattr(found, name).tolist() == getattr(wrote, name).tolist(), name
    assert asked.read_ids(written["ask"]).tolist() == ["U2", "U1"]
    assert asked.read_facts(written["ask"]) == examples.ASKED
    asked.write(wrote.take(np.array([], dtype=np.int64)), examples.ASKED, tmp_path)
    assert len(asked.read(tmp_path)) == 0


def test_a_file_that_is_replaced_while_it_is_read_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers answer while others read: pandas alone would take the first file's footer and the second one's pages."""
    names = Column(name="image_id", kind="text", meaning="which")
    table = TableSchema(file="a.parquet", stages=(), row="one", columns=(names,), remedy="write it")

    def frame(count: int) -> pd.DataFrame:
        return pd.DataFrame({"image_id": [f"image {number}" for number in range(count)]})

    table.write(frame(50), tmp_path)
    real = pd.read_parquet

    def replaced_first(source: Any, **options: Any) -> pd.DataFrame:
        table.write(frame(3), tmp_path)
        return real(source, **options)

    monkeypatch.setattr(schema.pd, "read_parquet", replaced_first)
    assert table.read(tmp_path)["image_id"].tolist() == frame(50)["image_id"].tolist()
    assert len(real(tmp_path / "a.parquet")) == 3
