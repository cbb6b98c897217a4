"""Names of columns that `hardcase init` understands, and which column of a table holds the diagnosis."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
import pandas as pd

from engine.data.diagnoses import recognise
from engine.data.readers.one_hot import flag_columns, numbers
from engine.data.readers.rows import columns_named, text_column

COLUMN_NAMES: Final = {
    "image": (
        "image", "image_id", "image_path", "path", "file", "filename", "file_name", "filepath", "isic_id", "image_name",
        "img", "img_id", "bcn_filename", "md5hash", "derm", "dermoscopic", "clinic", "photo", "photograph",
        "imagen", "archivo", "imagem", "arquivo", "bild", "bild_id", "datei", "dateiname", "fichier", "immagine", "foto",
    ),
    "label": (
        "dx", "label", "diagnosis", "diagnostic", "class", "benign_malignant", "target", "category", "diagnosis_3",
        "diagnosis_1", "nine_partition_label", "three_partition_label", "malignant",
        "diagnostico", "diagnose", "diagnosi", "clase", "classe", "klasse", "etiqueta",
    ),
    "lesion": (
        "lesion_id", "lesion", "id_lesion", "lesao", "id_lesao", "lasion", "laesion", "lasion_id", "lesione", "id_lesione",
    ),
    "patient": (
        "patient_id", "patient", "id_patient", "paciente", "id_paciente", "patienten_id", "paziente", "id_paziente",
    ),
    "age": ("age", "age_approx", "age_approximate", "edad", "idade", "alter", "eta"),
    "sex": ("sex", "gender", "sexo", "genero", "sexe", "geschlecht", "sesso"),
    "site": (
        "localization", "site", "anatom_site_general", "anatom_site_general_challenge", "body_site", "region", "location",
        "localizacion", "localizacao", "localisation", "lokalisation", "localizzazione",
    ),
    "skin_type": ("fitzpatrick_skin_type", "fitzpatrick", "fitzpatrick_scale", "skin_type", "fitspatrick",
                  "fototipo", "phototype", "hauttyp"),
}  # fmt: skip
"""Column names that are understood in a table, by key of ``data.columns``, as ``spelled`` returns them: English, then
Spanish, Portuguese, German, French and Italian. ``fitspatrick`` is how PAD-UFES-20 writes it."""
OPTIONAL: Final = ("lesion", "patient", "age", "sex", "site", "skin_type")

Label = tuple[str | list[str], tuple[str, ...]]
"""The value of ``data.columns.label``, and what to check about it."""


def named_columns(frame: pd.DataFrame, taken: Collection[str]) -> dict[str, str]:
    """Return {key of data.columns: column} of the optional columns that a table has with a value in any row."""
    found = {}
    for key in OPTIONAL:
        for column in columns_named(frame, COLUMN_NAMES[key]):
            if column not in taken and any(text_column(frame, column)):
                found[key] = column
                break
    return found


def label_columns(frame: pd.DataFrame, image: str) -> Label | None:
    """Return the column that holds the diagnosis, or the one-hot columns; None where neither is recognised.

    Of several the first is taken that has a value in every row (ISIC 2020: diagnosis is often unknown), and the others are
    named for a person to check.
    """
    classes = {
        column: {value for value in text_column(frame, column) if value}
        for column in columns_named(frame, COLUMN_NAMES["label"])
        if column != image
    }
    useful = [column for column, values in classes.items() if len(values) > 1] or list(classes)
    if useful:
        chosen = next((column for column in useful if all(text_column(frame, column))), useful[0])
        if len(useful) == 1:
            return chosen, ()
        said = ", ".join(f"{column} ({len(classes[column])} classes)" for column in useful)
        return chosen, (
            f"several columns may hold the diagnosis: {said}; data.columns.label: {chosen} is read",
        )
    marked = _one_hot_columns(frame, image)
    return (marked, ()) if marked else None


def _one_hot_columns(frame: pd.DataFrame, image: str) -> list[str]:
    """Return columns of 0 and 1 with at most one 1 per row; known diagnoses alone where all of them do not fit."""
    flags = [column for column in flag_columns(frame) if column != image]
    for columns in (flags, [column for column in flags if recognise(column) is not None]):
        if len(columns) < 2:
            continue
        marks_N = numbers(frame, columns).sum(axis=1)
        known = any(recognise(column) is not None for column in columns)
        if np.all(marks_N == 1) or (known and np.all(marks_N <= 1) and np.any(marks_N == 1)):
            return columns
    return []
