"""Exact search over the embeddings of train lesions with FAISS: fused and level by level, inside one class.

Shape legend: N train images, M queries, L levels, D width, F fused width, K neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from engine.artifacts import index as index_file
from engine.artifacts.index import IndexIds
from engine.errors import DataError
from engine.retrieval.embedding import Float32Array, unit_rows
from engine.types import FloatArray, IntArray, StrArray

MISSING = -1
"""Row number of a neighbour that does not exist."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """K neighbours of M queries, most similar first; where fewer exist: id "", similarity -inf, row MISSING."""

    image_id_MK: StrArray
    similarity_MK: Float32Array
    row_MK: IntArray


class LesionIndex:
    """Train images by fused embedding and by single level; similarity is the cosine."""

    def __init__(
        self,
        *,
        image_id: StrArray,
        lesion_id: StrArray,
        dx: StrArray,
        fused_NF: FloatArray,
        levels_NLD: FloatArray,
    ) -> None:
        """Index N rows; ``fused_NF`` and every level are scaled to unit rows for search."""
        faiss.omp_set_num_threads(1)
        self.image_id, self.lesion_id, self.dx = image_id, lesion_id, dx
        self.levels_NLD = levels_NLD
        self._fused = _flat(fused_NF)
        self._levels = [_flat(levels_NLD[:, position]) for position in range(levels_NLD.shape[1])]
        self._set_up()

    def _set_up(self) -> None:
        """Rows by class, and how often the most photographed lesion of a class appears."""
        self._rows = {str(dx): np.flatnonzero(self.dx == dx).astype(np.int64) for dx in np.unique(self.dx)}
        self._most = {
            dx: int(np.unique(self.lesion_id[rows], return_counts=True)[1].max())
            for dx, rows in self._rows.items()
        }

    def __len__(self) -> int:
        return len(self.image_id)

    def save(self, folder: Path) -> None:
        """Write levels.npy, fused.npy, ids.parquet, fused.faiss and level_<k>.faiss (k from 0, lowest first)."""
        index_file.write_arrays(self._fused.reconstruct_n(0, len(self)), self.levels_NLD, folder)
        index_file.write(IndexIds(image_id=self.image_id, lesion_id=self.lesion_id, dx=self.dx), folder)
        faiss.write_index(self._fused, str(folder / index_file.FUSED_FAISS))
        for level, one in enumerate(self._levels):
            faiss.write_index(one, str(folder / index_file.LEVEL_FAISS.format(level=level)))

    @classmethod
    def load(cls, folder: Path) -> LesionIndex:
        """Open what ``save`` wrote.

        Raises:
            DataError: a file is missing or broken, or they disagree in length; names the folder.
        """
        faiss.omp_set_num_threads(1)
        index = cls.__new__(cls)
        try:
            ids = index_file.read(folder)
            index.levels_NLD = index_file.open_levels(folder)
            index._fused = faiss.read_index(str(folder / index_file.FUSED_FAISS))
            index._levels = [
                faiss.read_index(str(folder / index_file.LEVEL_FAISS.format(level=level)))
                for level in range(index.levels_NLD.shape[1])
            ]
        except (DataError, OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"index {folder}: cannot be read ({error}); delete the folder and rerun"
            ) from error
        index.image_id, index.lesion_id, index.dx = ids.image_id, ids.lesion_id, ids.dx
        lengths = {
            len(index),
            len(index.levels_NLD),
            index._fused.ntotal,
            *(one.ntotal for one in index._levels),
        }
        if len(lengths) > 1:
            raise DataError(
                f"index {folder}: its files hold {sorted(lengths)} rows; delete the folder and rerun"
            )
        index._set_up()
        return index

    def search(
        self,
        query_MF: FloatArray,
        classes: Sequence[str] | StrArray,
        lesion_ids: Sequence[str] | StrArray,
        k: int,
        level: int | None = None,
    ) -> Found:
        """Return the nearest train images of each query's class, one a lesion, never of the query's own lesion.

        Of equally similar images the one with the smaller image id comes first.

        Args:
            query_MF: (M, F) fused queries, or (M, D) embeddings of one level; scaled to unit rows here.
            classes: class of each query; a class the index does not hold gives no neighbours.
            lesion_ids: lesion of each query ("" for none).
            k: neighbours per query, >= 1.
            level: search this level (0 the lowest) instead of the fused embedding.
        """
        index = self._fused if level is None else self._levels[level]
        found = Found(
            image_id_MK=np.full((len(query_MF), k), "", dtype=self.image_id.dtype),
            similarity_MK=np.full((len(query_MF), k), -np.inf, dtype=np.float32),
            row_MK=np.full((len(query_MF), k), MISSING, dtype=np.int64),
        )
        for m, query_F in enumerate(unit_rows(query_MF)):
            rows, similarity = self._nearest(index, query_F, str(classes[m]), str(lesion_ids[m]), k)
            found.row_MK[m, : len(rows)] = rows
            found.similarity_MK[m, : len(rows)] = similarity
            found.image_id_MK[m, : len(rows)] = self.image_id[rows]
        return found

    def _nearest(
        self, index: Any, query_F: Float32Array, dx: str, lesion: str, k: int
    ) -> tuple[IntArray, Float32Array]:
        """Rows and similarities of at most k distinct lesions; asks FAISS for more until no tie is cut."""
        allowed = self._rows.get(dx, np.zeros(0, dtype=np.int64))
        ask = min(len(allowed), (k + 1) * self._most.get(dx, 0) + 1)
        while ask:
            selector = _within(allowed)
            similarity_1A, row_1A = index.search(query_F[None], ask, params=selector)
            order = np.lexsort((self.image_id[row_1A[0]], -similarity_1A[0]))
            row_A, similarity_A = row_1A[0][order], similarity_1A[0][order]
            kept = self._one_a_lesion(row_A, lesion, k)
            cut = len(kept) == k and similarity_A[kept[-1]] == similarity_A[-1]
            if ask == len(allowed) or not cut:
                return row_A[kept], similarity_A[kept]
            ask = min(len(allowed), 2 * ask)
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)

    def _one_a_lesion(self, row_A: IntArray, own_lesion: str, k: int) -> list[int]:
        """Positions in ``row_A`` of the first k rows of lesions not seen before, the own one left out."""
        seen, kept = {own_lesion} - {""}, list[int]()
        for position, row in enumerate(row_A):
            lesion = str(self.lesion_id[row])
            if lesion not in seen and len(kept) < k:
                seen.add(lesion)
                kept.append(position)
        return kept


def _flat(rows_NF: FloatArray | npt.NDArray[Any]) -> Any:
    rows = unit_rows(rows_NF)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(np.ascontiguousarray(rows))
    return index


def _within(allowed: IntArray) -> Any:
    """FAISS parameters that restrict a search to the given rows."""
    parameters: Any = faiss.SearchParameters
    return parameters(sel=faiss.IDSelectorBatch(allowed))
