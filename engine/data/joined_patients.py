"""Says where a lesion id occurs under several patients, which joins those patients into one group of the split."""

from __future__ import annotations

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
    patients: dict[str, set[str]] = {}
    for lesion, patient in zip(table.lesion_id.tolist(), table.patient_id.tolist(), strict=True):
        if lesion and patient:
            patients.setdefault(lesion, set()).add(patient)
    several = {lesion: names for lesion, names in patients.items() if len(names) > 1}
    if not several:
        return ()
    lesion = max(sorted(several), key=lambda lesion: len(several[lesion]))
    names = sorted(several[lesion])
    who = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    remedy = "set data.columns.lesion=null" if lesion_column else "make the ids unique in the table"
    return (
        f"{len(several)} lesion ids lie under several patients ({lesion} under {len(names)}: {who}), and such patients are "
        f"kept together as one group; where lesions are numbered anew for each patient, {remedy}",
    )
