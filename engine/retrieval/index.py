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
from engine.retrieval.class_rows import MISSING, ClassRows
from engine.retrieval.embedding import Float32Array, unit_rows
from engine.types import FloatArray, IntArray, StrArray

__all__ = ["MISSING", "Found", "LesionIndex"]


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
        """Number the lesions, and list the rows of each class by image id: of equally similar rows the first is nearer."""
        self._searched: dict[tuple[str, int | None], ClassRows] = {}
        self._lesions, self._lesion_N = np.unique(self.lesion_id, return_inverse=True)
        by_id = np.argsort(self.image_id, kind="stable").astype(np.int64)
        dx_N = self.dx[by_id]
        self._rows = {str(dx): by_id[dx_N == dx] for dx in np.unique(self.dx)}

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
        found = Found(
            image_id_MK=np.full((len(query_MF), k), "", dtype=self.image_id.dtype),
            similarity_MK=np.full((len(query_MF), k), -np.inf, dtype=np.float32),
            row_MK=np.full((len(query_MF), k), MISSING, dtype=np.int64),
        )
        unit_MF, own_M = unit_rows(query_MF), self._lesion_numbers(np.asarray(lesion_ids, dtype=np.str_))
        dx_M = np.asarray(classes, dtype=np.str_)
        for dx in sorted(set(dx_M.tolist()) & set(self._rows)):
            asked = np.flatnonzero(dx_M == dx)
            nearest = self._class_rows(dx, level).search(unit_MF[asked], own_M[asked], k)
            row_MK = np.where(nearest.row_MK == MISSING, MISSING, self._rows[dx][nearest.row_MK])
            found.row_MK[asked], found.similarity_MK[asked] = row_MK, nearest.similarity_MK
            found.image_id_MK[asked] = np.where(row_MK == MISSING, "", self.image_id[row_MK])
        return found

    def _lesion_numbers(self, lesion_ids: StrArray) -> IntArray:
        """Return the number of each lesion, -1 where the index has no image of it."""
        place_M = np.minimum(np.searchsorted(self._lesions, lesion_ids), len(self._lesions) - 1)
        known_M = (self._lesions[place_M] == lesion_ids) & (lesion_ids != "")
        return np.where(known_M, place_M, -1)

    def _class_rows(self, dx: str, level: int | None) -> ClassRows:
        """Return the rows of a class by all levels or one, copied when they are first searched."""
        if (dx, level) not in self._searched:
            index = self._fused if level is None else self._levels[level]
            rows = self._rows[dx]
            self._searched[dx, level] = ClassRows(index.reconstruct_batch(rows), self._lesion_N[rows])
        return self._searched[dx, level]


def _flat(rows_NF: FloatArray | npt.NDArray[Any]) -> Any:
    rows = unit_rows(rows_NF)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(np.ascontiguousarray(rows))
    return index
