"""The published studies were planned on the malignant sensitivity: they keep their endpoint, family and values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.study.contrasts import PRIMARY, make_study
from engine.study.replicates import Replicate
from experiments import arms_full
from experiments.lib import keeping
from experiments.table1 import studies


def published(name: str) -> tuple[list[Replicate], dict[str, Any]]:
    """The replicates of a published study and the study that is kept of them."""
    folder: Path = keeping.RESULTS / name
    found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if name == "arms_full":
        files, _ = arms_full.finished(folder)
        return arms_full.replicates(files), found["study"]
    sets = {
        number: table
        for number, part, label, table in studies.tables(folder)
        if (part, label) == ("confirm", studies.PRIMARY_TABLE)
    }
    kept = next(entry for entry in found["tables"] if entry["primary"])
    return studies.replicates(studies.finished(sets).values()), kept["study"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arms_full", "table1"])
def test_a_published_study_keeps_its_endpoint_family_and_values(name: str) -> None:
    runs, kept = published(name)
    study = make_study(runs, draws=2)
    assert study.endpoints == (PRIMARY,) and study.untested == ()
    for old in kept["contrasts"]:
        new = study.contrast(old["figure"], old["baseline"])
        assert new is not None and new.role == old["role"]
        assert list(new.values) == pytest.approx(old["values"], rel=1e-12), (old["figure"], old["baseline"])
        assert [one.method for one in new.procedures] == [one["method"] for one in old["procedures"]]
    known = {(old["figure"], old["baseline"]) for old in kept["contrasts"]}
    added = {c.figure for c in study.contrasts if (c.figure, c.baseline) not in known}
    assert added <= {"log_loss", "malignant.mean_sensitivity"}
