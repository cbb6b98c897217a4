"""The split stage over every reader: its files open as a Dataset, and no lesion is in two parts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.artifacts import lesions, oracle
from engine.config import parse_config
from engine.errors import ConfigError, DataError
from engine.parts.dataset import open_dataset
from engine.stages import images, split
from engine.types import strings
from tests.engine.data import layouts
from tests.fakes import run_stage

READERS: dict[str, tuple[Callable[[Path], object], dict]] = {
    "ham10000": (lambda r: layouts.write_ham(r, rows=layouts.ham_rows(12)), {}),
    "isic": (lambda r: layouts.write_isic(r, ["MEL", "NV"] * 6), {}),
    "folder": (layouts.write_folders, {}),
    "table": (lambda r: layouts.write_table(r, 12), {"columns": {"image": "file", "label": "label"}}),
    "medmnist": (lambda r: layouts.write_medmnist(r / "a.npz"), {}),
    "torchvision": (layouts.write_mnist, {"dataset": "mnist"}),
    "phantom": (lambda r: None, {"phantom": {"lesions": 60, "views": 2, "imbalance": 0.0}}),
}
LOOP = {"mine_from": "crossfit"}
"""So that a config may leave ``mine`` empty."""


def decode(tmp_path: Path, kind: str) -> Path:
    make, settings = READERS[kind]
    make(tmp_path / "data")
    data = {"format": kind, "root": str(tmp_path / "data"), "image_size": 16, "mask": "none", **settings}
    params = images.Params.of(parse_config({"data": data}), fingerprint="as it is")
    return run_stage(images, tmp_path / "images", {}, params)


def divide(
    tmp_path: Path,
    folder: Path,
    seed: int,
    *,
    saw: str = "train",
    name: str = "split",
    **section: object,
) -> Path:
    params = split.Params.of(
        parse_config({"data": {"split": section}, "loop": {**LOOP, "generator_saw": saw}})
    )
    return run_stage(split, tmp_path / f"{name}{seed}", {"images": folder}, params, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_no_lesion_in_two_parts_for_any_reader_and_seed(tmp_path: Path, kind: str) -> None:
    folder = decode(tmp_path, kind)
    for seed in range(5):
        dataset = open_dataset(folder, divide(tmp_path, folder, seed))
        table = dataset.table
        assert all(len(set(table.split[table.lesion_id == name])) == 1 for name in set(table.lesion_id))
        for part in ("train", "mine", "val", "test"):
            assert set(table.dx[dataset.where(part)]) == set(dataset.classes)
        assert np.array_equal(lesions.read(folder).image_id[dataset.rows], table.image_id)


def test_files(tmp_path: Path) -> None:
    folder = decode(tmp_path, "ham10000")
    pd.DataFrame({"image_id_1": ["ISIC_0000"], "image_id_2": ["ISIC_0020"], "distance": [0.1]}).to_parquet(
        folder / "duplicates.parquet"
    )
    out = divide(tmp_path, folder, 0, train=0.5, mine=0.1, val=0.1, test=0.1)
    rows = pd.read_parquet(out / "split.parquet")
    assert list(rows.columns) == ["image_id", "lesion_id", "dx", "split", "group", "row"]
    lesions_G = rows.groupby("group")["lesion_id"].agg(lambda names: sorted(set(names)))
    assert all(names[0] == group for group, names in lesions_G.items()), "named by its smallest lesion"
    assert Counter(map(len, lesions_G)) == {1: len(lesions_G) - 1, 2: 1}, (
        "the pair's lesions alone are joined"
    )
    assert open_dataset(folder, out).group_N.tolist() == rows["group"].tolist()
    info = json.loads((out / "split.json").read_text())
    assert info["merged_groups"] == 1
    assert info["grouped_by"] == "lesion"
    assert sum(sum(c.values()) for c in info["counts"].values()) == len(rows) == 24 - info["unused"]
    lines = sorted(f"{i}\t{s}" for i, s in zip(rows["image_id"], rows["split"], strict=True))
    assert info["digest"] == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert json.loads((divide(tmp_path, folder, 1) / "split.json").read_text())["digest"] != info["digest"]


SETS = {"count": 3, "images": 12}


def test_training_sets_share_val_and_test_and_where_asked_alone_are_left(tmp_path: Path) -> None:
    folder = decode(tmp_path, "phantom")
    whole = open_dataset(folder, divide(tmp_path, folder, 0, train_sets={**SETS, "use": 1}, name="whole"))
    own = open_dataset(
        folder, divide(tmp_path, folder, 0, train_sets={**SETS, "use": 1}, saw="own", name="own")
    )
    other = open_dataset(
        folder, divide(tmp_path, folder, 0, train_sets={**SETS, "use": [0, 2]}, saw="own", name="other")
    )
    for part in ("mine", "val", "test"):
        found = [set(d.table.image_id[d.where(part)]) for d in (whole, own, other)]
        assert found[0] == found[1] == found[2] != set()
    assert len(whole.where("train")) > 36, "the whole pool is there"
    assert own.where("train").tolist() == own.own([1]).tolist()
    images = [set(d.table.image_id[d.own([1])]) for d in (whole, own)]
    assert images[0] == images[1]
    assert not images[0] & set(other.table.image_id[other.where("train")])
    assert whole.own(None).tolist() == whole.where("train").tolist()
    assert len(whole.own([0, 1])) == len(whole.own([0])) + len(whole.own([1]))


def test_a_split_without_training_sets_says_so_when_asked(tmp_path: Path) -> None:
    folder = decode(tmp_path, "phantom")
    dataset = open_dataset(folder, divide(tmp_path, folder, 0))
    with pytest.raises(DataError, match=r"no column train_set; rerun the split with data\.split\.train_sets"):
        dataset.own([0])


def test_a_sealed_test_part_is_not_in_the_split_at_all(tmp_path: Path) -> None:
    folder = decode(tmp_path, "phantom")
    plain = pd.read_parquet(divide(tmp_path, folder, 0) / "split.parquet")
    sealed = pd.read_parquet(divide(tmp_path, folder, 0, seal="test", name="sealed") / "split.parquet")
    pd.testing.assert_frame_equal(sealed, plain[plain["split"] != "test"].reset_index(drop=True))


def test_the_lesions_of_a_patient_are_one_group(tmp_path: Path) -> None:
    folder = decode(tmp_path, "phantom")
    table = lesions.read(folder)
    lesion = np.unique(table.lesion_id, return_inverse=True)[1]
    patient = strings([f"{dx} {number // 4}" for dx, number in zip(table.dx, lesion, strict=True)])
    lesions.write(table.replace(patient_id=patient), folder)
    out = divide(tmp_path, folder, 0, train=0.6, mine=0.0, val=0.2, test=0.2)
    frame = pd.read_parquet(out / "split.parquet")
    person = pd.Series(patient, index=table.image_id)[frame["image_id"]]
    assert len(set(zip(frame["group"], person, strict=True))) == frame["group"].nunique() == person.nunique()
    assert (frame.groupby("group")["split"].nunique() == 1).all()
    assert frame.groupby("group")["lesion_id"].nunique().max() > 1


def test_a_split_of_an_older_run_knows_its_lesions_alone(tmp_path: Path) -> None:
    folder = decode(tmp_path, "phantom")
    out = divide(tmp_path, folder, 0)
    pd.read_parquet(out / "split.parquet").drop(columns="group").to_parquet(
        out / "split.parquet", index=False
    )
    dataset = open_dataset(folder, out)
    assert dataset.group_N.tolist() == dataset.table.lesion_id.tolist()


def patients(tmp_path: Path) -> Path:
    """Decode a table of 40 patients with two photographs each; the second of every fifth has no diagnosis."""
    labels = [label for patient in range(40) for label in (("mel", "nv")[patient % 2],) * 2]
    labels = ["" if n % 10 == 1 else label for n, label in enumerate(labels)]
    owners = [f"p{n // 2}" for n in range(80)]
    layouts.write_table(tmp_path / "data", 80, label=labels, patient=owners)
    columns = {"image": "file", "label": "label", "patient": "patient"}
    data = {
        "format": "table",
        "root": str(tmp_path / "data"),
        "columns": columns,
        "image_size": 16,
        "mask": "none",
    }
    params = images.Params.of(parse_config({"data": {**data, "unlabelled": "keep"}}), fingerprint="as it is")
    return run_stage(images, tmp_path / "images", {}, params)


def test_images_without_a_label_are_seen_by_those_alone_who_ask_for_them(tmp_path: Path) -> None:
    folder = patients(tmp_path)
    facts = json.loads((folder / "data.json").read_text())
    assert (facts["n_images"], facts["unlabelled"], facts["classes"]) == (80, 8, ["mel", "nv"])
    out = divide(tmp_path, folder, 0)
    plain, whole = open_dataset(folder, out), open_dataset(folder, out, unlabelled=True)
    apart = whole.where("unlabelled")
    assert len(plain.where("unlabelled")) == 0 and len(whole.table) == len(plain.table) + len(apart)
    assert len(apart) == json.loads((out / "split.json").read_text())["unlabelled"] > 0
    assert set(plain.labels.tolist()) == {0, 1} and set(whole.labels[apart].tolist()) == {-1}
    for part in ("mine", "val", "test"):
        assert not set(whole.group_N[apart]) & set(whole.group_N[whole.where(part)])


def test_hidden_labels_stand_with_the_oracle_alone(tmp_path: Path) -> None:
    folder = patients(tmp_path)
    out = divide(tmp_path, folder, 3, hide_labels=0.5)
    whole, truth = open_dataset(folder, out, unlabelled=True), lesions.read(folder)
    hidden = oracle.read(out)
    assert len(hidden) == json.loads((out / "split.json").read_text())["hidden"] > 0
    true = dict(zip(truth.image_id.tolist(), truth.dx.tolist(), strict=True))
    assert hidden == {name: true[name] for name in hidden}
    rows = whole.positions(strings(list(hidden)))
    assert set(whole.table.dx[rows]) == {""} and set(whole.table.split[rows]) == {"unlabelled"}
    bare = divide(tmp_path, folder, 3, name="bare")
    assert not oracle.SCHEMA.present(bare) and oracle.read(bare) == {}
    for part in ("mine", "val", "test"):
        before, after = (open_dataset(folder, place) for place in (bare, out))
        assert (
            before.table.image_id[before.where(part)].tolist()
            == after.table.image_id[after.where(part)].tolist()
        )


def test_an_answer_makes_a_train_image_and_moves_no_other(tmp_path: Path) -> None:
    folder = patients(tmp_path)
    section = {"hide_labels": 1.0, "train": 0.6, "train_sets": {"count": 2, "images": 20, "use": [1]}}
    config = parse_config({"data": {"split": section}, "loop": {**LOOP, "generator_saw": "own"}})
    bare = run_stage(split, tmp_path / "bare", {"images": folder}, split.Params.of(config))
    before = open_dataset(folder, bare, unlabelled=True)
    asked = before.table.image_id[before.where("unlabelled")][:3].tolist()
    answers = dict(zip(asked, ("nv", "nv", "mel"), strict=True))
    test_image = str(before.table.image_id[before.where("test")][0])
    params = split.Params.of(config, {**answers, test_image: "mel", "absent": "nv"})
    out = run_stage(split, tmp_path / "out", {"images": folder}, params)
    after = open_dataset(folder, out, unlabelled=True)
    rows = after.positions(strings(asked))
    assert after.table.dx[rows].tolist() == ["nv", "nv", "mel"] and set(after.table.split[rows]) == {"train"}
    assert set(rows.tolist()) <= set(after.own([1]).tolist())
    assert json.loads((out / "split.json").read_text())["answered"] == 3
    rest = np.flatnonzero(~np.isin(after.table.image_id, asked))
    assert (
        after.table.image_id[rest].tolist()
        == before.table.image_id[~np.isin(before.table.image_id, asked)].tolist()
    )
    for column in ("dx", "split"):
        was = getattr(before.table, column)[~np.isin(before.table.image_id, asked)]
        assert getattr(after.table, column)[rest].tolist() == was.tolist(), "val, test and labels known stay"
    with pytest.raises(DataError, match=r"labels.parquet: scar is no class of the data \(mel, nv\)"):
        run_stage(split, tmp_path / "no", {"images": folder}, split.Params.of(config, {asked[0]: "scar"}))


def test_hidden_labels_need_a_generator_that_sees_no_other_set() -> None:
    section = {"hide_labels": 1.0, "train_sets": {"count": 2, "images": 20}}
    with pytest.raises(ConfigError, match=r"hide_labels with train_sets needs loop.generator_saw: own"):
        parse_config({"data": {"split": section}})
