"""Answers of readers: none is lost, changed or invented; conflicts stay conflicts; a kill leaves the file whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.artifacts.labels import FILE, KINDS, ORACLE, Answer, append, read, settle, standing
from engine.errors import DataError

ANSWERS = st.builds(
    lambda image, reader, kind, dx, shown: Answer(
        image_id=image, reader=reader, kind=kind, dx=dx if kind == "label" else "", guess_shown=shown
    ),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["ann", "bob", ORACLE]),
    st.sampled_from(KINDS),
    st.sampled_from(["mel", "nv", "bkl"]),
    st.booleans(),
)


def said(image: str, reader: str, dx: str) -> Answer:
    return Answer(image_id=image, reader=reader, dx=dx)


def test_answers_are_kept_in_order_with_their_time(tmp_path: Path) -> None:
    assert read(tmp_path) == ()
    append(tmp_path, [])
    assert not (tmp_path / FILE).exists()
    append(
        tmp_path,
        [said("a", "ann", "mel"), Answer(image_id="b", reader="ann", kind="unsure", guess_shown=True)],
    )
    append(tmp_path, [Answer(image_id="a", reader="ann", kind="withdrawn", at="2026-01-01T00:00:00+00:00")])
    first, second, third = read(tmp_path)
    assert (first.dx, second.kind, second.guess_shown, third.at) == (
        "mel",
        "unsure",
        True,
        "2026-01-01T00:00:00+00:00",
    )
    assert first.at == second.at and first.at.endswith("+00:00")


def test_what_counts() -> None:
    found = settle(
        [
            said("agreed", "ann", "mel"), said("agreed", "bob", "mel"),
            said("conflict", "ann", "mel"), said("conflict", "bob", "nv"),
            said("changed", "ann", "mel"), said("changed", "ann", "nv"),
            said("taken back", "ann", "mel"), Answer(image_id="taken back", reader="ann", kind="withdrawn"),
            said("one unsure", "ann", "bkl"), Answer(image_id="one unsure", reader="bob", kind="unsure"),
            Answer(image_id="all unsure", reader="bob", kind="unsure"),
            said("uncovered", ORACLE, "nv"), said("also a person", ORACLE, "nv"), said("also a person", "ann", "nv"),
        ]
    )  # fmt: skip
    assert found.labels == {
        "agreed": "mel", "changed": "nv", "one unsure": "bkl", "uncovered": "nv", "also a person": "nv"
    }  # fmt: skip
    assert found.conflicts == {"conflict": {"ann": "mel", "bob": "nv"}}
    assert (found.unsure, found.simulated) == ({"all unsure"}, {"uncovered"})
    assert found.answered == {*found.labels, "conflict", "all unsure"}


@given(st.lists(ANSWERS, max_size=20))
def test_every_image_is_settled_in_one_way_by_the_last_answers(answers: list[Answer]) -> None:
    found, last = settle(answers), standing(answers)
    assert found.answered == set(last)
    assert not set(found.labels) & set(found.conflicts) and not set(found.labels) & found.unsure
    for image, readers in last.items():
        classes = {a.dx for a in readers.values() if a.kind == "label"}
        assert (image in found.labels) == (len(classes) == 1)
        assert (image in found.conflicts) == (len(classes) > 1)
        for reader, answer in readers.items():
            own = [a for a in answers if (a.image_id, a.reader) == (image, reader)]
            assert own[-1] is answer


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "label"}, "only labels have one"),
        ({"kind": "unsure", "dx": "mel"}, "only labels have one"),
        ({"kind": "guess", "dx": "mel"}, "it is one of label, unsure, withdrawn"),
        ({"dx": "mel", "reader": ""}, "needs an image_id and a reader"),
    ],
)
def test_no_answer(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Answer(**{"image_id": "a", "reader": "ann"} | fields)  # type: ignore[arg-type]


def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path) -> None:
    append(tmp_path, [said("a", "ann", "mel")])
    damaged = (tmp_path / FILE).read_bytes()[:-9]
    (tmp_path / FILE).write_bytes(damaged)
    with pytest.raises(
        DataError, match=r"labels\.parquet: is no readable parquet file .*put its last copy back"
    ):
        append(tmp_path, [said("b", "ann", "mel")])
    assert (tmp_path / FILE).read_bytes() == damaged


WRITER = """
    import sys, time
    from pathlib import Path
    from engine.artifacts.labels import Answer, append
    run, reader = Path(sys.argv[1]), sys.argv[2]
    for number in range(10_000):
        append(run, [Answer(image_id=f"{number}", reader=reader, dx="mel")])
        print(number, flush=True)
        time.sleep(0.01)
"""


def counts(run: Path) -> list[int]:
    readers = [answer.reader for answer in read(run)]
    return [readers.count(name) for name in ("ann", "bob")]


@pytest.mark.slow
def test_two_readers_at_once_and_a_kill_lose_nothing_that_was_confirmed(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), reader],
            stdout=subprocess.PIPE,
            text=True,
        )
        for reader in ("ann", "bob")
    ]
    deadline = time.monotonic() + 60
    while min(counts(tmp_path)) < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(random.random() / 10)
    confirmed = {}
    for writer, reader in zip(writers, ("ann", "bob"), strict=True):
        os.kill(writer.pid, signal.SIGKILL)
        confirmed[reader] = [int(line) for line in writer.communicate()[0].split()]
    kept = {reader: [int(a.image_id) for a in read(tmp_path) if a.reader == reader] for reader in confirmed}
    for reader, numbers in confirmed.items():
        assert numbers, "each reader got an answer in"
        assert kept[reader] == list(range(len(kept[reader]))), "in order, none twice"
        assert len(numbers) <= len(kept[reader]) <= len(numbers) + 1
    append(tmp_path, [said("last", "cy", "nv")])
    assert read(tmp_path)[-1].image_id == "last"
