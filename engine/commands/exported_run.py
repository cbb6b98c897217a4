"""What `hardcase export data` tells of a run: one typed row per image, its pixels, and what a reader must be warned of.

Shape legend: H height, W width.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from engine import __version__, build
from engine.artifacts import champion
from engine.artifacts.run_layout import foundation_role
from engine.artifacts.schema import REMEDY
from engine.commands.exported_rows import real_rows, synthetic_rows, typed
from engine.diffusion.synthesis import save_png
from engine.errors import DataError
from engine.labelling.simulated import in_train
from engine.parts.dataset import Dataset, open_dataset
from engine.report.wording import PROTOCOLS, SIMULATED_TITLE, marks
from engine.store import RunFolder
from engine.types import SPLITS, ImageArray

LICENCE: Final = (
    "that of the real images, for synthetic ones too (HAM10000: CC BY-NC 4.0; Tschandl et al. 2018)"
)
WARNINGS: Final = (
    "Synthetic images are for training: they are in the part train alone. Never test on them.",
    "A synthetic image has the lesion id of its parent, and its neighbours are other lesions: keep the parts as they are.",
    "Synthetic images can reproduce patients: handle them as patient data, and under the licence of the real data "
    "(HAM10000: CC BY-NC 4.0; Tschandl, Rosendahl and Kittler, Scientific Data 5, 180161, 2018).",
    "Val chose the champion and fixed its temperature and operating point; probabilities on val flatter it.",
    "Research data, not for decisions about a patient.",
)
LEAKY: Final = (
    "{title}: synthetic images have test images as parents. What trains on them has seen the test part."
)
SIMULATED: Final = "{title}: some real train images have labels that were hidden and uncovered again."


@dataclass(frozen=True, kw_only=True)
class ExportedRun:
    """A run's images, real ones first: ``table`` has a row per image, with the columns of ``exported_rows``."""

    folder: RunFolder
    dataset: Dataset
    table: pa.Table
    synthetic_files: dict[str, Path]

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The rows as JSON objects."""
        return list(self.table.to_pylist())

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of lists of probabilities."""
        return self.dataset.classes

    @property
    def side(self) -> int:
        """Height and width of every image in pixels."""
        return self.folder.config.data.image_size

    @property
    def n_real(self) -> int:
        """Number of real images."""
        return len(self.dataset.table)

    @property
    def n_synthetic(self) -> int:
        """Number of synthetic images."""
        return len(self.synthetic_files)

    def parts(self) -> list[str]:
        """Return the parts that hold an image: train, mine, val, test."""
        there = {record["split"] for record in self.records}
        return [part for part in SPLITS if part in there]

    def rows_of(self, part: str) -> list[int]:
        """Return the rows of a part."""
        return [row for row, record in enumerate(self.records) if record["split"] == part]

    def pixels(self, row: int) -> ImageArray:
        """Return an image's pixels (H, W, 3) uint8 as the run decoded or made it.

        Raises:
            DamagedError: a synthetic image's file differs from its checksum.
            DataError: it is no picture, or unpacks to far more than it holds.
        """
        if row < self.n_real:
            return np.asarray(self.dataset.images_NHWC[self.dataset.rows[row]])
        file = self.synthetic_files[self.records[row]["image_id"]]
        try:
            with Image.open(self.folder.whole(file)) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            said = " ".join(str(error).split())
            raise DataError(f"{file}: is no picture that can be read ({said}); {REMEDY}") from None

    def png(self, row: int) -> bytes:
        """Return an image as PNG that holds pixels alone."""
        buffer = io.BytesIO()
        save_png(self.pixels(row), buffer)
        return buffer.getvalue()

    def lesion_mask(self, row: int) -> ImageArray | None:
        """Return a real image's mask (H, W), 0 or 255, if the data set drew it; None: found by Otsu, or synthetic."""
        facts = self.dataset.facts
        if row >= self.n_real or facts.masks_degenerate or self.folder.config.data.mask != "file":
            return None
        every = facts.masks.get("file", 0) == facts.n_images
        if not every and not self.dataset.table.mask_path[row]:
            return None
        return np.asarray(self.dataset.masks_NHW[self.dataset.rows[row]])

    @property
    def leaky(self) -> bool:
        """Whether hard cases were mined from the test part."""
        return self.folder.config.loop.mine_from == "test"

    @property
    def simulated(self) -> bool:
        """Whether an oracle labelled real train images."""
        return in_train(self.folder.path)

    @property
    def mark(self) -> str:
        """LEAKY and SIMULATED LABELS where they hold, else ""."""
        return marks("leaky" if self.leaky else "", simulated=self.simulated)

    @property
    def warnings(self) -> list[str]:
        """Sentences that belong to the data wherever it goes."""
        found = list(WARNINGS)
        found += [LEAKY.format(title=PROTOCOLS["leaky"][0])] if self.leaky else []
        found += [SIMULATED.format(title=SIMULATED_TITLE)] if self.simulated else []
        return found

    def facts(self) -> dict[str, Any]:
        """Return what holds for all images, as a JSON object."""
        config = self.folder.config
        crowned = champion.read_if_crowned(self.folder.path)
        return {
            "made_by": f"hardcase {__version__}",
            "run": config.name,
            "seed": config.seed,
            "loop_seed": config.loop.seed,
            "generator": config.synthesis.generator,
            "champion": None if crowned is None else {"round": crowned.round, "arm": crowned.arm},
            "classes": list(self.classes),
            "malignant": list(config.data.malignant),
            "image_size": self.side,
            "n_real": self.n_real,
            "n_synthetic": self.n_synthetic,
            "licence": LICENCE,
            "warnings": self.warnings,
        }


def open_exported(run: Path, *, rejected: bool = False) -> ExportedRun:
    """Open a run for export; ``rejected``: with the synthetic images that may not train.

    Raises:
        DataError: no run folder, its stage cache is gone, or a synthetic image has the name of a real one.
    """
    folder = build.open_run(run)
    dataset = open_dataset(*(folder.stage(foundation_role(name)).path for name in ("images", "split")))
    made = synthetic_rows(folder, dataset, rejected=rejected)
    clash = sorted(set(made["image_id"]) & set(dataset.table.image_id.tolist()))
    if clash:
        raise DataError(
            f"{run}: synthetic image {clash[0]} has the name of a real one; rename the real image"
        )
    rows = [frame.astype(object) for frame in (real_rows(folder, dataset), made)]  # a seed is no float
    frame = pd.concat(rows, ignore_index=True)
    return ExportedRun(
        folder=folder,
        dataset=dataset,
        table=typed(frame, dataset.classes),
        synthetic_files=dict(zip(made["image_id"], made["path"], strict=True)),
    )
