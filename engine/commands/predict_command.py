"""`hardcase predict`: a run's classifier on image files, as CSV or parquet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rich.console import Console

from engine import build
from engine.commands.classified_rows import require_writable, said_of, write_rows
from engine.commands.finished_run import Chosen, choose, local
from engine.data.readers.exported import synthetic_files
from engine.data.readers.files import find_files
from engine.data.readers.image_names import (
    FRAMES,
    HIDDEN,
    IMAGE_SUFFIXES,
    MAPS,
    MASKS,
    left_out_line,
    require_unicode,
    sort_out,
)
from engine.errors import DataError
from engine.types import FloatArray, ImageArray

if TYPE_CHECKING:
    from engine.artifacts.calibration import Calibration

CHUNK = 32
SHOWN = 5
RESOURCE_FORK = "._"
"""How macOS names its own half of a file on other disks."""


def predict(
    run: Path,
    images: Sequence[Path],
    console: Console,
    *,
    csv_path: Path | None = None,
    parquet_path: Path | None = None,
    round_number: int | None = None,
    arm: str | None = None,
    skip_bad: bool = False,
) -> pd.DataFrame:
    """Write one row per image: image_id, file, p_<dx>..., predicted, malignant_score, above_threshold.

    ``csv_path`` and ``parquet_path`` get the same columns and values; None: not that file.

    Raises:
        DataError: a bad run folder, no image found, or images that cannot be read (named) without ``skip_bad``.
    """
    require_writable(csv_path, parquet_path)
    frame, chosen = predicted(run, images, console, round_number=round_number, arm=arm, skip_bad=skip_bad)
    where = write_rows(frame, csv_path, parquet_path)
    console.print(f"{len(frame)} predictions of {chosen.marked} in {where}")
    console.print("research software, not a medical device; never for decisions about a patient", style="dim")
    return frame


def predicted(
    run: Path,
    images: Sequence[Path],
    console: Console,
    *,
    round_number: int | None = None,
    arm: str | None = None,
    skip_bad: bool = False,
) -> tuple[pd.DataFrame, Chosen]:
    """Return the rows of ``predict``, and the classifier they are of; ``console`` is told what was left out.

    Raises:
        DataError: as ``predict``.
    """
    chosen = choose(run, round_number, arm)
    found, left_out = find_images(images)
    files, synthetic = real_images(found, images)
    if synthetic:
        console.print(
            f"{synthetic} synthetic images of an exported folder are left out; give their files to have them classified",
            style="yellow",
        )
    good, bad, pixels_NHWC, several = read_images(files, *_geometry(chosen))
    if bad and not skip_bad:
        named = "\n".join(f"  {line}" for line in bad[:SHOWN])
        more = f"\n  and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise DataError(
            f"{len(bad)} of {len(files)} images cannot be read; replace them or give --skip-bad\n{named}{more}"
        )
    for line in bad:
        console.print(f"skipped {line}", style="yellow")
    counts = {"that cannot be read": len(bad), **left_out, FRAMES: several}
    if any(counts.values()):
        console.print(f"left out {left_out_line(counts)}", style="yellow")
    if not good:
        raise DataError(f"none of the {len(files)} images can be read; nothing written")
    return table(good, probabilities(chosen, pixels_NHWC), chosen.calibration), chosen


def find_images(given: Sequence[Path]) -> tuple[list[Path], dict[str, int]]:
    """Return the files given and, for folders, every image below them, sorted; each once.

    Masks and maps are left out, also where they are named themselves (``IMAGES/*`` in a shell names all), and counted
    with the hidden files, by what they are.

    Raises:
        DataError: a path does not exist or is no plain file, a folder holds no image, or nothing is left.
    """
    found: dict[Path, None] = {}
    named: list[Path] = []
    counts: Counter[str] = Counter()
    for path in given:
        if path.is_dir():
            files = find_files(path)
            counts.update({**files.left_out, MASKS: len(files.masks)})
            if not files.images:
                raise DataError(
                    f"{path}: holds no image ({', '.join(IMAGE_SUFFIXES)}){_beside(counts)}; "
                    "give image files or another folder"
                )
            found |= dict.fromkeys(files.images)
        elif path.is_file():
            named.append(path)
            found[path] = None
        elif path.exists():
            raise DataError(
                f"{path}: is no plain file (a pipe, socket or device); give image files or folders"
            )
        else:
            raise DataError(f"{path}: does not exist; give image files or folders of images")
    require_unicode(named)
    visible = [path for path in named if not path.name.startswith(RESOURCE_FORK)]
    sorted_out = sort_out(visible)
    counts[HIDDEN] += len(named) - len(visible)
    counts.update({MASKS: len(sorted_out.masks), MAPS: len(sorted_out.maps)})
    no_images = {*named} - {*sorted_out.images}
    left = [path for path in found if path not in no_images]
    if not left:
        raise DataError(f"none of the files given is an image{_beside(counts)}; give image files or folders")
    return left, counts


def _beside(counts: Mapping[str, int]) -> str:
    line = left_out_line(counts)
    return f", but {line}" if line else ""


def real_images(files: Sequence[Path], given: Sequence[Path]) -> tuple[list[Path], int]:
    """Leave out what the table of an exported folder calls synthetic, unless the file itself was given; return how many.

    Raises:
        DataError: nothing is left, or the table of such a folder is damaged.
    """
    exported = [synthetic_files(folder, files) for folder in given if folder.is_dir()]
    synthetic = set().union(*exported) - {path.absolute() for path in given}
    real = [path for path in files if path.absolute() not in synthetic]
    if not real:
        raise DataError(f"{given[0]}: holds synthetic images alone; give their files to have them classified")
    return real, len(files) - len(real)


def read_images(files: Sequence[Path], size: int, fit: str) -> tuple[list[Path], list[str], ImageArray, int]:
    """Decode files as the run's own images were.

    Returns:
        The good files, one line for each bad one, the good files' pixels (n, size, size, 3) uint8, and how many of them
        have more frames than the first, which is read.
    """
    from engine.data.decoding import image_square, open_image

    good, bad, pixels, several = [], [], [], 0
    for path in files:
        try:
            picture = open_image(path, size)
            pixels.append(image_square(picture, size, fit))
        except OSError as error:
            bad.append(f"{path}: {error}")
            continue
        good.append(path)
        several += picture.several
    stacked = np.stack(pixels) if pixels else np.zeros((0, size, size, 3), dtype=np.uint8)
    return good, bad, stacked, several


def probabilities(chosen: Chosen, pixels_NHWC: ImageArray) -> FloatArray:
    """Return calibrated probabilities (N, C) in float64, in fixed chunks of 32 as everywhere."""
    import torch

    from engine.classifier.predict import chunk_logits, softmax
    from engine.classifier.weights import load_classifier
    from engine.training.layout import memory_format

    config = local(chosen.run.config)
    torch.set_num_threads(config.backend.threads)
    device = build.choose_device(config.backend)
    model, meta = load_classifier(chosen.weights)
    model.to(device).to(memory_format=memory_format(device))
    starts = range(0, len(pixels_NHWC), CHUNK)
    logits = [chunk_logits(model, meta, pixels_NHWC[i : i + CHUNK], device) for i in starts]
    return softmax(np.concatenate(logits).astype(np.float64), chosen.calibration.temperature)


def table(files: Sequence[Path], prob_NC: FloatArray, calibration: Calibration) -> pd.DataFrame:
    """Return the rows of the CSV; malignant columns are empty where the run has no malignant class or threshold."""
    names = pd.DataFrame({"image_id": _names(files), "file": [str(path) for path in files]})
    return pd.concat([names, said_of(prob_NC, calibration)], axis=1)


def _names(files: Sequence[Path]) -> list[str]:
    """File names without ending where that tells the files apart, else their whole paths."""
    stems = [path.stem for path in files]
    return stems if len(set(stems)) == len(stems) else [path.with_suffix("").as_posix() for path in files]


def _geometry(chosen: Chosen) -> tuple[int, str]:
    return chosen.run.config.data.image_size, chosen.run.config.data.fit
