"""The search inside one class gives the rows and the bits of FAISS's flat index, asked query by query."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.retrieval import class_rows
from engine.retrieval.class_rows import MISSING, ClassRows, Nearest
from engine.retrieval.embedding import unit_rows


def plain(rows_CD, lesion_C, query_MD, own_M, k: int) -> Nearest:
    """All rows of the class in FAISS's order of similarity, ties by row; the first of each lesion but the own one."""
    found = Nearest.none(len(query_MD), k)
    index = faiss.IndexFlatIP(rows_CD.shape[1])
    index.add(rows_CD)
    for m, query_D in enumerate(query_MD):
        similarity, row = index.search(query_D[None], len(rows_CD))
        seen, place = {int(own_M[m])}, 0
        for at in np.lexsort((row[0], -similarity[0])):
            if place < k and int(lesion_C[row[0][at]]) not in seen:
                seen.add(int(lesion_C[row[0][at]]))
                found.row_MK[m, place], found.similarity_MK[m, place] = row[0][at], similarity[0][at]
                place += 1
    return found


def check(rows_CD, lesion_C, query_MD, own_M, k: int) -> None:
    expected = plain(rows_CD, lesion_C, query_MD, own_M, k)
    found = ClassRows(rows_CD, lesion_C).search(query_MD, own_M, k)
    np.testing.assert_array_equal(found.row_MK, expected.row_MK)
    np.testing.assert_array_equal(found.similarity_MK, expected.similarity_MK)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 900),
    lesions=st.integers(1, 900),
    width=st.sampled_from([1, 2, 8, 31, 128]),
    levels=st.sampled_from([1, 2, 1000]),
    k=st.integers(1, 7),
)
def test_rows_and_bits_are_those_of_faiss(seed, count, lesions, width, levels, k):
    """With few levels per coordinate most rows tie; with few lesions most rows are left out."""
    rng = np.random.default_rng(seed)
    rows_CD, query_MD = (
        unit_rows(rng.integers(-levels, levels + 1, size=(n, width))) for n in (count, rng.integers(0, 20))
    )
    own_M = rng.integers(-1, lesions, size=len(query_MD))
    check(rows_CD, rng.integers(0, lesions, size=count), query_MD, own_M, k)


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-7])
def test_rows_too_near_to_tell_by_products_alone_are_told_apart(spread, monkeypatch):
    """Rows within rounding of each other, over several tiles and blocks, with the last tile not full."""
    monkeypatch.setattr(class_rows, "TILE", 256)
    monkeypatch.setattr(class_rows, "QUERIES", 16)
    rng = np.random.default_rng(1)
    rows_CD = unit_rows(rng.normal(size=128) + spread * rng.normal(size=(1000, 128)))
    query_MD = unit_rows(rows_CD[:37] + spread * rng.normal(size=(37, 128)))
    check(rows_CD, rng.integers(0, 700, size=1000), query_MD, rng.integers(-1, 700, size=37), 5)


def test_a_lesion_with_most_of_the_images_hides_no_other():
    rng = np.random.default_rng(2)
    rows_CD = unit_rows(rng.normal(size=(600, 16)))
    lesion_C = np.where(np.arange(600) < 590, 0, np.arange(600) - 589)
    check(rows_CD, lesion_C, rows_CD[:5] + 0.0, np.full(5, -1), 4)


def test_a_result_does_not_depend_on_the_other_queries():
    rng = np.random.default_rng(3)
    rows = ClassRows(unit_rows(rng.normal(size=(3000, 32))), np.arange(3000))
    query_MD = unit_rows(rng.normal(size=(300, 32)))
    whole = rows.search(query_MD, np.full(300, -1), 10)
    alone = rows.search(query_MD[123:124], np.full(1, -1), 10)
    np.testing.assert_array_equal(whole.row_MK[123], alone.row_MK[0])
    np.testing.assert_array_equal(whole.similarity_MK[123], alone.similarity_MK[0])


def test_no_query_and_no_neighbour():
    rows = ClassRows(np.ones((1, 1), dtype=np.float32), np.zeros(1, dtype=np.int64))
    assert rows.search(np.zeros((0, 1), dtype=np.float32), np.zeros(0, dtype=np.int64), 2).row_MK.shape == (
        0,
        2,
    )
    found = rows.search(np.ones((1, 1), dtype=np.float32), np.zeros(1, dtype=np.int64), 2)
    assert found.row_MK.tolist() == [[MISSING, MISSING]] and np.isneginf(found.similarity_MK).all()
