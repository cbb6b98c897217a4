"""Answers about unlabelled images: on the disk at once, per reader, taken back in order, truthful about the guess."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.artifacts import asked, labels
from engine.artifacts.labels import Answer
from engine.artifacts.run_layout import RunLayout
from tests.engine.review.desk import ACCESS, answer, client, reading, undo
from tests.engine.review.reviewable import ask, make_run, photographs
from tests.race import writes_first


def given(run: Path) -> list[tuple[str, str, str, bool]]:
    return [(a.image_id, a.kind, a.dx, a.guess_shown) for a in labels.read(run)]


def test_images_come_in_the_order_asked_and_each_answer_is_on_the_disk(run: Path) -> None:
    page, order = reading(run), asked.read_ids(RunLayout(run).queries / "0001").tolist()
    assert page.get("/api/diagnose").json()["total"] == len(order) == 8
    answer(page, "label:nv")
    assert given(run) == [(order[0], "label", "nv", False)]
    answer(page, "unsure")
    task = answer(page, "label:mel")
    assert given(run)[1:] == [(order[1], "unsure", "", False), (order[2], "label", "mel", False)]
    assert (task["done"], task["total"], task["last"]["said"]) == (3, 8, "melanoma (malignant)")
    again = reading(run).get("/api/diagnose").json()
    assert again["item"]["key"] == task["item"]["key"], "another start goes on where this one stopped"
    for _ in range(5):
        task = answer(page, "label:nv")
    assert task["item"] is None and task["done"] == 8
    assert [line[0] for line in given(run)] == order


def test_undo_withdraws_the_latest_again_and_again(run: Path) -> None:
    page = reading(run)
    first = page.get("/api/diagnose").json()["item"]["key"]
    answer(page, "label:nv")
    answer(page, "label:mel")
    assert undo(page)["last"]["said"] == "nevus"
    task = undo(page)
    assert task["last"] is None and task["item"]["key"] == first and task["done"] == 0
    assert [line[1] for line in given(run)] == ["label", "label", "withdrawn", "withdrawn"]
    assert labels.settle(labels.read(run)).answered == frozenset()
    stale = page.post("/api/diagnose/undo", json={"reader": "Ana", "key": first})
    assert stale.status_code == 409 and len(given(run)) == 4


def test_the_guess_comes_after_the_answer_and_answers_say_whether_it_was_seen(run: Path) -> None:
    page = reading(run)
    task = page.get("/api/diagnose").json()
    assert task["item"]["guess"] == [] and task["last"] is None
    after = answer(page, "label:nv")
    assert after["item"]["guess"] == [] and len(after["last"]["guess"]) == 3
    assert after["last"]["guess"][0]["percent"] >= after["last"]["guess"][1]["percent"]
    undo(page)
    answer(page, "label:mel")
    assert [line[3] for line in given(run)] == [False, False, True], "after the undo the guess had been seen"
    shown = reading(run, "Bo", show_guess=True)
    assert len(shown.get("/api/diagnose").json()["item"]["guess"]) == 3
    answer(shown, "label:nv", reader="Bo")
    assert given(run)[-1][3] is True


def test_readers_do_not_see_or_change_each_others_answers(run: Path) -> None:
    ana, bo = reading(run, "Ana"), reading(run, "Bo")
    first = answer(ana, "label:nv")["last"]["key"]
    task = bo.get("/api/diagnose").json()
    assert (task["done"], task["last"], task["item"]["key"]) == (0, None, first)
    assert "Ana" not in bo.get("/").text + bo.get("/list/diagnose").text
    answer(bo, "label:mel", reader="Bo")
    assert ana.get("/api/diagnose").json()["last"]["said"] == "nevus"
    body = {"reader": "Ana", "key": bo.get("/api/diagnose").json()["item"]["key"], "choice": "label:df"}
    assert bo.post("/api/diagnose/answer", json=body).status_code == 409, "the page was another reader's"
    assert labels.settle(labels.read(run)).conflicts == {given(run)[0][0]: {"Ana": "nv", "Bo": "mel"}}


def test_a_second_window_cannot_answer_twice(run: Path) -> None:
    page = reading(run)
    key = page.get("/api/diagnose").json()["item"]["key"]
    answer(page, "label:nv")
    again = page.post("/api/diagnose/answer", json={"reader": "Ana", "key": key, "choice": "label:mel"})
    assert again.status_code == 409 and again.json()["task"]["item"]["key"] != key
    for choice in ("label:none of them", "label:", "", "withdrawn"):
        key = page.get("/api/diagnose").json()["item"]["key"]
        body = {"reader": "Ana", "key": key, "choice": choice}
        assert page.post("/api/diagnose/answer", json=body).status_code == 409
    assert len(given(run)) == 1


def test_a_damaged_file_is_named_and_left_as_it_is(run: Path) -> None:
    page = reading(run)
    answer(page, "label:nv")
    RunLayout(run).labels.write_bytes(b"no parquet")
    key = page.get("/").text
    assert "labels.parquet" in key and "put its last copy back" in key
    assert page.get("/api/diagnose").status_code == 500
    assert RunLayout(run).labels.read_bytes() == b"no parquet"


def test_a_further_query_joins_and_an_image_is_asked_once(run: Path) -> None:
    layout = RunLayout(run)
    ids = asked.read_ids(layout.queries / "0001").tolist()
    page = reading(run)
    ask(run, layout.round_folder(1) / "arms" / "queried", ids[6:])
    page.get("/")
    task = page.get("/api/diagnose").json()
    answer(page, "label:nv")
    assert task["total"] == 8 and given(run)[0][0] == ids[6], "questions of rounds come first"


def test_a_labels_file_that_another_process_writes_is_seen(run: Path) -> None:
    page = reading(run)
    image = asked.read_ids(RunLayout(run).queries / "0001").tolist()[0]
    labels.append(run, [Answer(image_id=image, reader="Ana", dx="nv")])
    assert page.get("/api/diagnose").json()["done"] == 1


def test_of_two_windows_the_second_is_told_that_the_image_is_answered(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, image = reading(run), asked.read_ids(RunLayout(run).queries / "0001").tolist()[0]
    key = page.get("/api/diagnose").json()["item"]["key"]
    writes_first(monkeypatch, run, [Answer(image_id=image, reader="Ana", dx="nv")])
    body = {"reader": "Ana", "key": key, "choice": "label:mel"}
    assert page.post("/api/diagnose/answer", json=body).status_code == 409
    assert given(run) == [(image, "label", "nv", False)], "the first answer stands"


def test_an_answer_after_a_withdrawal_in_another_window_says_that_the_guess_was_seen(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, image = reading(run), asked.read_ids(RunLayout(run).queries / "0001").tolist()[0]
    there_and_back = [
        Answer(image_id=image, reader="Ana", dx="nv"), Answer(image_id=image, reader="Ana", kind="withdrawn")
    ]  # fmt: skip
    writes_first(monkeypatch, run, there_and_back)
    answer(page, "label:mel")
    assert given(run)[-1] == (image, "label", "mel", True)


def test_undo_takes_no_answer_back_that_is_no_more_the_last(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, images = reading(run), asked.read_ids(RunLayout(run).queries / "0001").tolist()
    key = answer(page, "label:nv")["last"]["key"]
    writes_first(monkeypatch, run, [Answer(image_id=images[1], reader="Ana", dx="mel")])
    assert page.post("/api/diagnose/undo", json={"reader": "Ana", "key": key}).status_code == 409
    assert [line[1] for line in given(run)] == ["label", "label"]


@pytest.mark.slow
def test_no_hidden_label_reaches_the_page(tmp_path: Path) -> None:
    """The oracle's file, and the class column of the images' table, are not needed and not told."""
    root = photographs(tmp_path / "data", labelled=84, unlabelled=0, side=24)
    split = {"train": 0.7, "mine": 0.1, "val": 0.1, "test": 0.1, "hide_labels": 0.6}
    run = make_run(tmp_path / "runs", root, questions=12, split=split)
    page = reading(run)
    assert len(page.get("/api/diagnose").json()["item"]["beside"]) == 4, "train images have a class"
    hidden = asked.read(RunLayout(run).queries / "0001")
    ask(run, RunLayout(run).queries / "0002", hidden.image_id[:1].tolist())
    as_neighbours = asked.read(RunLayout(run).queries / "0002")
    crossed = np.array([hidden.image_id[1:5]])
    asked.write(
        replace(as_neighbours, neighbour_ids_QK=crossed), asked.read_facts(RunLayout(run).queries / "0002"),
        RunLayout(run).queries / "0002",
    )  # fmt: skip
    shutil.rmtree(RunLayout(run).queries / "0001")
    assert reading(run).get("/api/diagnose").json()["item"]["beside"] == []


def test_metadata_of_the_patient_is_shown_and_no_id(run: Path) -> None:
    page = reading(run)
    task = page.get("/api/diagnose")
    assert task.json()["item"]["facts"][1:] == ["female", "back"]
    assert "shot_" not in task.text


@pytest.mark.slow
def test_hundreds_of_answers_stay_fast(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made.parent, tmp_path / "runs")
    run = tmp_path / "runs" / made.name
    old = [Answer(image_id=f"i{n}", reader="Ana", dx="nv") for n in range(1000)]
    labels.append(run, old)
    page = reading(run)
    start, computed = time.perf_counter(), time.process_time()
    for _ in range(8):
        answer(page, "label:nv")
        undo(page)
    assert (time.process_time() - computed) / 16 < 0.3, "without the wait for the disk"
    assert (time.perf_counter() - start) / 16 < 3
    assert len(labels.read(run)) == 1016


def test_the_name_that_the_server_was_started_with_is_the_only_one(run: Path) -> None:
    page = client(run, reader="Ana")
    page.get(f"/?token={ACCESS.token}")
    assert "Ana" in page.get("/").text and "change" not in page.get("/").text
    assert page.post("/reader", json={"name": "Bo"}).status_code == 409
    answer(page, "label:nv")
    assert labels.read(run)[0].reader == "Ana"
