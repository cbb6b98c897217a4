"""What people answer while a round is under way: every arm of the round sees the same, and nobody decides behind accept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.artifacts import labels
from engine.artifacts.labels import Answer
from engine.artifacts.run_layout import RunLayout
from engine.execution.backend import StageCall
from tests.engine.test_loop import loop_of
from tests.paper_backend import VariedBackend

BUYING: dict[str, Any] = {"data": {"split": {"hide_labels": 0.5}}}
ARMS = ["hard", "queried", "queried_random", "hard_and_queried"]


class Answering(VariedBackend):
    """A reader changes an answer as soon as the first arm that buys labels trains."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.run_folder = run

    def _pool(self, call: StageCall) -> None:
        super()._pool(call)
        if call.params["arm"] == "queried":
            labels.append(self.run_folder, [Answer(image_id="q1", reader="ann", dx="nv")])


def test_arms_of_one_round_train_on_the_same_answers(tmp_path: Path) -> None:
    backend = Answering(tmp_path / "a")
    loop = loop_of(tmp_path, backend, loop={"rounds": 1, "arms": ARMS}, **BUYING)
    labels.append(tmp_path / "a", [Answer(image_id="q1", reader="ann", dx="mel")])
    loop.play()
    given = {call.params["arm"]: call.params.get("answers") for call in backend.of("pool")}
    buyers = ("queried", "queried_random", "hard_and_queried")
    assert given == {"real": None, "hard": None} | {arm: {"q1": "mel"} for arm in buyers}


def test_the_next_round_asks_by_the_answers_that_the_arm_trained_on(tmp_path: Path) -> None:
    backend = VariedBackend()
    sections = {"loop": {"rounds": 2, "arms": ARMS, "labels_from": "oracle"}, **BUYING}
    loop_of(tmp_path, backend, **sections).play()
    given = [(call.params.get("besides"), call.params.get("answers")) for call in backend.of("ask")]
    assert given == [(None, None)] * 2 + [(["q1"], {"q1": "nv"})] * 2
    trained = [call.params["answers"] for call in backend.of("pool") if call.params["arm"] == "queried"]
    assert trained == [{"q1": "nv"}, {"q1": "nv", "q2": "mel"}]


def test_an_image_that_nobody_could_tell_is_passed_on_without_an_answer(tmp_path: Path) -> None:
    backend = VariedBackend()
    loop = loop_of(tmp_path, backend, loop={"rounds": 2, "arms": ["hard", "queried"]}, **BUYING)
    labels.append(tmp_path / "a", [Answer(image_id="q1", reader="ann", kind="unsure")])
    loop.play()
    _, second = backend.of("ask")
    assert second.params["besides"] == ["q1"] and "answers" not in second.params


class Reviewing(VariedBackend):
    """A person decides on the images while ``accept`` is under way, which was given no verdict."""

    def __init__(self, sheet: Path) -> None:
        super().__init__()
        self.sheet = sheet

    def _accept(self, call: StageCall) -> None:
        super()._accept(call)
        self.sheet.parent.mkdir(parents=True, exist_ok=True)
        self.sheet.write_text("image,verdict,reviewer\nsample_1_0,accept,ann\n", encoding="utf-8")


@pytest.mark.parametrize("again", [False, True])
def test_a_verdict_that_accept_was_not_given_decides_nothing(tmp_path: Path, again: bool) -> None:
    sections: dict[str, Any] = {
        "loop": {"rounds": 1, "arms": ["hard"]}, "policy": {"acceptance": {"name": "reviewed"}}
    }  # fmt: skip
    backend = Reviewing(RunLayout(tmp_path / "a").review(1, "hard"))
    report = loop_of(tmp_path, backend, **sections).play()
    assert report["stopping"]["action"] == "review", "accept has accepted by no verdict"
    if again:
        report = loop_of(tmp_path, backend, **sections).play()
        assert report["stopping"]["action"] == "stop"
        assert [call.params["review"] for call in backend.of("accept")] == [{}, {"sample_1_0": "accept"}]
