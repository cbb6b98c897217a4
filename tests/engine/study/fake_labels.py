"""Run folders of a study in which arms bought labels in one round, with the predictions of ``fake_study``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.engine.study.fake_study import write_study

ARMS = ("real", "queried", "queried_random", "hard")
ASKED = 40


def write_label_study(
    root: Path, gain: Mapping[str, float], *, simulated: bool = True, **more: Any
) -> list[Path]:
    """Write one run folder per replicate: round 0 is ``real`` as it is in round 1, so that no gain is one of training."""
    paths = write_study(root, arms=ARMS, gain=gain, data={"unlabelled": "keep"}, **more)
    for path in paths:
        report = json.loads((path / "report.json").read_text())
        for entry in report["rounds"]:
            if entry["arm"].startswith("queried"):
                entry["labels"] = {
                    "asked": ASKED, "answered": ASKED - 3, "conflicts": 2, "unsure": 1, "simulated": simulated
                }  # fmt: skip
                entry["digests"] = {"pool": entry["arm"]}
        real = next(entry for entry in report["rounds"] if entry["arm"] == "real")
        report["rounds"].insert(0, real | {"round": 0})
        (path / "report.json").write_text(json.dumps(report))
        shutil.copytree(path / "rounds/0001/arms/real", path / "rounds/0000")
    return paths
