"""The table printed at the end of a run."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from engine.report.summary import summary_table
from tests.engine.report.fake_run import make_run


def printed(report: dict, **more: bool) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(summary_table(report, **more))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_every_round_and_arm_is_printed(tmp_path: Path) -> None:
    report = json.loads((make_run(tmp_path / "demo", lesions=220, rounds=1) / "report.json").read_text())
    text = printed(report)
    lines = [line for line in text.splitlines() if " real " in line or " hard " in line]
    assert len(lines) == 3 and "74/120" in lines[-1] and "0/0" in lines[0]
    malignant = report["rounds"][-1]["test"]["malignant"]["sensitivity"]
    assert f"{100 * malignant['value']:.1f}\u00a0% ({100 * malignant['low']:.1f}–" in lines[-1]
    assert "LEAKY" not in text and "GROUPS UNKNOWN" not in text
    assert "SIMULATED" not in text
    assert "(SIMULATED LABELS)" in printed(report, simulated=True)
    both = printed(report | {"protocol": "leaky"}, simulated=True)
    assert "(LEAKY: mined from test; SIMULATED LABELS)" in both
    assert "LEAKY" in printed(report | {"protocol": "leaky"})
    assert "GROUPS UNKNOWN" in printed(report | {"protocol": "groups_unknown"})


def test_an_arm_that_buys_labels_says_how_many_and_keeps_its_name(tmp_path: Path) -> None:
    report = json.loads((make_run(tmp_path / "demo", lesions=220, rounds=1) / "report.json").read_text())
    labels, entry = {"asked": 12, "answered": 10}, report["rounds"][-1]
    rounds = [entry | {"arm": "queried_random", "labels": labels, "n_generated": 0, "n_accepted": 0}]
    rounds += [entry | {"arm": "hard_and_queried", "labels": labels}]
    console = Console(file=io.StringIO(), width=80)
    console.print(summary_table(report | {"rounds": rounds}))
    assert "queried_random" in console.file.getvalue()  # type: ignore[attr-defined]
    text = printed(report | {"rounds": rounds})
    assert " 10/12 labels" in text and "74/120, 10/12 labels" in text
