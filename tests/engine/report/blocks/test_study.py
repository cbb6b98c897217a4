"""Tables of a study: strips reach as far as their widest interval."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.artifacts.run_files import read_run
from engine.report.blocks.study import contrasts_tables
from engine.study.contrasts import make_study
from engine.study.run_replicates import open_replicate
from tests.engine.study.fake_study import write_study


@pytest.mark.parametrize(("gain", "reach"), [(0.0, 0.1), (2.0, 0.5)])
def test_strips_hold_every_interval_and_say_which_side_is_better(
    tmp_path: Path, gain: float, reach: float
) -> None:
    paths = write_study(
        tmp_path, replicates=2, lesions=300, arms=("real", "random", "hard"), gain={"hard": gain},
        primary=("malignant.auc", "log_loss"),
    )  # fmt: skip
    study = make_study([open_replicate(read_run(path)) for path in paths], draws=50)
    auc, loss = contrasts_tables(study)
    assert (auc["better"], loss["better"]) == ("right", "left")
    assert float(auc["reach"]) <= reach
    for table, figure in ((auc, "malignant.auc"), (loss, "log_loss")):
        for row in table["rows"]:
            contrast = study.contrast(figure, row["baseline"])
            assert contrast is not None
            (bar,) = re.findall(r'<line x1="([\d.]+)%" x2="([\d.]+)%" y1="11"', str(row["strip"]))
            ends = [(float(place) / 50 - 1) * float(table["reach"]) for place in bar]
            assert ends == pytest.approx([contrast.difference.low, contrast.difference.high], abs=1e-3)
