"""Which metadata columns give the diagnosis away, such as how it was confirmed (``dx_type``).

Measured on one image a lesion, in five folds: how much of the diagnosis' uncertainty a column explains (1 - log loss with
it over log loss without it, the cross-validated form of Theil's U), and the balanced accuracy of guessing, for each value,
the class that is most over-represented among its images. A column with a value of its own for nearly every image explains
nothing in another fold: it is named an identifier, and only the number in it is measured.

Shape legend: N rows (lesions), V values, C classes, F folds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.data.decoding import ImageFileError, size_of
from engine.data.readers.rows import UNKNOWN, read_rows
from engine.errors import DataError
from engine.types import IntArray, LesionTable, StrArray, strings

FOLDS = 5
PERMUTATIONS = 99
LEAKS = 0.2
"""Share of the uncertainty explained from which a column is said to leak the diagnosis."""
SIGNIFICANT = 0.01
IDENTIFIER = 0.5
"""A column with more different values than this share of its known rows is an identifier."""
BINS = 10
"""Numbers with more values than this are cut at their quantiles into as many bins."""
NAMED = 0.9
"""A column names the images when this share of them occurs in it."""

Float64 = npt.NDArray[np.float64]
Verdict = Literal["leaks", "identifier", "constant", "fine"]


@dataclass(frozen=True, kw_only=True)
class ColumnFinding:
    """What one column says of the diagnosis.

    ``explained`` is the share of uncertainty explained out of fold (below 0: worse than nothing), ``balanced_accuracy``
    that of its rule (``chance``: 1 / classes), ``p_value`` that of ``explained`` among permutations. ``read`` says whether
    hardcase reads the column at all (captions and prompts); the classifier sees pixels alone.
    """

    column: str
    verdict: Verdict
    explained: float | None
    balanced_accuracy: float | None
    chance: float
    p_value: float | None
    values: int
    known: int
    read: bool


def metadata_columns(
    root: str | None, table: LesionTable, label: str | list[str] | None
) -> dict[str, StrArray]:
    """Return the raw metadata columns of the data set's tables, aligned to ``table``; without any, what readers kept.

    Every CSV, TSV or parquet table in the data folder that names the images is read. The label columns are left out.

    Args:
        root: ``data.root``.
        table: all images.
        label: the column that holds the diagnosis, or one-hot columns.
    """
    found: dict[str, StrArray] = {}
    labels = label if isinstance(label, list) else [label]
    for path, frame, names in _tables(root, table):
        rows = names.reindex(table.image_id).to_numpy()
        for column in frame.columns:
            if column not in labels and not _is_truth(path):
                values = frame[column].to_numpy()
                known = ["" if np.isnan(row) else str(values[int(row)]) for row in rows]
                found.setdefault(column, strings(["" if v.lower() in UNKNOWN else v for v in known]))
    if not found:
        found = {"age": strings(table.age), "sex": table.sex, "localization": table.localization}
    if np.any(table.path != ""):
        found["(image size in pixels)"] = strings([_pixels(str(path)) for path in table.path])
    return found


def column_findings(columns: dict[str, StrArray], table: LesionTable, seed: int = 0) -> list[ColumnFinding]:
    """Return what each column says of the diagnosis, the most telling first.

    Args:
        columns: values by name, each aligned to ``table``; "" is unknown.
        table: all images.
        seed: of folds and permutations.
    """
    _, first = np.unique(table.lesion_id, return_index=True)
    label_N = np.unique(table.dx[first], return_inverse=True)[1]
    read = {"age", "sex", "localization", "lesion_id", "image_id", "patient_id"}
    found = []
    for name, values in columns.items():
        one_each = values[first]
        found.append(_finding(name, one_each, label_N, seed, name in read))
        if found[-1].verdict == "identifier" and (number := _numbers(one_each)) is not None:
            found.append(_finding(f"number in {name}", number, label_N, seed, False))
    return sorted(found, key=lambda f: (f.verdict != "leaks", -(f.explained or -1.0), f.column))


def explained_share(value_N: IntArray, label_N: IntArray, fold_N: IntArray) -> tuple[float, float]:
    """Return (share of uncertainty explained out of fold, balanced accuracy of the most over-represented class)."""
    values, classes = int(value_N.max()) + 1, int(label_N.max()) + 1
    count_FVC = np.zeros((FOLDS, values, classes))
    np.add.at(count_FVC, (fold_N, value_N, label_N), 1.0)
    rest_FVC = count_FVC.sum(axis=0) - count_FVC
    rest_FC = rest_FVC.sum(axis=1) + 1.0
    prior_FC = rest_FC / rest_FC.sum(axis=1, keepdims=True)
    smooth_FVC = rest_FVC + prior_FC[:, None]
    chance_FVC = smooth_FVC / smooth_FVC.sum(axis=2, keepdims=True)
    without = -float((count_FVC.sum(axis=1) * np.log(prior_FC)).sum())
    with_column = -float((count_FVC * np.log(chance_FVC)).sum())
    guess_FV = (smooth_FVC / rest_FC[:, None]).argmax(axis=2)
    right_FVC = count_FVC * (np.arange(classes) == guess_FV[..., None])
    recall_C = right_FVC.sum(axis=(0, 1)) / np.maximum(count_FVC.sum(axis=(0, 1)), 1.0)
    return 1.0 - with_column / max(without, 1e-12), float(recall_C.mean())


def _finding(name: str, text_N: StrArray, label_N: IntArray, seed: int, read: bool) -> ColumnFinding:
    known = int((text_N != "").sum())
    different = len(np.unique(text_N[text_N != ""]))
    classes = int(label_N.max()) + 1
    verdict: Verdict = "fine"
    explained = accuracy = p_value = None
    value_N = _coded(text_N)
    if value_N.max(initial=0) == 0:
        verdict = "constant"
    elif different > max(IDENTIFIER * known, BINS) and _as_numbers(text_N) is None:
        verdict = "identifier"
    else:
        rng = np.random.default_rng(seed)
        fold_N = rng.permutation(len(label_N)) % FOLDS
        explained, accuracy = explained_share(value_N, label_N, fold_N)
        by_chance = [
            explained_share(rng.permutation(value_N), label_N, fold_N)[0] for _ in range(PERMUTATIONS)
        ]
        p_value = (1 + sum(e >= explained for e in by_chance)) / (1 + PERMUTATIONS)
        verdict = "leaks" if explained >= LEAKS and p_value <= SIGNIFICANT else "fine"
    return ColumnFinding(
        column=name,
        verdict=verdict,
        explained=explained if explained is None else round(explained, 4),
        balanced_accuracy=accuracy if accuracy is None else round(accuracy, 4),
        chance=round(1 / classes, 4),
        p_value=p_value,
        values=different,
        known=known,
        read=read,
    )


def _coded(text_N: StrArray) -> IntArray:
    """Return each row's value as a number from 0; numbers with many values are binned, unknown is a value too."""
    number_N = _as_numbers(text_N)
    if number_N is not None and len(np.unique(number_N[~np.isnan(number_N)])) > BINS:
        edges = np.unique(np.nanquantile(number_N, np.linspace(0, 1, BINS + 1)[1:-1]))
        binned = np.where(np.isnan(number_N), -1, np.searchsorted(edges, number_N, side="right"))
        return np.asarray(np.unique(binned, return_inverse=True)[1], dtype=np.int64)
    return np.asarray(np.unique(text_N, return_inverse=True)[1], dtype=np.int64)


def _as_numbers(text_N: StrArray) -> Float64 | None:
    """Return numbers, NaN where unknown; None where a value is none."""
    try:
        return np.array([float(text) if text else np.nan for text in text_N], dtype=np.float64)
    except ValueError:
        return None


def _numbers(text_N: StrArray) -> StrArray | None:
    """Return the last whole number in each identifier; None where fewer than NAMED have one."""
    parts = [re.findall(r"\d{1,15}", text) for text in text_N]
    if np.mean([bool(part) for part in parts]) < NAMED:
        return None
    return strings([part[-1] if part else "" for part in parts])


def _tables(root: str | None, table: LesionTable) -> Iterator[tuple[Path, pd.DataFrame, pd.Series]]:
    """Yield tables that name the images, with the row of each image id."""
    place = Path(root).expanduser().absolute() if root else None
    if place is None:
        return
    paths = [place] if place.is_file() else sorted(p for p in place.iterdir() if p.is_file())
    for path in paths:
        if path.suffix.lower() not in (".csv", ".tsv", ".tab", ".parquet") or path.name.startswith("."):
            continue
        try:
            frame = read_rows(path)
        except DataError:
            continue
        for column in frame.columns:
            names = pd.Series(np.arange(len(frame)), index=[_bare(v) for v in frame[column]], dtype=float)
            names = names[~names.index.duplicated()]
            if np.isin(table.image_id, names.index.to_numpy(dtype=np.str_)).mean() >= NAMED:
                yield path, frame, names
                break


def _bare(text: str) -> str:
    """Return an image's name without its folders and suffix."""
    name = text.replace("\\", "/").rsplit("/", 1)[-1]
    return re.sub(r"\.(jpe?g|png|bmp|tiff?|webp)$", "", name, flags=re.IGNORECASE)


def _is_truth(path: Path) -> bool:
    return "groundtruth" in path.name.lower()


def _pixels(path: str) -> str:
    if not path:
        return ""
    try:
        width, height = size_of(path)
    except ImageFileError:
        return ""
    return f"{width}x{height}"
