"""Says where a lesion id occurs under several patients, which joins those patients into one group of the split."""

from __future__ import annotations

import pandas as pd

from engine.types import LesionTable

NAMED = 3
"""Patients that are named as an example."""


def joined_patients(table: LesionTable, *, lesion_column: bool) -> tuple[str, ...]:
    """Return a line on lesions that lie under several patients, none where no lesion does.

    Often lesions are numbered anew for each patient: then whoever has a lesion 1 is taken for one group.

    Args:
        table: the rows in use; "" where a lesion or a patient is unknown.
        lesion_column: whether ``data.columns.lesion`` names the column, so that it can be left out.
    """
    frame = pd.DataFrame({"lesion": table.lesion_id, "patient": table.patient_id})
    known = frame[(frame["lesion"] != "") & (frame["patient"] != "")]
    patients = known.groupby("lesion")["patient"].unique()
    several = patients[patients.map(len) > 1]
    if several.empty:
        return ()
    lesion = str(several.map(len).idxmax())
    names = sorted(map(str, several[lesion]))
    who = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    remedy = "set data.columns.lesion=null" if lesion_column else "make the ids unique in the table"
    return (
        f"{len(several)} lesion ids lie under several patients ({lesion} under {len(names)}: {who}), and such patients are "
        f"kept together as one group; where lesions are numbered anew for each patient, {remedy}",
    )
