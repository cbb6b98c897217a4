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
    """Writes rows of ``images.npy`` as PNG files, those that are not there; ``sample_id`` names them."""

    folder: Path
    sample_id: tuple[str, ...]

    def load(self) -> Callable[[IntArray], IntArray]:
        """Open the images; return the function from rows to how many files were written."""
        images = synthesized.open_images(self.folder)

        def write(rows: IntArray) -> IntArray:
            paths = {row: self.folder / synthetic.picture(self.sample_id[row]) for row in rows.tolist()}
            missing = {row: path for row, path in paths.items() if not path.exists()}
            for row, path in missing.items():
                save_png(images[row], path)
            return np.array([len(missing)])

        return write


def write_pictures(context: StageContext, sample_id: Sequence[str]) -> None:
    """Write one PNG per sample of ``images.npy`` in ``context.out``."""
    (context.out / synthesized.PICTURES).mkdir()
    worker = PictureWorker(context.out, tuple(sample_id))
    rows = np.arange(len(worker.sample_id))
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    if len(rows) >= MANY:
        for _ in context.map(worker, chunks, "pictures"):
            pass
    write = worker.load()
    for (
        chunk
    ) in chunks:  # all of few; of many those that an attempt before this one had written to its own folder
        write(chunk)
