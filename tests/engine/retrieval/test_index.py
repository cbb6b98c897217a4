"""Exact search: class filter, own lesion, one image a lesion, ties, and the files."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import DataError
from engine.retrieval.index import MISSING, LesionIndex
from engine.types import strings


def angle(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def make(ids, lesions, classes, rows) -> LesionIndex:
    rows = np.asarray(rows, dtype=np.float32)
    return LesionIndex(
        image_id=strings(ids),
        lesion_id=strings(lesions),
        dx=strings(classes),
        fused_NF=rows,
        levels_NLD=np.stack([rows, rows[:, ::-1]], axis=1),
    )


@pytest.fixture
def index() -> LesionIndex:
    """Six mel images of four lesions at 0, 10, 20, 30, 40, 50 degrees, one nv at 5."""
    return make(
        ["a", "b", "c", "d", "e", "f", "n"],
        ["L1", "L1", "L2", "L3", "L3", "L4", "L9"],
        ["mel"] * 6 + ["nv"],
        angle(0, 10, 20, 30, 40, 50, 5),
    )


def test_neighbours_are_of_the_class_one_a_lesion_nearest_first(index):
    found = index.search(angle(0), ["mel"], ["other"], 3)
    assert found.image_id_MK.tolist() == [["a", "c", "d"]]
    assert found.row_MK.tolist() == [[0, 2, 3]]
    np.testing.assert_allclose(found.similarity_MK, [np.cos(np.deg2rad([0, 20, 30]))], atol=1e-6)


def test_own_lesion_is_never_returned(index):
    found = index.search(angle(0, 30), ["mel", "mel"], ["L1", "L3"], 3)
    assert found.image_id_MK.tolist() == [["c", "d", "f"], ["c", "b", "f"]]


def test_what_does_not_exist_is_marked(index):
    found = index.search(angle(0, 0, 0), ["nv", "nv", "vasc"], ["L9", "", "L1"], 2)
    assert found.image_id_MK.tolist() == [["", ""], ["n", ""], ["", ""]]
    assert np.isneginf(found.similarity_MK).tolist() == [[True, True], [False, True], [True, True]]
    assert found.row_MK.tolist() == [[MISSING, MISSING], [6, MISSING], [MISSING, MISSING]]


def test_no_query_gives_no_row(index):
    assert index.search(np.zeros((0, 2)), [], [], 2).image_id_MK.shape == (0, 2)


def test_queries_need_not_be_unit_rows(index):
    found = index.search(7 * angle(45), ["mel"], ["L4"], 1)
    assert found.image_id_MK.tolist() == [["e"]]
    assert abs(float(found.similarity_MK[0, 0]) - np.cos(np.deg2rad(5))) < 1e-6


def test_one_level_is_searched_alone(index):
    """Level 1 holds the mirrored vectors: 90 degrees minus the angle."""
    assert index.search(angle(90), ["mel"], ["other"], 1, level=1).image_id_MK.tolist() == [["a"]]
    assert index.search(angle(90), ["mel"], ["other"], 1, level=0).image_id_MK.tolist() == [["f"]]


def test_ties_go_by_image_id_even_where_many_are_equal():
    count = 60
    ids = [f"i{number:02d}" for number in range(count)][::-1]
    tied = make(
        ids, [f"L{number}" for number in range(count)], ["mel"] * count, np.repeat(angle(3), count, axis=0)
    )
    assert tied.search(angle(0), ["mel"], [""], 3).image_id_MK.tolist() == [["i00", "i01", "i02"]]


def test_search_agrees_with_brute_force_whatever_else_is_asked():
    rng = np.random.default_rng(0)
    rows, dx, lesion = rng.normal(size=(200, 8)), rng.integers(0, 3, 200), rng.integers(0, 90, 200)
    lesion = lesion * 3 + dx
    one = make([f"i{n:03d}" for n in range(200)], lesion, dx, rows)
    query = rng.normal(size=(25, 8))
    found = one.search(query, [str(n % 3) for n in range(25)], [str(lesion[n]) for n in range(25)], 6)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for m in range(25):
        similarity = unit @ query[m] / np.linalg.norm(query[m])
        kept, seen = [], {lesion[m]}
        for row in np.argsort(-similarity):
            if dx[row] == m % 3 and lesion[row] not in seen:
                seen.add(lesion[row])
                kept.append(int(row))
        assert found.row_MK[m].tolist() == kept[:6]
    alone = one.search(query[7:8], ["1"], [str(lesion[7])], 6)
    np.testing.assert_array_equal(alone.similarity_MK[0], found.similarity_MK[7])


def test_saved_index_finds_the_same(index, tmp_path):
    index.save(tmp_path)
    names = {"fused.faiss", "level_0.faiss", "level_1.faiss", "levels.npy", "fused.npy", "ids.parquet"}
    assert {path.name for path in tmp_path.iterdir()} == names
    opened = LesionIndex.load(tmp_path)
    assert len(opened) == 7
    for level in (None, 0, 1):
        old, new = (i.search(angle(12), ["mel"], ["L2"], 3, level=level) for i in (index, opened))
        np.testing.assert_array_equal(old.image_id_MK, new.image_id_MK)
        np.testing.assert_array_equal(old.similarity_MK, new.similarity_MK)
    np.testing.assert_array_equal(opened.levels_NLD, index.levels_NLD)
    np.testing.assert_allclose(np.linalg.norm(np.load(tmp_path / "fused.npy"), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["ids.parquet", "levels.npy", "fused.faiss", "level_1.faiss"])
@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_damaged_index_is_named(index, tmp_path, name, damage):
    index.save(tmp_path)
    (tmp_path / name).unlink()
    if damage == "broken":
        (tmp_path / name).write_bytes(b"no index")
    with pytest.raises(DataError, match=r"index .* cannot be read .* delete the folder and rerun"):
        LesionIndex.load(tmp_path)


def test_files_that_disagree_are_named(index, tmp_path):
    index.save(tmp_path)
    np.save(tmp_path / "levels.npy", index.levels_NLD[:5])
    with pytest.raises(DataError, match=r"hold \[5, 7\] rows"):
        LesionIndex.load(tmp_path)
