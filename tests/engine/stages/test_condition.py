"""Stage condition: hard cases to samples, random parents, no case at all, and what never happens."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.artifacts import conditioning as conditioning_file
from engine.config import parse_config
from engine.errors import StageError
from engine.parts.dataset import open_dataset
from engine.parts.embed import Extraction, embed_rows
from engine.stages import condition, embedder, index
from tests.fakes import make_context, make_dataset_folders, run_stage

TREE: dict[str, Any] = {
    "embedder": {
        "width": 32, "layers": 2, "levels": 2, "patch": 8, "text_layers": 1, "batch_size": 8, "steps": 1,
    },
    "data": {"crop": "none", "mask": "file"},
    "loop": {"budget": 9, "neighbours": 3, "mine_from": "mine"},
    "policy": {"budget": {"name": "uniform"}, "mixing": {"name": "self"}},
}  # fmt: skip
CONFIG = parse_config(TREE)
SEEN = ({"bkl": 0.5, "mel": None, "nv": 0.9},)
"""Val sensitivity after the round before."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The stages images, split, embedder and index, and four hard cases of the mine split."""
    root = tmp_path_factory.mktemp("stages")
    images, split = make_dataset_folders(root, n_lesions=60)
    inputs = {"images": images, "split": split}
    for name, stage in (("embedder", embedder), ("index", index)):
        inputs[name] = run_stage(stage, root / name, inputs, stage.Params.of(CONFIG))
    return inputs | {"hard_cases": hard_cases(root / "mine", inputs, 4)}


def hard_cases(folder: Path, inputs: dict[str, Path], count: int, split: str = "mine") -> Path:
    dataset = open_dataset(inputs["images"], inputs["split"])
    table = dataset.table.take(dataset.where(split)[:count])
    folder.mkdir()
    score = np.linspace(1, 0, count)
    frame = pd.DataFrame({"image_id": table.image_id, "dx": table.dx, "predicted": "nv", "score": score})
    frame.astype({"image_id": str, "dx": str, "predicted": str}).to_parquet(folder / "hard_cases.parquet")
    return folder


def run(
    out: Path,
    inputs: dict[str, Path],
    seed: int = 0,
    parents: condition.Parents = "mined",
    per_parent: dict[str, list[int]] | None = None,
    seen: Any = SEEN,
    mixing: str = "self",
    **loop: Any,
) -> pd.DataFrame:
    changes = {"loop": {**TREE["loop"], **loop}, "policy": {**TREE["policy"], "mixing": {"name": mixing}}}
    params = condition.Params.of(
        parse_config({**TREE, **changes}), 2, parents=parents, per_parent=per_parent, seen=seen
    )
    run_stage(condition, out, inputs, params, seed=seed)
    return pd.read_parquet(out / "conditioning.parquet")


def test_uniform_budget_and_self_mixing_repeat_each_case(folders, tmp_path):
    frame = run(tmp_path / "out", folders)
    cases = pd.read_parquet(folders["hard_cases"] / "hard_cases.parquet")
    assert sorted(Counter(frame["parent_image_id"]).values()) == [2, 2, 2, 3]
    assert frame["sample_id"].tolist() == [f"r02_hard_{row:05d}" for row in range(9)]
    assert frame["seed"].nunique() == 9
    known = dict(zip(cases["image_id"], cases["dx"], strict=True))
    assert frame["dx"].tolist() == [known[parent] for parent in frame["parent_image_id"]]
    assert [list(ids) for ids in frame["neighbour_ids"]] == [[parent] for parent in frame["parent_image_id"]]
    levels = np.load(tmp_path / "out" / "levels.npy")
    context = make_context(tmp_path / "again", folders)
    dataset = open_dataset(folders["images"], folders["split"])
    rows = dataset.rows[dataset.positions(frame["parent_image_id"].to_numpy(dtype=np.str_))]
    cut = Extraction.of(CONFIG.data)
    np.testing.assert_array_equal(levels, embed_rows(context, rows, "embed", tokens="cls", cut=cut))


def test_hard_cases_are_ranked_and_random_parents_are_dealt_the_same_ranks(folders, tmp_path):
    hard = run(tmp_path / "out", folders)
    per_parent = hard.groupby("parent_image_id", sort=False)["difficulty"].first()
    assert per_parent.tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0]), "hardest first"
    shares = {"nv": [2, 2, 2], "mel": [3]}
    dealt = [
        run(tmp_path / name, folders, parents="random", per_parent=shares, seed=seed)
        for name, seed in (("r0", 0), ("r1", 1), ("r2", 2))
    ]
    ranks = [frame.groupby("parent_image_id", sort=False)["difficulty"].first().tolist() for frame in dealt]
    assert all(sorted(found) == pytest.approx([0, 1 / 3, 2 / 3, 1]) for found in ranks)
    assert len({tuple(found) for found in ranks}) > 1


def test_neighbours_are_train_images_of_the_class_and_of_other_lesions(folders, tmp_path):
    run(tmp_path / "out", folders)
    frame = pd.read_parquet(tmp_path / "out" / "neighbours.parquet")
    dataset = open_dataset(folders["images"], folders["split"])
    facts = {
        str(name): (str(dx), str(lesion), str(split))
        for name, dx, lesion, split in zip(
            dataset.table.image_id,
            dataset.table.dx,
            dataset.table.lesion_id,
            dataset.table.split,
            strict=True,
        )
    }
    for case, dx, found, similarity in frame.itertuples(index=False):
        assert len(found) == 3 and (np.diff(similarity) <= 0).all()
        assert {facts[name][0] for name in found} == {dx} and {facts[name][2] for name in found} == {"train"}
        lesions = [facts[name][1] for name in found]
        assert facts[case][1] not in lesions and len(set(lesions)) == 3


def test_cases_of_train_never_find_their_own_lesion(folders, tmp_path):
    inputs = folders | {"hard_cases": hard_cases(tmp_path / "mine", folders, 8, split="train")}
    run(tmp_path / "out", inputs, mine_from="crossfit")
    frame = pd.read_parquet(tmp_path / "out" / "neighbours.parquet")
    ids = pd.read_parquet(folders["index"] / "ids.parquet").set_index("image_id")["lesion_id"]
    for case, found in zip(frame["image_id"], frame["neighbour_ids"], strict=True):
        assert len(found) == 3 and ids[case] not in set(ids[list(found)])


def test_random_parents_come_from_the_mined_split_and_match_per_class_and_per_parent(folders, tmp_path):
    wanted = {"bkl": [], "mel": [3, 1], "nv": [2, 2, 1]}
    frame = run(tmp_path / "out", folders, parents="random", per_parent=wanted)
    assert Counter(frame["dx"]) == {"mel": 4, "nv": 5}
    dataset = open_dataset(folders["images"], folders["split"])
    mine = dataset.table.take(dataset.where("mine"))
    assert set(frame["parent_image_id"]) <= set(mine.image_id.tolist())
    for dx, images in wanted.items():
        times = Counter(frame.loc[frame["dx"] == dx, "parent_image_id"])
        assert sorted(times.values(), reverse=True) == images
    assert frame["sample_id"][0] == "r02_random_00000"
    other = run(tmp_path / "test", folders, parents="random", per_parent=wanted, mine_from="test")
    assert not set(other["parent_image_id"]) & set(mine.image_id.tolist())


def test_more_parents_than_there_are_images_share_them_evenly(folders, tmp_path):
    dataset = open_dataset(folders["images"], folders["split"])
    there = int((dataset.table.take(dataset.where("mine")).dx == "nv").sum())
    frame = run(tmp_path / "out", folders, parents="random", per_parent={"nv": [1] * (2 * there + 1)})
    assert sorted(Counter(frame["parent_image_id"]).values()) == [2] * (there - 1) + [3]


def test_unguided_parents_are_any_of_the_classifiers_own(folders, tmp_path):
    frame = run(tmp_path / "out", folders, parents="uniform", per_parent={"mel": [30, 10], "nv": [8]})
    dataset = open_dataset(folders["images"], folders["split"])
    train = dataset.table.take(dataset.where("train"))
    assert len(frame) == 48 and set(frame["parent_image_id"]) <= set(train.image_id.tolist())
    assert max(Counter(frame["parent_image_id"]).values()) <= -(-48 // len(train))
    assert set(frame["dx"]) == set(train.dx.tolist()), "classes are not matched to those of hard"
    assert frame["sample_id"][0] == "r02_unguided_00000"


def test_random_parents_of_an_absent_class_are_refused(folders, tmp_path):
    with pytest.raises(StageError, match=r"counts\.vasc: 3 random parents"):
        run(tmp_path / "out", folders, parents="random", per_parent={"vasc": [2, 1]})


def classes_of(folders, names):
    dataset = open_dataset(folders["images"], folders["split"])
    table = dataset.table.take(dataset.positions(np.array(list(names), dtype=np.str_)))
    assert set(table.split.tolist()) == {"train"}
    return table.dx.tolist()


def test_edits_toward_the_border_go_to_the_class_a_case_is_taken_for(folders, tmp_path):
    frame = run(tmp_path / "out", folders, mixing="boundary")
    assert len(frame) == 9
    for dx, other in zip(
        frame["dx"], classes_of(folders, [ids[1] for ids in frame["neighbour_ids"]]), strict=True
    ):
        assert other != dx
        if dx != "nv":  # the hard cases are taken for nv
            assert other == "nv"
    same = run(tmp_path / "self", folders)
    assert frame["dx"].tolist() == same["dx"].tolist()
    files = [(tmp_path / name / "neighbours.parquet").read_bytes() for name in ("out", "self")]
    assert files[0] == files[1], "the page shows the neighbours of the own class"


def test_random_parents_go_toward_the_nearest_other_class(folders, tmp_path):
    frame = run(
        tmp_path / "out",
        folders,
        parents="random",
        per_parent={"mel": [3, 3], "nv": [2] * 3},
        mixing="boundary",
    )
    for dx, other in zip(
        frame["dx"], classes_of(folders, [ids[1] for ids in frame["neighbour_ids"]]), strict=True
    ):
        assert other != dx
    alone = {name: folder for name, folder in folders.items() if name != "hard_cases"}
    again = run(
        tmp_path / "again",
        alone,
        parents="random",
        per_parent={"mel": [3, 3], "nv": [2] * 3},
        mixing="boundary",
    )
    assert frame["parent_image_id"].tolist() == again["parent_image_id"].tolist()


@pytest.mark.parametrize("changes", [{}, {"parents": "random", "per_parent": {"mel": []}}])
def test_no_case_writes_empty_files_with_all_columns(folders, tmp_path, changes):
    inputs = folders | {"hard_cases": hard_cases(tmp_path / "mine", folders, 0)}
    frame = run(tmp_path / "out", inputs, **changes)
    assert list(frame) == [
        "sample_id",
        "parent_image_id",
        "dx",
        "neighbour_ids",
        "weights",
        "seed",
        "difficulty",
    ]
    assert len(frame) == 0 and len(pd.read_parquet(tmp_path / "out" / "neighbours.parquet")) == 0
    back = conditioning_file.read(tmp_path / "out")
    assert back.levels_SLD.shape == (0, 2, 32)


def test_same_seed_gives_the_same_files_and_another_seed_another_noise(folders, tmp_path):
    mixing = "interpolate"
    one, _ = (run(tmp_path / name, folders, mixing=mixing, seed=7) for name in ("one", "two"))
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name
    other = run(tmp_path / "other", folders, mixing=mixing, seed=8)
    assert not set(one["seed"]) & set(other["seed"])
    assert [list(row) for row in one["weights"]] != [list(row) for row in other["weights"]]


def test_past_gain_reaches_the_budget_policy(folders, tmp_path, monkeypatch):
    seen = []

    class Recording:
        def allocate(self, state, rng):
            seen.append(state)
            return np.array([state.total, *[0] * (len(state.cases) - 1)])

    make = condition.registry.make
    monkeypatch.setattr(
        condition.registry, "make", lambda kind, spec: Recording() if kind == "budget" else make(kind, spec)
    )
    seen_before = {"bkl": 0.5, "mel": 0.25, "nv": None}
    frame = run(tmp_path / "out", folders, seen=(seen_before, {"bkl": None, "mel": 0.5, "nv": 0.9}))
    assert frame["parent_image_id"].nunique() == 1
    state = seen[0]
    assert state.sensitivity == {"mel": 0.5, "nv": 0.9} and state.gain_history == ({"mel": 0.25},)
    dataset = open_dataset(folders["images"], folders["split"])
    assert state.class_counts == Counter(dataset.table.dx[dataset.where("train")].tolist())
    assert state.total == 9 and state.round == 2
