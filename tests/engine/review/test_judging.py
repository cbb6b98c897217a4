"""Verdicts on synthetic images: into review.csv at once, one per image, taken back by whom they are."""

from __future__ import annotations

from pathlib import Path

from engine.artifacts.review import read_reviewers, read_verdicts
from engine.artifacts.run_layout import RunLayout
from tests.engine.review.desk import answer, reading, undo


def test_verdicts_go_into_the_sheet_in_its_order(run: Path) -> None:
    path, page = RunLayout(run).review(1, "hard"), reading(run)
    task = page.get("/api/judge").json()
    assert (task["done"], task["total"]) == (0, 4) and task["item"]["shows"]
    assert task["item"]["beside"][0]["caption"].startswith("made from: ")
    assert task["item"]["guess"] == []
    assert answer(page, "accept", work="judge")["last"]["said"] == "accepted"
    task = answer(page, "reject", work="judge")
    assert task["last"]["said"] == "rejected" and len(task["last"]["guess"]) == 3
    text = path.read_text()
    assert text == "image,verdict,reviewer\nr1_000,accept,Ana\nr1_001,reject,Ana\nr1_002,,\nr1_003,,\n"
    assert undo(page, work="judge")["item"]["key"] == task["last"]["key"]
    assert read_verdicts(path) == {"r1_000": "accept"}
    again = reading(run)
    assert undo(again, work="judge")["done"] == 0, "also after another start"
    for _ in range(4):
        task = answer(again, "accept", work="judge")
    assert task["item"] is None and reading(run).get("/api/judge").json()["total"] == 0


def test_an_image_has_one_verdict_and_nobody_takes_back_anothers(run: Path) -> None:
    path, ana, bo = RunLayout(run).review(1, "hard"), reading(run, "Ana"), reading(run, "Bo")
    key = bo.get("/api/judge").json()["item"]["key"]
    answer(ana, "accept", work="judge")
    late = bo.post("/api/judge/answer", json={"reader": "Bo", "key": key, "choice": "reject"})
    assert late.status_code == 409 and late.json()["task"]["item"]["key"] != key
    own = ana.post("/api/judge/answer", json={"reader": "Ana", "key": key, "choice": "reject"})
    assert own.status_code == 409, "another window of the same reader"
    assert bo.post("/api/judge/undo", json={"reader": "Bo", "key": key}).status_code == 409
    assert bo.get("/api/judge").json()["last"] is None
    assert read_reviewers(path)["r1_000"] == ("accept", "Ana")
    wrong = bo.post("/api/judge/answer", json={"reader": "Bo", "key": key, "choice": "label:nv"})
    assert wrong.status_code == 409


def test_a_broken_sheet_is_named_with_its_line(run: Path) -> None:
    page = reading(run)
    RunLayout(run).review(1, "hard").write_text("image,verdict,reviewer\nr1_000,maybe,\n")
    found = page.get("/api/judge")
    assert found.status_code == 500 and "line 2: verdict 'maybe' is none" in found.json()["error"]


def test_pictures_of_both_kinds_come_as_pixels(run: Path) -> None:
    page = reading(run)
    photograph = page.get(f"/picture/{page.get('/api/diagnose').json()['item']['key']}")
    synthetic = page.get(f"/picture/{page.get('/api/judge').json()['item']['key']}")
    assert photograph.headers["content-type"] == "image/jpeg" and b"secret comment" not in photograph.content
    assert synthetic.status_code == 200
