"""Draws tiny copies of public data sets, file for file in the layout that their releases have.

Columns as the releases have them: ISIC challenge data pages (2016 to 2020, MILK10k), PAD-UFES-20 (Mendeley zr7vgbcyr2),
Fitzpatrick17k (github.com/mattgroh), BCN20000 (figshare), Derm7pt (derm.cs.sfu.ca), Kaggle's skin-cancer-mnist-ham10000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

PER_CLASS = 16


def draw(path: Path, seed: int) -> None:
    """Save a picture of large soft patches that resembles no other's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    patches = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    Image.fromarray(patches).resize((40, 32), Image.Resampling.BILINEAR).save(path)


def _rows(classes: Sequence[str]) -> list[tuple[int, str]]:
    """Number and class of each image, the classes in turns."""
    return [(number, classes[number % len(classes)]) for number in range(PER_CLASS * len(classes))]


def _csv(path: Path, rows: list[dict[str, Any]], *, header: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False, header=header)


def _one_hot(label: str, columns: Sequence[str]) -> dict[str, float]:
    return {column: float(column == label) for column in columns}


def kaggle_ham10000(root: Path) -> None:
    """kmader/skin-cancer-mnist-ham10000 with its photographs."""
    rows = []
    for number, dx in _rows(["nv", "mel", "akiec"]):
        draw(root / f"HAM10000_images_part_{1 + number % 2}" / f"ISIC_{number:07d}.jpg", number)
        rows.append(
            {
                "lesion_id": f"HAM_{number // 6:07d}_{dx}",
                "image_id": f"ISIC_{number:07d}",
                "dx": dx,
                "dx_type": "histo",
                "age": 40.0,
                "sex": "male",
                "localization": "back",
            }
        )
    _csv(root / "HAM10000_metadata.csv", rows)
    pixels = {f"pixel{k:04d}": 0 for k in range(64)}
    _csv(root / "hmnist_8_8_L.csv", [{**pixels, "label": 4}])


def isic_2016(root: Path) -> None:
    rows = []
    for number, dx in _rows(["benign", "malignant"]):
        draw(root / "ISBI2016_ISIC_Part3_Training_Data" / f"ISIC_{number:07d}.jpg", number)
        rows.append({"image": f"ISIC_{number:07d}", "dx": dx})
    _csv(root / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv", rows, header=False)


def isic_2017(root: Path) -> None:
    folder, columns, rows, about = (
        root / "ISIC-2017_Training_Data",
        ("melanoma", "seborrheic_keratosis"),
        [],
        [],
    )
    for number, dx in _rows([*columns, "nevus"]):
        draw(folder / f"ISIC_{number:07d}.jpg", number)
        draw(folder / f"ISIC_{number:07d}_superpixels.png", 1000 + number)
        rows.append({"image_id": f"ISIC_{number:07d}", **_one_hot(dx, columns)})
        about.append(
            {
                "image_id": f"ISIC_{number:07d}",
                "age_approximate": "unknown" if number else "55",
                "sex": "female",
            }
        )
    _csv(root / "ISIC-2017_Training_Part3_GroundTruth.csv", rows)
    _csv(folder / "ISIC-2017_Training_Data_metadata.csv", about)


SEVEN = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def isic_2018(root: Path) -> None:
    """Two zips unzipped side by side, and the table of lesions."""
    name, rows, lesions = "ISIC2018_Task3_Training", [], []
    for number, dx in _rows(["MEL", "NV", "BKL"]):
        draw(root / f"{name}_Input" / f"ISIC_{number:07d}.jpg", number)
        rows.append({"image": f"ISIC_{number:07d}", **_one_hot(dx, SEVEN)})
        lesions.append(
            {
                "image": f"ISIC_{number:07d}",
                "lesion_id": f"HAM_{number}",
                "diagnosis_confirm_type": "histopathology",
            }
        )
    _csv(root / f"{name}_GroundTruth" / f"{name}_GroundTruth.csv", rows)
    _csv(root / f"{name}_LesionGroupings.csv", lesions)


def isic_2019(root: Path) -> None:
    columns, rows, about = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"), [], []
    for number, dx in _rows(["MEL", "NV", "AK"]):
        draw(root / "ISIC_2019_Training_Input" / f"ISIC_{number:07d}.jpg", number)
        rows.append({"image": f"ISIC_{number:07d}", **_one_hot(dx, columns)})
        about.append(
            {
                "image": f"ISIC_{number:07d}",
                "age_approx": "",
                "anatom_site_general": "head/neck",
                "lesion_id": f"BCN_{number}" if number % 4 else "",
                "sex": "male",
            }
        )
    _csv(root / "ISIC_2019_Training_GroundTruth.csv", rows)
    _csv(root / "ISIC_2019_Training_Metadata.csv", about)


def isic_2020(root: Path) -> None:
    """Kaggle's siim-isic-melanoma-classification: a test table without labels lies beside."""
    rows = []
    for number, dx in _rows(["unknown", "melanoma"]):
        draw(root / "train" / f"ISIC_{number:07d}.jpg", number)
        rows.append(
            {
                "image_name": f"ISIC_{number:07d}",
                "patient_id": f"IP_{number}",
                "sex": "male",
                "age_approx": 45.0,
                "anatom_site_general_challenge": "torso",
                "diagnosis": dx,
                "benign_malignant": "benign" if dx == "unknown" else "malignant",
                "target": int(dx != "unknown"),
            }
        )
    _csv(root / "train.csv", rows)
    _csv(
        root / "test.csv", [{"image_name": "ISIC_9", "patient_id": "IP_9", "sex": "male", "age_approx": 45.0}]
    )


def isic_2024(root: Path) -> None:
    rows = []
    for number, dx in _rows(["0", "1"]):
        draw(root / "train-image" / "image" / f"ISIC_{number:07d}.jpg", number)
        rows.append(
            {
                "isic_id": f"ISIC_{number:07d}",
                "target": dx,
                "patient_id": f"IP_{number}",
                "age_approx": "60.0",
                "sex": "male",
                "anatom_site_general": "lower extremity",
            }
        )
    _csv(root / "train-metadata.csv", rows)


def milk10k(root: Path) -> None:
    """A row per lesion in the truth, two images per lesion in the metadata."""
    columns = ("AKIEC", "BCC", "BEN_OTH", "BKL", "DF", "INF", "MAL_OTH", "MEL", "NV", "SCCKA", "VASC")
    rows, about = [], []
    for number, dx in _rows(["MEL", "NV", "SCCKA"]):
        rows.append({"lesion_id": f"IL_{number:07d}", **_one_hot(dx, columns)})
        for kind in ("clinical: close-up", "dermoscopic"):
            isic = f"ISIC_{len(about):07d}"
            draw(root / "MILK10k_Training_Input" / f"IL_{number:07d}" / f"{isic}.jpg", len(about))
            about.append(
                {
                    "lesion_id": f"IL_{number:07d}",
                    "image_type": kind,
                    "isic_id": isic,
                    "age_approx": 85.0,
                    "sex": "male",
                    "skin_tone_class": 3,
                    "site": "trunk",
                }
            )
    _csv(root / "MILK10k_Training_GroundTruth.csv", rows)
    _csv(root / "MILK10k_Training_Metadata.csv", about)


def pad_ufes_20(root: Path) -> None:
    rows = []
    for number, dx in _rows(["ACK", "BCC", "NEV"]):
        name = f"PAT_{number}_{number}_{number}.png"
        draw(root / "images" / f"imgs_part_{1 + number % 3}" / name, number)
        rows.append(
            {
                "patient_id": f"PAT_{number}",
                "lesion_id": number,
                "smoke": "",
                "age": "85+" if number == 3 else 60,
                "gender": "MALE",
                "fitspatrick": 3.0,
                "region": "FACE",
                "diagnostic": dx,
                "itch": "UNK",
                "img_id": name,
                "biopsed": number % 2 == 0,
            }
        )
    _csv(root / "metadata.csv", rows)


def fitzpatrick17k(root: Path) -> None:
    rows = []
    for number, dx in _rows(["malignant melanoma", "psoriasis", "basal cell carcinoma"]):
        md5 = f"{number:032x}"
        draw(root / "finalfitz17k" / f"{md5}.jpg", number)
        rows.append(
            {
                "md5hash": md5,
                "fitzpatrick_scale": -1 if number % 5 == 0 else 3,
                "fitzpatrick_centaur": 3,
                "label": dx,
                "nine_partition_label": "inflammatory" if dx == "psoriasis" else "malignant epidermal",
                "three_partition_label": "non-neoplastic" if dx == "psoriasis" else "malignant",
                "qc": "",
                "url": "http://x/y.jpg",
                "url_alphanum": "httpxyjpg",
            }
        )
    _csv(root / "fitzpatrick17k.csv", rows)


def bcn20000(root: Path) -> None:
    rows = []
    for number, dx in _rows(["MEL", "NV", "SCC"]):
        draw(root / "BCN_20k_train" / "bcn_20k_train" / f"BCN_{number:010d}.jpg", number)
        rows.append(
            {
                "bcn_filename": f"BCN_{number:010d}.jpg",
                "age_approx": 55.0,
                "anatom_site_general": "anterior torso",
                "diagnosis": dx,
                "lesion_id": f"BCN_{number // 6}_{dx}",
                "capture_date": "2012-05-16",
                "sex": "male",
                "split": "train",
            }
        )
    _csv(root / "bcn_20k_train.csv", rows)
    _csv(
        root / "bcn_20k_test.csv",
        [{"bcn_filename": "BCN_9.jpg", "age_approx": 55.0, "sex": "male", "split": "test"}],
    )


def derm7pt(root: Path) -> None:
    """release_v0: the table in meta/, two photographs per row in images/."""
    rows = []
    for number, dx in _rows(
        ["clark nevus", "blue nevus", "melanoma (in situ)", "melanoma (less than 0.76 mm)"]
    ):
        names = {kind: f"NEL/N{kind[0]}l{number:03d}.jpg" for kind in ("clinic", "derm")}
        for offset, name in enumerate(names.values()):
            draw(root / "images" / name, 2 * number + offset)
        rows.append(
            {
                "case_num": number,
                "diagnosis": dx,
                "seven_point_score": 3,
                "pigment_network": "typical",
                "level_of_diagnostic_difficulty": "low",
                "elevation": "flat",
                "location": "back",
                "sex": "female",
                "management": "excision",
                **names,
                "case_id": "",
                "notes": "",
            }
        )
    _csv(root / "meta" / "meta.csv", rows)
    _csv(root / "meta" / "train_indexes.csv", [{"indexes": 0}])


def hmnist(root: Path) -> None:
    """Kaggle's table of pixels alone; 4 is nv and 6 is mel there."""
    rng, rows = np.random.default_rng(0), []
    for number, dx in _rows(["4", "6"]):
        patches = Image.fromarray(rng.integers(0, 256, (3, 3, 3)).astype(np.uint8)).resize((28, 28))
        rows.append(
            {f"pixel{k:04d}": v for k, v in enumerate(np.asarray(patches).ravel().tolist())} | {"label": dx}
        )
        assert number == len(rows) - 1
    _csv(root / "hmnist_28_28_RGB.csv", rows)


def one_hot_table(root: Path) -> None:
    """A table of 0 and 1 that no challenge made; ids with .jpg, files with .JPG."""
    rows = []
    for number, dx in _rows(["melanoma", "nevus"]):
        draw(root / "pictures" / f"a{number}.JPG", number)
        rows.append(
            {
                "id": f"a{number}.jpg",
                "ulcerated": number % 3 % 2,
                "melanoma": int(dx == "melanoma"),
                "nevus": int(dx == "nevus"),
            }
        )
    _csv(root / "labels.csv", rows)


def absolute_paths(root: Path) -> None:
    """The table in a folder of its own, which names the images by absolute paths."""
    rows = []
    for number, dx in _rows(["MEL", "NV"]):
        path = root / "pictures" / f"{number // 4}" / f"a{number}.jpg"
        draw(path, number)
        rows.append({"path": str(path), "label": dx})
    _csv(root / "tables" / "labels.csv", rows)


def long_class_folders(root: Path) -> None:
    for number, dx in _rows(["basal cell carcinoma", "Melanoma", "nevus"]):
        draw(root / dx / f"a{number}.jpg", number)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    made.__name__: made
    for made in (
        kaggle_ham10000,
        isic_2016,
        isic_2017,
        isic_2018,
        isic_2019,
        isic_2020,
        isic_2024,
        milk10k,
        pad_ufes_20,
        fitzpatrick17k,
        bcn20000,
        derm7pt,
        hmnist,
        one_hot_table,
        absolute_paths,
        long_class_folders,
    )
}
