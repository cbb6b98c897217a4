"""`hardcase export data`: real and accepted synthetic images in the layout of HAM10000, marked and traceable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console

from engine import build
from engine.artifacts import synthetic as synthetic_file
from engine.artifacts.csv_text import write_csv
from engine.artifacts.run_layout import foundation_role
from engine.artifacts.schema import REMEDY
from engine.commands.output_folder import new_folder
from engine.data.readers.rows import read_rows
from engine.errors import DataError
from engine.labelling.simulated import in_train
from engine.parts.dataset import Dataset, open_dataset
from engine.report.wording import PROTOCOLS, SIMULATED_TITLE, marks
from engine.store import RunFolder
from engine.types import ImageArray, LesionTable

METADATA = "HAM10000_metadata.csv"
COLUMNS = (
    "lesion_id", "image_id", "dx", "age", "sex", "localization", "skin_type", "patient_id", "split", "origin", "synthetic",
    "round", "parent_image_id", "neighbour_ids", "weights", "seed", "judge_p", "nearest_train_id", "nearest_train_distance",
    "policy", "checkpoint",
)  # fmt: skip
PERSON = ("age", "sex", "localization", "skin_type", "patient_id")
README = """# Exported by hardcase

Layout of HAM10000: `{metadata}` and `images/`. {real} real images as the run decoded them ({size} px) and {synthetic}
synthetic ones that passed the run's gates. Read it with `data.format=ham10000 data.root=THIS_FOLDER`.

- `origin` is real or synthetic, `synthetic` true or false; synthetic rows name parent, neighbours, weights and seed.
- A synthetic image carries the lesion id of its parent, so that a split by lesion keeps the two together. Its
  neighbours are other lesions: keep `split` (synthetic images are train only) when you evaluate anything.
- Synthetic images can reproduce patients: handle them as patient data, and under the licence of the real data
  (HAM10000: CC BY-NC 4.0; Tschandl, Rosendahl and Kittler, Scientific Data 5, 180161, 2018).
- A cell that begins like a formula has a single quote before it; hardcase takes it off when it reads this folder.
- Research data, not for decisions about a patient.
"""
LEAKY = """- {title}: synthetic images have test images as parents. What trains on them has seen the
  test part.
"""
SIMULATED_LINE = "- {title}: some real train images have labels that were hidden and uncovered again.\n"


def export_data(run: Path, out: Path, console: Console) -> pd.DataFrame:
    """Write images/ and HAM10000_metadata.csv into the new folder ``out``; returns the metadata.

    Raises:
        DataError: no run folder, its stage cache is gone, or ``out`` is not empty.
    """
    folder = build.open_run(run)
    dataset = open_dataset(*(folder.stage(foundation_role(name)).path for name in ("images", "split")))
    synthetic = accepted_images(folder)
    clash = sorted(set(synthetic["image_id"]) & set(dataset.table.image_id.tolist()))
    if clash:
        raise DataError(
            f"{run}: synthetic image {clash[0]} has the name of a real one; rename the real image"
        )
    frame = pd.concat([_real_rows(dataset), _synthetic_rows(dataset, synthetic)], ignore_index=True)[
        list(COLUMNS)
    ]
    leaky, simulated = folder.config.loop.mine_from == "test", in_train(run)
    with new_folder(out) as target:
        (target / "images").mkdir()
        for image_id, row in zip(dataset.table.image_id, dataset.rows, strict=True):
            _save(np.asarray(dataset.images_NHWC[row]), target / "images" / f"{image_id}.png")
        for image_id, path in zip(synthetic["image_id"], synthetic["path"], strict=True):
            _save(_pixels(folder.whole(Path(path))), target / "images" / f"{image_id}.png")
        write_csv(frame, target / METADATA)
        text = README.format(
            metadata=METADATA,
            real=len(dataset.table),
            synthetic=len(synthetic),
            size=folder.config.data.image_size,
        )
        if leaky:
            text += LEAKY.format(title=PROTOCOLS["leaky"][0])
        if simulated:
            text += SIMULATED_LINE.format(title=SIMULATED_TITLE)
        (target / "README.md").write_text(text, encoding="utf-8")
    mark = marks("leaky" if leaky else "", simulated=simulated)
    counts = f"{len(dataset.table)} real and {len(synthetic)} accepted synthetic images"
    console.print(f"{counts}{f' ({mark})' if mark else ''} in {out}")
    return frame


def _pixels(path: Path) -> ImageArray:
    """Return a published picture (H, W, 3) uint8; DataError where it is none, or unpacks to far more than it holds."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        said = " ".join(str(error).split())
        raise DataError(f"{path}: is no picture that can be read ({said}); {REMEDY}") from None


def synthetic_images(folder: Path) -> list[Path]:
    """Return the image files that the table of an exported folder calls synthetic; none where it is another folder's.

    ``folder`` is the export, or the images' own folder in it.

    Raises:
        DataError: the table cannot be read.
    """
    home = folder if (folder / METADATA).is_file() else folder.absolute().parent
    images = home / "images" if home == folder else folder
    if not (home / METADATA).is_file() or images.name != "images":
        return []
    frame = read_rows(home / METADATA)
    if not {"image_id", "origin", "synthetic"} <= set(frame.columns):
        return []
    return [images / f"{name}.png" for name in frame["image_id"][frame["origin"] == "synthetic"]]


def accepted_images(folder: RunFolder) -> pd.DataFrame:
    """Return the accepted rows of every round's synthetic.parquet, with ``image_id``, ``round`` and ``path``."""
    frames = []
    for number in folder.layout.round_numbers():
        home = folder.layout.round_folder(number)
        if not synthetic_file.SCHEMA.present(home):
            continue
        frame = synthetic_file.read_frame(home)
        frame = frame[frame["accepted"]].copy()
        paths = [str(home / synthetic_file.picture(name)) for name in frame["sample_id"]]
        frame["image_id"], frame["round"], frame["path"] = frame["sample_id"], number, paths
        frames.append(frame)
    if not frames:
        names = ("image_id", "round", "path", "parent_image_id", "dx", "seed")
        return pd.DataFrame({name: [] for name in names}, dtype=object)
    return pd.concat(frames, ignore_index=True)


def lesions_of(table: LesionTable) -> list[str]:
    """Return each image's lesion, or its own name where lesions are unknown (the layout wants one)."""
    return [str(lesion) or str(image) for lesion, image in zip(table.lesion_id, table.image_id, strict=True)]


def _real_rows(dataset: Dataset) -> pd.DataFrame:
    table = dataset.table
    return pd.DataFrame(
        {
            "lesion_id": lesions_of(table),
            **{k: getattr(table, k) for k in ("image_id", "dx", "split", *PERSON)},
            "origin": table.origin,
            "synthetic": ["true" if origin == "synthetic" else "false" for origin in table.origin],
        }
    ).reindex(columns=list(COLUMNS))  # fmt: skip


def _synthetic_rows(dataset: Dataset, synthetic: pd.DataFrame) -> pd.DataFrame:
    parents = dataset.table.take(dataset.positions(synthetic["parent_image_id"].to_numpy(dtype=np.str_)))
    lists = {
        name: [" ".join(map(str, filter(None, row))) for row in synthetic[name]]
        for name in ("neighbour_ids", "weights")
        if name in synthetic
    }
    return synthetic.assign(
        lesion_id=lesions_of(parents),
        **{name: getattr(parents, name) for name in PERSON},
        split="train",
        origin="synthetic",
        synthetic="true",
        round=[str(number) for number in synthetic["round"]],
        seed=[str(seed) for seed in synthetic["seed"]],
        **lists,
    ).reindex(columns=list(COLUMNS))


def _save(pixels_HWC: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels_HWC).save(path, optimize=False, compress_level=6)
