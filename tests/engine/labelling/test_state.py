"""The state of labelling: what was asked and answered, per reader; and whether the model's guess was followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.artifacts import labels, oracle
from engine.artifacts.labels import ORACLE, Answer
from engine.labelling.guess import with_model
from engine.labelling.oracle import answer_open
from engine.labelling.questions import asked_images, guesses, open_images
from engine.labelling.state import ReaderCount, labelling_state
from tests.engine.labelling.labelled_run import said, write_questions, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = write_run(tmp_path / "run", [f"U{n}" for n in range(1, 8)])
    write_questions(run / "queries" / "0000", {"U4": "nv", "U2": "mel"})
    write_questions(run / "rounds" / "0001" / "arms" / "queried", {"U3": "mel", "U1": "nv", "U2": "bkl"})
    return run


def test_questions_in_the_order_asked(run: Path) -> None:
    assert asked_images(run) == ("U3", "U1", "U2", "U4")
    assert guesses(run) == {"U3": "mel", "U1": "nv", "U2": "mel", "U4": "nv"}, "the last one counts"
    labels.append(run, [Answer(image_id="U1", reader="ann", kind="unsure"), said("U3", "ann", "mel")])
    assert open_images(run) == ("U2", "U4")
    labels.append(run, [Answer(image_id="U3", reader="ann", kind="withdrawn")])
    assert open_images(run) == ("U3", "U2", "U4")


def test_nothing_yet(tmp_path: Path) -> None:
    state = labelling_state(write_run(tmp_path / "run", ["U1"]))
    assert (state.asked, state.open, state.readers, state.pairs, state.several) == (0, 0, (), (), None)
    assert not state.simulated
    assert (state.with_model.shown, state.with_model.unseen) == (0, 0)


def test_who_answered_what(run: Path) -> None:
    labels.append(run, [
        said("U3", "ann", "mel"), said("U3", "bob", "nv"), said("U3", "bob", "bkl"), said("U7", "ann", "nv"),
        Answer(image_id="U1", reader="ann", kind="unsure"), said("U2", "bob", "nv"),
        Answer(image_id="U2", reader="bob", kind="withdrawn"), said("U2", "bob", "nv"),
        said("U4", "cy", "mel"), Answer(image_id="U4", reader="cy", kind="withdrawn"),
        said("U7", "ann", "nv", shown=True),
    ])  # fmt: skip
    state = labelling_state(run)
    assert (state.asked, state.open, state.unasked) == (4, 1, 1)
    assert state.readers == (
        ReaderCount(reader="ann", labels=2, unsure=1, changed=0, withdrawn=0),
        ReaderCount(reader="bob", labels=2, unsure=0, changed=1, withdrawn=1),
        ReaderCount(reader="cy", labels=0, unsure=0, changed=0, withdrawn=1),
    )
    assert state.settled.conflicts == {"U3": {"ann": "mel", "bob": "bkl"}}
    assert [(pair.readers, pair.images) for pair in state.pairs] == [(("ann", "bob"), 1)]


def test_the_oracle_is_one_of_a_pair_but_no_person(run: Path, tmp_path: Path) -> None:
    oracle.write({"U4": "nv", "U3": "mel", "U2": "bkl"}, tmp_path / "split")
    found = answer_open(run, tmp_path / "split", 2)
    assert (found.answered, found.left, found.unknown) == (2, 1, 1)
    assert [answer.image_id for answer in labels.read(run)] == ["U3", "U2"], "in the order asked"
    found = answer_open(run, tmp_path / "split")
    assert (found.answered, found.left, found.unknown) == (1, 0, 1)
    labels.append(run, [said("U3", "ann", "mel")])
    state = labelling_state(run)
    assert state.simulated and state.open == 1
    assert [pair.readers for pair in state.pairs] == [("ann", ORACLE)]
    assert state.several is None
    assert state.with_model.unseen == 1, "the oracle follows no guess"


def test_answers_that_follow_the_guess() -> None:
    model = {str(n): "mel" for n in range(60)}
    answers = [said(str(n), "ann", "nv" if n in (0, 1) else "mel", shown=True) for n in range(30)]
    answers += [said(str(n), "ann", "nv" if n % 2 else "mel") for n in range(30, 60)]
    answers += [
        said("unasked", "ann", "mel"),
        said("0", ORACLE, "mel"),
        Answer(image_id="1", reader="bob", kind="unsure"),
    ]
    found = with_model(answers, model, {})
    assert (found.shown, found.shown_agree, found.unseen, found.unseen_agree) == (30, 28, 30, 15)
    assert found.difference["value"] == pytest.approx(28 / 30 - 0.5)
    low, high = found.difference["low"], found.difference["high"]
    assert low is not None and high is not None
    assert 0.1 < low < 0.35 < 0.5 < high < 0.75
    alone = with_model(answers[:30], model, {})
    assert (alone.unseen, alone.difference["value"]) == (0, None)
