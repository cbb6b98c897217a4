"""Lesions numbered anew for each patient are told from lesion ids, before they make one group of all patients."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from engine.commands.init_command import init
from engine.commands.init_values import Machine
from engine.config import load_config
from engine.data.joined_patients import joined_patients
from engine.data.readers.table import read
from engine.data.splits import group_rows
from engine.data.table import make_table
from tests.engine.data.public_layouts import draw


@pytest.mark.parametrize(
    ("lesions", "patients", "said"),
    [
        ("abcd", "PPQQ", None),
        ("aabb", "PPQQ", None),
        ("aab_", "P_Q_", None),
        ("1212", "PPQQ", "2 lesion ids lie under several patients (1 under 2: P, Q)"),
        ("1111", "PQRS", "1 lesion ids lie under several patients (1 under 4: P, Q, R, ...)"),
    ],
)
def test_lesions_under_several_patients_are_counted(lesions: str, patients: str, said: str | None) -> None:
    rows = make_table(
        "t", list("wxyz"), ["mel", "nv"] * 2,
        lesion_id=[sign.strip("_") for sign in lesions], patient_id=[sign.strip("_") for sign in patients],
    )  # fmt: skip
    found = joined_patients(rows, lesion_column=True)
    assert found[0].startswith(said) if said else not found, found
    assert not said or found[0].endswith("set data.columns.lesion=null")


def test_the_remedy_splits_by_patient(tmp_path: Path) -> None:
    rows = []
    for patient in range(6):
        for lesion in (1, 2):
            name = f"{patient}_{lesion}"
            draw(tmp_path / "images" / f"{name}.png", 10 * patient + lesion)
            rows.append(
                {"image": name, "dx": ["mel", "nv"][patient % 2], "lesion": lesion, "patient": f"P{patient}"}
            )
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "c.yaml"
    init(tmp_path, out, Console(file=io.StringIO()), machine=Machine(cores=2, gpu=False))
    assert "CHECK: 2 lesion ids lie under several patients (1 under 6: P0, P1, P2, ...)" in out.read_text()
    source = read(load_config(out).data, 0)
    assert len(source.notes) == 1 and len(set(group_rows(source.table))) == 1
    source = read(load_config(out, ["data.columns.lesion=null"]).data, 0)
    assert not source.notes and len(set(group_rows(source.table))) == 6
