"""The page of a run in progress: before any round, between rounds, with damaged files; read-only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from engine.artifacts import labels
from engine.artifacts.labels import ORACLE, Answer
from engine.artifacts.run_progress import RunProgress
from engine.review.app import make_app
from engine.review.server import watch_desk
from engine.review.watching import watched
from tests.engine.report.fake_run import make_run
from tests.engine.review.desk import ACCESS, ORIGIN


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("watched") / "demo", lesions=220)


def watching(run: Path) -> TestClient:
    page = TestClient(make_app(watch_desk(run, ACCESS)), base_url=ORIGIN, headers={"origin": ORIGIN})
    page.get(f"/?token={ACCESS.token}")
    return page


def note(run: Path, at: float) -> None:
    RunProgress(stage="vae", what="vae", done=3, total=12, seconds_left=90.0, began=1000.0, at=at).write(run)


def test_a_run_without_a_round_shows_its_stage(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: new\n")
    note(tmp_path, at=1060.0)
    found = watched(tmp_path, now=1070.0)
    assert (found["state"], found["rounds"], found["classes"], found["sheet"]) == ("in progress", [], [], "")
    assert found["progress"]["left"] == "1 min 20 s" and found["progress"]["since"] == "1 min 10 s"
    assert (
        found["progress"]["silent"] == ""
        and watched(tmp_path, now=1600.0)["progress"]["silent"] == "9 min 0 s"
    )
    text = watching(tmp_path).get("/watch").text
    assert "No round has finished yet." in text and 'max="12" value="3"' in text


def test_rounds_and_classes_with_the_intervals_of_the_report(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text())
    figure = report["rounds"][-1]["test"]["per_class"]["mel"]["sensitivity"]
    page = watching(finished)
    text = page.get("/watch").text
    words = f"{100 * figure['value']:.1f}\u00a0% ({100 * figure['low']:.1f}–{100 * figure['high']:.1f})"
    assert words in text and "melanoma (malignant)" in text and text.count('<svg class="chart"') == 7
    assert page.get("/watch/sheet").headers["content-type"] == "image/png"
    assert page.get("/watch/live").text in text, "the page refreshes what it began with"
    assert page.get("/", follow_redirects=False).headers["location"] == "/watch"


def test_it_writes_nothing_and_offers_no_answers(finished: Path) -> None:
    page, before = watching(finished), sorted(finished.rglob("*"))
    assert page.post("/reader", json={"name": "Ana"}).status_code in (404, 405)
    assert page.post("/api/diagnose/answer", json={}).status_code in (404, 405)
    assert page.get("/list/diagnose").status_code == page.get("/api/diagnose").status_code == 404
    page.get("/watch")
    assert sorted(finished.rglob("*")) == before


def test_a_leaky_run_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "demo", lesions=120, rounds=1, protocol="leaky")
    assert "LEAKY: hard cases were mined from the test part" in watching(run).get("/watch").text


def test_a_run_whose_labels_an_oracle_gave_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "demo", lesions=120, rounds=1)
    assert "SIMULATED LABELS" not in watching(run).get("/watch").text
    labels.append(run, [Answer(image_id="a", reader=ORACLE, dx="mel")])
    assert "SIMULATED LABELS: an oracle uncovered hidden labels" in watching(run).get("/watch").text


def test_damaged_files_become_a_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: [\n")
    (tmp_path / "report.json").write_text("{")
    (tmp_path / "stages.jsonl").write_text("no stage\n")
    text = watching(tmp_path).get("/watch").text
    assert "report.json" in text and "config.yaml" in text and "line 1 is no stage" in text


def test_names_from_files_are_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "demo", lesions=120, rounds=1)
    report = json.loads((run / "report.json").read_text().replace('"mel"', '"<img src=x onerror=alert(1)>"'))
    report["stopping"]["reason"] = "</p><script>alert(1)</script>"
    (run / "report.json").write_text(json.dumps(report))
    text = watching(run).get("/watch").text
    assert "<script>alert" not in text and "<img src=x" not in text and "&lt;img src=x onerror" in text
