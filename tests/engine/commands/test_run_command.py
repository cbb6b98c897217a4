"""What `hardcase run` says of how a run ended."""

from __future__ import annotations

import io
from pathlib import Path

from engine.artifacts import labels
from engine.artifacts.labels import Answer
from engine.artifacts.secrets import MASK
from engine.commands.run_command import ending_lines, mlflow_line, query_lines, say_answers
from engine.commands.run_study import say_left_answers
from engine.execution.console import plain_console
from engine.tracking.saved_view import page
from tests.integration.tiny import tiny_config


def test_a_roll_back_says_why_a_later_round_is_not_champion() -> None:
    stopping = {
        "action": "roll_back",
        "reason": "specificity fell to 0.850; back to round 1",
        "keep_round": 1,
    }
    champion = {"round": 1, "arm": "hard"}
    assert ending_lines({"stopping": stopping, "champion": champion}) == [
        "rolled back: specificity fell to 0.850; back to round 1; champion of the rounds up to 1: round 1 hard"
    ]
    assert ending_lines({"stopping": stopping, "champion": None})[0].endswith(": none"), "a leaky run"


def test_only_what_a_person_has_to_know_is_said() -> None:
    review = {"action": "review", "reason": "fill in review.csv"}
    assert ending_lines({"stopping": review, "champion": None}) == ["review  fill in review.csv"]
    assert ending_lines({"stopping": {"action": "stop", "reason": "done"}, "champion": None}) == []


def test_the_address_of_the_tracked_run_is_printed_as_it_is(tmp_path: Path) -> None:
    """The console masks what looks like a key in an address."""
    (tmp_path / "mlflow.json").write_text('{"experiment_id": "3", "view": "hardcase"}')
    console = plain_console(file=io.StringIO(), width=300)
    console.print(mlflow_line(tiny_config(str(tmp_path)), tmp_path), soft_wrap=True)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"http://127.0.0.1:5000{page(tmp_path)}" in printed and MASK not in printed


def test_it_is_said_that_answers_train(tmp_path: Path) -> None:
    config = tiny_config(str(tmp_path), name="mine")
    run, console = tmp_path / "mine", plain_console(file=io.StringIO(), width=300)
    say_answers(config, console)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
    run.mkdir()
    labels.append(run, [Answer(image_id=name, reader="ann", dx="mel") for name in ("a", "b")])
    say_answers(config, console)
    assert "2 images that readers labelled are train images" in console.file.getvalue()  # type: ignore[attr-defined]
    say_left_answers(run, console)
    assert "do not train on the 2 images" in console.file.getvalue()  # type: ignore[attr-defined]


def test_images_without_a_diagnosis_can_be_asked_about(tmp_path: Path) -> None:
    config = tiny_config(str(tmp_path))
    report = {"data": {"unlabelled": 2000}, "stopping": {"action": "stop"}}
    assert query_lines(Path("runs/mine"), report, config) == [
        "or       hardcase query runs/mine --count 50 --out ask   "
        "(chooses which of 2000 images without a diagnosis to ask about)"
    ]
    assert query_lines(Path("runs/mine"), report | {"stopping": {"action": "review"}}, config) == []
    assert query_lines(Path("runs/mine"), report | {"data": {}}, config) == []
    (tmp_path / "queries" / "0000").mkdir(parents=True)
    assert " --out ask_2 " in query_lines(tmp_path, report, config)[0], (
        "the folder of the first questions is full"
    )
