"""Answers to a round's questions: from readers once all have one, or from the oracle, who knows hidden labels alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.artifacts import asked, labels, oracle
from engine.artifacts.labels import Answer, append
from engine.errors import DataError
from engine.labelling.answers import Answers, reply_to, uncover
from engine.types import strings
from tests.engine.artifacts import examples
from tests.race import writes_first


def test_readers_are_waited_for(tmp_path: Path) -> None:
    answers = Answers(run=tmp_path)
    images = ["a", "b", "c", "d"]
    assert reply_to(images, answers.now(images, tmp_path)).open == 4
    append(
        tmp_path,
        [Answer(image_id="a", reader="ann", dx="mel"), Answer(image_id="b", reader="ann", kind="unsure")],
    )
    append(
        tmp_path, [Answer(image_id="c", reader="ann", dx="nv"), Answer(image_id="c", reader="bob", dx="mel")]
    )
    reply = reply_to(images, answers.now(images, tmp_path))
    assert (reply.labels, reply.asked, reply.open, reply.conflicts, reply.unsure) == (
        {"a": "mel"},
        4,
        1,
        1,
        1,
    )
    assert not reply.simulated


def test_the_oracle_answers_once_and_knows_hidden_labels_alone(tmp_path: Path) -> None:
    run, split = tmp_path / "run", tmp_path / "split"
    run.mkdir()
    oracle.write({"a": "mel", "b": "nv"}, split)
    answers = Answers(run=run, source="oracle")
    for _ in range(2):
        reply = reply_to(["b", "a"], answers.now(["b", "a"], split))
        assert (dict(reply.labels), reply.open, reply.simulated) == ({"a": "mel", "b": "nv"}, 0, True)
    assert [a.reader for a in labels.read(run)] == [labels.ORACLE] * 2
    with pytest.raises(
        DataError, match=r"no hidden label of c \(1 in all\); set data.split.hide_labels, or have readers"
    ):
        answers.now(["a", "c"], split)
    assert uncover(run, ["a"], split) == 0


def test_the_oracle_answers_once_where_two_processes_ask_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, split = tmp_path / "run", tmp_path / "split"
    run.mkdir()
    oracle.write({"a": "mel", "b": "nv"}, split)
    writes_first(monkeypatch, run, [Answer(image_id="a", reader=labels.ORACLE, dx="mel")])
    assert uncover(run, ["a", "b"], split) == 1
    assert [a.image_id for a in labels.read(run)] == ["a", "b"]


def test_labels_that_no_round_asked_for_are_train_images(tmp_path: Path) -> None:
    question = examples.questions()
    asked.write(question, examples.ASKED, tmp_path / "rounds" / "0001" / "arms" / "queried")
    asked.write(
        asked.Asked(
            image_id=strings(["q"]), value_Q=question.value_Q[:1], predicted=strings(["nv"]),
            prob_QC=question.prob_QC[:1], neighbour_ids_QK=question.neighbour_ids_QK[:1],
        ),
        examples.ASKED, tmp_path / "queries" / "0000",
    )  # fmt: skip
    append(tmp_path, [Answer(image_id=image, reader="ann", dx="nv") for image in ("U1", "q", "of a file")])
    assert Answers(run=tmp_path).of_no_round() == {"q": "nv", "of a file": "nv"}
