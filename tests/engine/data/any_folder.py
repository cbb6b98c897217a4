"""Random folders as people keep them: tables, class folders, odd names and damaged images, all made from one seed.

Plain ``random`` makes a folder ten times faster than composed strategies; hypothesis draws the seed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

import pandas as pd
from PIL import Image

# fmt: off
STEMS = ("a", "B", "ISIC_0000001", "ISIC_0000002", "1", "007", "x y", "é", "a.b", "-c", "=d", "[/b]e", "$HOME", "~f", "%s",
         "p#?")
FOLDERS = ("", "images", "imgs_part_1", "imgs_part_2", "2021/05", "__MACOSX", ".hidden", "masks", "Pat 7", "x" * 60)
CLASSES = ("mel", "nv", "MEL", "melanoma", "Nevus", "0", "1", "1.0", "[/b]x", "=1+1", "a\nb: c", "../../etc", "NULL",
           "unknown", "", "Nävus", "bcc", "no", "x" * 300, "\x1b[2J", "{a: b}", "# c")
SPLITS = ("train", "test", "val")
ENDINGS = (".jpg", ".jpg", ".JPG", ".png", ".png", ".jpeg", ".tif", ".bmp", ".gif", "_segmentation.png", "_superpixels.png",
           ".txt", "")
LABELS = ("dx", "label", "diagnosis", "Diagnóstico", "benign_malignant", "target", "class", "Befund", "")
IMAGES = ("image", "image_id", "isic_id", "img_id", "md5hash", "filename", "Bild", "path", "foo")
OTHERS = ("lesion_id", "patient_id", "age", "sex", "localization", "split", "fitzpatrick", "site", "Edad", "pixel0000",
          "dx_type", "MEL", "NV", "melanoma", "seborrheic_keratosis", "x", "", "age")
CELLS = ("", "0", "1", "0.0", "-1", "85+", "unknown", "train", "male", "back", "mel", "L1", "L2", "P1", "P2", "P3", "P4")
ODD = ("1e400", "nan", "../a.jpg", "/etc/passwd", "C:\\a.jpg", "a.jpg,b.jpg", "é" * 120, "[/b]", "=cmd|' /C calc'!A0",
       "\x00", "\ufeff", "\u202egpj.a", "a\nb", "'", '"')
TABLES = ("list.csv", "metadata.csv", "HAM10000_metadata.csv", "x_GroundTruth.csv", "sub/y_GroundTruth.csv", "meta/meta.csv",
          "t.tsv", "hmnist_1.csv", "train-metadata.csv", "t.parquet", "Datei 1.csv")
KINDS = ("whole", "grey", "alpha", "palette", "deep", "bits", "cmyk", "cut", "float", "frames", "empty", "text", "dicom")
# fmt: on


def make(root: Path, seed: int) -> None:
    """Fill the new folder ``root``: class folders, a table beside images, or anything at all; then make a part of it odd."""
    rng = Random(seed)
    kind = rng.choice(("table", "table", "folders", "noise"))
    names: list[str] = []
    tops = rng.sample(CLASSES, 3) if rng.random() < 0.5 else CLASSES[:2]
    for _ in range(rng.choice((rng.randint(0, 9), 16))):
        top = rng.choice(tops) if kind == "folders" else rng.choice(FOLDERS)
        if kind == "folders" and rng.random() < 0.1:
            top = f"{rng.choice(SPLITS)}/{top}"
        stem = rng.choice(STEMS) + (str(rng.randint(0, 99)) if rng.random() < 0.9 else "")
        name = f"{top}/{stem}{rng.choice(ENDINGS[:4] if rng.random() < 0.9 else ENDINGS)}".lstrip("/")
        if _write(root / name, _image(rng.choice(KINDS) if rng.random() < 0.05 else "whole")):
            names.append(name)
    for _ in range(1 if kind == "table" else rng.choice((0, 0, 1, 2))):
        _write(root / (table := rng.choice(TABLES)), _table(rng, table, names))


def _table(rng: Random, name: str, images: Sequence[str]) -> bytes:
    """Return a table that names the images, with some cells and columns that it should not have."""
    columns = [rng.choice(IMAGES), rng.choice(LABELS), *rng.sample(OTHERS, rng.randint(0, 4))]
    classes = rng.sample(CLASSES, rng.randint(1, 3)) if rng.random() < 0.5 else list(CLASSES[:2])
    bare = rng.random() < 0.5
    rows = []
    for image in [*images, *rng.sample(STEMS, rng.choice((0, 0, 0, 1, 2)))]:
        row = [
            Path(image).stem if bare else image,
            rng.choice(classes),
            *rng.choices(CELLS, k=len(columns) - 2),
        ]
        if rng.random() < 0.02:
            row[rng.randrange(len(row))] = rng.choice(ODD)
        rows += [row] * (2 if rng.random() < 0.01 else 1)
    if rng.random() < 0.1:
        rng.shuffle(columns)
    if name.endswith(".parquet"):
        buffer = io.BytesIO()
        names = [f"{k}{c}" if columns.count(c) > 1 else c for k, c in enumerate(columns)]
        pd.DataFrame(rows, columns=names).to_parquet(buffer)
        return buffer.getvalue()
    text = io.StringIO()
    separator = "\t" if name.endswith("tsv") else rng.choice("," * 20 + ";|")
    writer = csv.writer(text, delimiter=separator, quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
    writer.writerows([columns, *rows] if rng.random() < 0.95 else rows)
    found = text.getvalue().encode(
        rng.choice(("utf-8",) * 20 + ("utf-8-sig", "latin-1", "utf-16")), "replace"
    )
    return found if rng.random() < 0.97 else found[: rng.randrange(len(found) + 1)]


@cache
def _image(kind: str) -> bytes:
    """Return the bytes of a small picture, or of what only looks like one."""
    modes = {"whole": "RGB", "grey": "L", "alpha": "RGBA", "palette": "P", "deep": "I;16", "bits": "1"}
    buffer = io.BytesIO()
    if kind in modes:
        Image.new(modes[kind], (5, 4)).save(buffer, "PNG")
    elif kind in ("cmyk", "cut"):
        Image.new("CMYK" if kind == "cmyk" else "RGB", (5, 4)).save(buffer, "JPEG")
    elif kind == "float":
        Image.new("F", (5, 4), 0.5).save(buffer, "TIFF")
    elif kind == "frames":
        frames = [Image.new("P", (5, 4), colour) for colour in (0, 1)]
        frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    whole = buffer.getvalue()
    broken = {
        "cut": whole[: len(whole) * 2 // 3],
        "text": b"image,dx\na,mel\n",
        "dicom": bytes(128) + b"DICM",
    }
    return broken.get(kind, whole)


def _write(path: Path, content: bytes) -> bool:
    """Write a file; False where the disk can have none of that name."""
    if ".." in path.parts:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except (OSError, ValueError):
        return False
    return True
