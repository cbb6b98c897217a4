"""ROC curves and missed malignancies: what the page shows is what report.json says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.artifacts.run_files import RunFiles, read_run
from engine.report.blocks import malignant
from engine.report.blocks.malignant import missed_block, one_per_lesion_first, roc_block
from engine.report.run_page import render_report
from engine.report.wording import figure_text
from engine.study.run_replicates import open_replicate
from tests.engine.report.fake_run import CLASSES, MALIGNANT, make_run

ARMS = ("real", "random", "hard")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    path = tmp_path_factory.mktemp("malignant") / "demo"
    return read_run(make_run(path, arms=ARMS, lesions=220, rounds=1, cases=4, cache=True))


def test_as_many_are_missed_as_report_json_says(run: RunFiles) -> None:
    found = missed_block(run, open_replicate(run))
    entry, real = run.report.entry(1, "hard"), run.report.entry(1, "real")
    assert found is not None and entry is not None and real is not None
    figures = entry.test["malignant"]
    assert found["n"] == round(figures["n"] * (1 - figures["sensitivity"]["value"])) > 0
    assert (found["of"], found["of_lesions"]) == (figures["n"], figures["n_lesions"])
    assert found["threshold"] == f"{figures['threshold']:.3f}"
    other_missed = real.test["malignant"]["n"] * (1 - real.test["malignant"]["sensitivity"]["value"])
    assert found["n"] - found["caught"] + found["turned"] == round(other_missed)


def test_each_missed_image_is_shown_with_its_lesion_scores_and_picture(run: RunFiles) -> None:
    found = missed_block(run, open_replicate(run))
    assert found is not None and run.split is not None
    frame = pd.read_parquet(run.path / "rounds/0001/predictions.parquet").set_index("image_id")
    lesion = run.split.frame().set_index("image_id")["lesion_id"]
    columns = [f"p_{dx}" for dx in MALIGNANT]
    for case in found["cases"]:
        row = frame.loc[case.image_id]
        assert case.true == row["dx"] in MALIGNANT and row["split"] == "test"
        assert case.score == pytest.approx(row[columns].sum()) and case.score < 0.5
        assert case.taken_for == CLASSES[int(np.argmax([row[f"p_{dx}"] for dx in CLASSES]))]
        assert case.lesion_id == lesion[case.image_id]
        assert case.caught == (case.other_score >= 0.5)
        assert case.uri is not None and case.uri.startswith("data:image/png;base64,")


def test_the_page_says_what_was_missed_and_warns(run: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(malignant, "MAX_MISSED", 2)
    page = render_report(run.path)
    section = page[page.index('id="missed"') : page.index('id="differences"')]
    text = " ".join(re.sub(r"<[^>]+>", " ", section).split())
    found = missed_block(run, open_replicate(run))
    assert found is not None
    assert (
        f"missed {found['n']} of {found['of']} malignant" in text
        and "choose nothing by these lesions" in text
    )
    assert f"Of {found['n']} missed images 2 are shown" in text and section.count("<li>") == 2
    case = found["cases"][0]
    for said in (f"malignant score {case.score:.3f}, threshold 0.500", f"lesion {case.lesion_id}"):
        assert said in text
    assert section.count("<img") == 2


def test_without_the_stage_cache_there_is_no_picture(run: RunFiles, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    make_run(alone, lesions=220, rounds=1, cases=4)
    found = missed_block(read_run(alone), open_replicate(read_run(alone)))
    assert found is not None and found["cases"] and all(case.uri is None for case in found["cases"])
    (alone / "stages.json").write_text(json.dumps({"foundation/images": "images-gone"}))
    assert render_report(alone).count("no picture") >= len(found["cases"])


def test_none_missed_is_said_without_a_claim(tmp_path: Path) -> None:
    path = make_run(tmp_path / "demo", lesions=220, rounds=1, cases=4)
    report = json.loads((path / "report.json").read_text())
    for entry in report["rounds"]:
        entry["test"]["malignant"]["threshold"] = 0.0
    (path / "report.json").write_text(json.dumps(report))
    page = render_report(path)
    section = page[page.index('id="missed"') : page.index('id="differences"')]
    assert (
        "do not show that it misses none" in section
        and "<img" not in section
        and "choose nothing" not in section
    )


def test_the_mark_lies_on_the_curve_and_figures_are_those_of_report_json(run: RunFiles) -> None:
    found = roc_block(run, open_replicate(run))
    assert found is not None and [row["arm"] for row in found["rows"]] == [*ARMS]
    for row in found["rows"]:
        entry = run.report.entry(1, row["arm"])
        assert entry is not None
        for name in ("sensitivity", "specificity", "auc"):
            assert row[name] == figure_text(entry.test, f"malignant.{name}")
    chart = str(found["chart"])
    lines = re.findall(r'<polyline points="([^"]+)"', chart)
    assert len(lines) == len(ARMS)
    (x, y) = map(float, re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart).groups())  # type: ignore[union-attr]
    curve = np.array([[float(v) for v in point.split(",")] for point in lines[ARMS.index("hard")].split()])
    assert _distance(curve, x, y) < 0.2
    assert "with synthetic hard cases" in chart and chart.count('class="name"') == len(ARMS)


def _distance(curve_K2: Any, x: float, y: float) -> float:
    """Distance of a point from a polyline."""
    start, step = curve_K2[:-1], np.diff(curve_K2, axis=0)
    length = np.maximum((step**2).sum(axis=1), 1e-12)
    along = np.clip((((x, y) - start) * step).sum(axis=1) / length, 0, 1)
    return float(np.hypot(*(start + along[:, None] * step - (x, y)).T).min())


def test_every_lesion_comes_before_second_photographs() -> None:
    score = np.array([0.3, 0.1, 0.2, 0.4])
    assert one_per_lesion_first(np.array([0, 1, 2, 3]), score, ["b", "a", "a", "c"]) == [1, 0, 3, 2]


def test_no_malignant_class_no_block(run: RunFiles) -> None:
    assert missed_block(run, None) is None and roc_block(run, None) is None
