"""Writes a round's samples as PNG files: by the map's workers where there are many, for one process takes hours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.artifacts import synthesized, synthetic
from engine.diffusion.synthesis import save_png
from engine.parts.context import StageContext
from engine.types import IntArray

MANY: Final = 4096
"""So many samples are worth the seconds that a map takes to begin."""
CHUNK: Final = 256


@dataclass(frozen=True)
class PictureWorker:
    """Writes rows of ``images.npy`` as PNG files; ``sample_id`` names them."""

    folder: Path
    sample_id: tuple[str, ...]

    def load(self) -> Callable[[IntArray], IntArray]:
        """Open the images; return the function from rows to how many files were written."""
        images = synthesized.open_images(self.folder)

        def write(rows: IntArray) -> IntArray:
            for row in rows.tolist():
                save_png(images[row], self.folder / synthetic.picture(self.sample_id[row]))
            return np.array([len(rows)])

        return write


def write_pictures(context: StageContext, sample_id: Sequence[str]) -> None:
    """Write one PNG per sample of ``images.npy`` in ``context.out``."""
    folder = context.out / synthesized.PICTURES
    folder.mkdir()
    worker = PictureWorker(context.out, tuple(sample_id))
    rows = np.arange(len(worker.sample_id))
    if len(rows) >= MANY:
        chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
        for _ in context.map(worker, chunks, "pictures"):
            pass
    there = {path.name for path in folder.iterdir()}
    # all of few; of many those whose chunks an attempt before this one had made, in a folder of its own
    left = [row for row in rows if Path(synthetic.picture(worker.sample_id[row])).name not in there]
    worker.load()(np.array(left, dtype=np.int64))
