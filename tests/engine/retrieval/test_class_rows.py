"""The search inside one class gives the rows and the bits of FAISS's flat index, asked query by query."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.retrieval import class_rows, products
from engine.retrieval.class_rows import MISSING, ClassRows, Nearest
from engine.retrieval.embedding import unit_rows
from engine.retrieval.products import Bf16Products, Products


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
    """Both by float32 and by coarse products, on whatever processor."""
    expected = plain(rows_CD, lesion_C, query_MD, own_M, k)
    for coarse in (False, True):
        found = class_rows_of(rows_CD, lesion_C, coarse).search(query_MD, own_M, k)
        np.testing.assert_array_equal(found.row_MK, expected.row_MK)
        np.testing.assert_array_equal(found.similarity_MK, expected.similarity_MK)


def class_rows_of(rows_CD, lesion_C, coarse: bool) -> ClassRows:
    found = ClassRows(rows_CD, lesion_C)
    found._coarse = Bf16Products(found._rows_CD, found.count) if coarse else None
    return found


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
    monkeypatch.setattr(products, "TILE", 256)
    monkeypatch.setattr(class_rows, "QUERIES", 16)
    rng = np.random.default_rng(1)
    rows_CD = unit_rows(rng.normal(size=128) + spread * rng.normal(size=(1000, 128)))
    query_MD = unit_rows(rows_CD[:37] + spread * rng.normal(size=(37, 128)))
    check(rows_CD, rng.integers(0, 700, size=1000), query_MD, rng.integers(-1, 700, size=37), 5)


@pytest.mark.parametrize("centre", [0.0, 1.0, 5.0])
def test_coarse_products_find_what_float32_finds(centre, monkeypatch):
    """Also where all rows of the class point much the same way, as real embeddings do; none falls back on float32."""
    monkeypatch.setattr(products, "TILE", 2048)
    rng = np.random.default_rng(4)
    middle = centre * rng.normal(size=64)
    rows_CD = unit_rows(middle + rng.normal(size=(5000, 64)))
    query_MD, own_M = unit_rows(middle + rng.normal(size=(40, 64))), rng.integers(-1, 3000, size=40)
    lesion_C = rng.integers(0, 3000, size=5000)
    check(rows_CD, lesion_C, query_MD, own_M, 10)
    rows = class_rows_of(rows_CD, lesion_C, coarse=True)
    rows.search(query_MD, own_M, 10)
    assert rows._coarse is not None


def test_coarse_products_that_cannot_tell_are_given_up():
    """Queries that point away from all rows, and rows within the error of each other."""
    rng = np.random.default_rng(5)
    rows_CD = unit_rows(rng.normal(size=32) + 1e-4 * rng.normal(size=(5000, 32)))
    away = unit_rows(np.ones((5000, 32)) + 0.01 * rng.random((5000, 32)))
    for rows, query_MD in ((rows_CD, rows_CD[:5]), (away, -away[:5])):
        check(rows, np.arange(5000), query_MD, np.full(5, -1), 3)


def test_one_strange_block_of_queries_does_not_end_coarse_products():
    rng = np.random.default_rng(7)
    rows = class_rows_of(unit_rows(rng.normal(size=(5000, 32))), np.arange(5000), coarse=True)
    query_MD, own_M = unit_rows(rng.normal(size=(5, 32))), np.full(5, -1)
    used = []
    for failing in (True, False, True, True):
        rows.search(np.zeros((5, 32), dtype=np.float32) if failing else query_MD, own_M, 3)
        used.append(rows._coarse is not None)
    assert used == [True, True, True, False]


@pytest.mark.parametrize("width", [1, 16, 512])
def test_a_product_lies_within_its_error(width):
    rng = np.random.default_rng(width)
    rows_CD = np.zeros((512, width), dtype=np.float32)
    rows_CD[:500] = unit_rows(0.5 + rng.normal(size=(500, width)))
    query_MD = unit_rows(rng.normal(size=(20, width)))
    true_MC = query_MD.astype(np.float64) @ rows_CD[:500].T.astype(np.float64)
    for kind in (Products, Bf16Products):
        found = kind(rows_CD, 500)
        (tile,) = found.tiles(query_MD, 16)
        bottom = np.full(20, -np.inf, dtype=np.float32)
        query_P, row_P, product_P = tile.at_least(np.full((20, 32), np.inf, dtype=np.float32), bottom)
        inside = row_P < 500
        assert inside.sum() == 20 * 500
        value_P = product_P[inside] + found.offset(query_MD)[query_P[inside]]
        apart = np.abs(value_P - true_MC[query_P[inside], row_P[inside]]).max()
        assert apart < found.error(query_MD).min() and (width == 1 or apart > 0), kind


def test_the_largest_of_a_group_is_its_largest_product():
    rng = np.random.default_rng(6)
    rows_CD, query_MD = (unit_rows(rng.normal(size=(n, 8))) for n in (1024, 30))
    (tile,) = Bf16Products(rows_CD, 1024).tiles(query_MD, 16)
    values = (tile.value_BIG.astype(np.uint32) << 16).view(np.float32)
    known = values.max(axis=1) > 0
    assert known.mean() > 0.9
    np.testing.assert_array_equal(tile.largest()[known], values.max(axis=1)[known])
    assert (tile.largest()[~known] <= 0).all()


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
