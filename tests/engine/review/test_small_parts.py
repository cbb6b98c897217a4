"""Names of readers and classes, the pace, the note of the stage in progress, and what the commands refuse."""

from __future__ import annotations

import io
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from engine.artifacts import run_progress
from engine.commands import review_command
from engine.errors import ConfigError, DataError
from engine.execution import noted_progress
from engine.execution.noted_progress import NotedProgress
from engine.execution.progress import QuietListener
from engine.review.class_names import class_names
from engine.review.pace import seconds_left
from engine.review.reader_names import reader_name
from engine.review.server import Place, listen
from engine.store import StageFolder


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), (" \t ", "is empty"), ("x" * 61, "61 characters; give at most 60"),
     ("a\x1b[2Jb", "control characters"), ("a\u202eb", "control characters"), ("Oracle", "no person gave")],
)  # fmt: skip
def test_names_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reader_name(text)


def test_one_name_has_one_spelling() -> None:
    assert reader_name("  Jose\u0301   Silva ") == "Jos\u00e9 Silva"
    assert reader_name("<b>Ana</b>") == "<b>Ana</b>"


def test_classes_in_a_clinicians_words() -> None:
    names = class_names(["akiec", "mel", "my_class", *"abcdefgh"], ["mel", "akiec", "my_class"])
    assert names["mel"].words == "melanoma (malignant)" and names["mel"].key == "2"
    assert names["akiec"].short.endswith("(premalignant)") and "counted as malignant" in names["akiec"].words
    assert names["my_class"].words == "my_class (malignant)"
    assert [names[c].key for c in "abcdefgh"] == ["4", "5", "6", "7", "8", "9", "0", "b"]


def test_more_classes_than_digits_have_letters_that_mean_nothing_else() -> None:
    many = class_names([f"class {number}" for number in range(30)], [])
    keys = [name.key for name in many.values()]
    assert len(set(keys[:28])) == 28 and keys[28:] == ["", ""]
    assert not set("afrux?+=-") & set(keys)


def test_the_pace_is_the_median_and_pauses_do_not_count() -> None:
    times = [f"2026-01-01T10:{m:02d}:{s:02d}+00:00" for m, s in ((0, 0), (0, 4), (0, 10), (30, 0), (30, 8))]
    assert seconds_left(times, 10) == 60.0, "gaps of 4, 6 and 8 s; half an hour away is none"
    assert seconds_left(times[:2], 10) is None and seconds_left(["no time", *times[:3]], 2) == 10.0


def test_the_stage_in_progress_is_noted_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=100.0, time=time.time)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(noted_progress, "time", clock)
    noted = NotedProgress(QuietListener(), tmp_path)
    assert run_progress.read_if_written(tmp_path) is None
    noted.stage_started("vae", "k")
    clock.now += 5
    noted.progress("k", "vae", 2, 10)
    clock.now += 4
    noted.progress("k", "vae", 4, 10)
    found = run_progress.read_if_written(tmp_path)
    assert found is not None and (found.stage, found.done, found.total) == ("vae", 4, 10)
    assert found.seconds_left == 12.0, "2 steps in 4 s, 6 to go"
    noted.stage_finished(StageFolder(name="vae", key="k", path=tmp_path, seconds=1.0, cached=False))
    assert run_progress.read_if_written(tmp_path) is None
    (tmp_path / "progress.json").write_text("{")
    assert run_progress.read_if_written(tmp_path) is None, "a note that is damaged stops nothing"


def test_without_the_extra_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    for command in (review_command.review, review_command.watch):
        with pytest.raises(
            ConfigError, match=r"starlette: not installed; run pip install 'hardcase\[review\]'"
        ):
            command(tmp_path, Console(file=io.StringIO()))


def test_what_is_no_run_folder_and_no_address(tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    for command in (review_command.review, review_command.watch):
        with pytest.raises(DataError, match="no run folder"):
            command(tmp_path, console)
    with pytest.raises(ConfigError, match=r"--host nowhere\.invalid --port 0: cannot be used"):
        listen(Place(host="nowhere.invalid"))
    with listen(Place()) as taken:
        taken.listen(1)
        port = taken.getsockname()[1]
        assert taken.getsockname()[0] == "127.0.0.1" and taken.family == socket.AF_INET
        with pytest.raises(ConfigError, match=f"--port {port}: cannot be used"):
            listen(Place(port=port))
    assert Place(host="0.0.0.0").open_to_others and not Place(host="localhost").open_to_others


def test_a_closed_page_names_what_trains_with_the_answers(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=40)
    review_command.say_closed(tmp_path / "my run", console)
    said = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert said[0].startswith("closed   every answer is in ")
    assert (
        said[1]
        == f"next     hardcase run '{tmp_path / 'my run' / 'config.yaml'}'   (goes on with the answers)"
    )
