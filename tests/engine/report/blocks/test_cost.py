"""What an error costs: seconds by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.artifacts.run_files import read_run
from engine.report.blocks.cost import Cost, cost_of, cost_table
from engine.study.run_replicates import open_replicate
from tests.engine.study.fake_study import write_study


def test_seconds_of_a_run_by_hand(tmp_path: Path) -> None:
    path = write_study(tmp_path, arms=("real", "hard"), replicates=1, lesions=300, gain={"hard": 0.5})[0]
    run = read_run(path)
    replicate = open_replicate(run)
    cost = cost_of(run, replicate)
    assert cost is not None
    assert cost.generator == 900.0  # vae 300, denoiser 600
    assert cost.synthesis == pytest.approx(0.2 + 1.0 + 92.5 + 6.0) and cost.training == 0.0
    right = {
        arm: (p.argmax(axis=1) == replicate.test.label_N).sum() for arm, p in replicate.test.prob.items()
    }
    assert cost.errors == right["hard"] - right["real"] > 0
    assert cost.malignant is not None and cost.malignant > 0


def test_a_rate_needs_something_recovered() -> None:
    cost = Cost(generator=900.0, synthesis=100.0, training=-10.0, errors=11, malignant=-2, device="cpu")
    table = cost_table([cost, cost])
    assert table is not None
    assert table["unit"] == "CPU-seconds" and dict(table["seconds"])["in all"] == "33 min 0 s"
    assert [row[1:] for row in table["recovered"]] == [("+22", "90"), ("-4", "none recovered")]
    assert cost_table([]) is None
