"""Every stage in turn loses its node, and the run ends in the report and the files of one on this machine alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.stages import NAMES
from engine.store.files import write_json
from experiments import lost_nodes
from experiments.lib.keeping import EXPERIMENTS

pytestmark = pytest.mark.faults

OTHERS = {"likelihood", "gan", "ask", "distill"}
"""Stages that the config does not come to."""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_a_run_whose_every_stage_loses_its_node_ends_as_one_alone() -> None:
    found = lost_nodes.run(EXPERIMENTS / "configs" / "faults_16.yaml", ["loop.rounds=1"], 3)
    assert found["same"] == {"cluster": True, "losing": True}
    met = {one["stage"].rpartition("-")[0] for one in found["taken"] if one["what"] == "node"}
    assert met == set(NAMES) - OTHERS
    assert set(found["stages"]) == set(NAMES) - OTHERS
    assert set(found["failed"]) <= {"node lost", "worker lost"}, "no fault of ours came up"


def test_the_page_says_what_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_nodes, "FOLDER", tmp_path)
    taken = [{"stage": "vae-1", "at": "vae 2 of 16", "what": "node"}]
    kept = {
        "config": "c.yaml", "nodes": 3, "seconds": {"alone": 1.0, "cluster": 2.0, "losing": 3.0},
        "same": {"cluster": True, "losing": False}, "stages": {"vae": 1, "mine": 1}, "taken": taken,
        "failed": {"node lost": 1}, "command": "x", "date": "d", "commit": "c", "machine": "m",
    }  # fmt: skip
    for name in ("a", "c"):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "result.json", {**kept, "config": f"{name}.yaml"})
    said = lost_nodes.collect().read_text()
    assert said.index("## a.yaml") < said.index("## c.yaml")
    assert "| `vae` | 1 | 1 | vae 2 of 16 |" in said and "| `mine` | 1 | 0 |  |" in said
    assert "on it **yes**" in said and "with the losses below **NO**" in said
