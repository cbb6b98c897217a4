"""What `hardcase run` says of how a run ended."""

from __future__ import annotations

from engine.commands.run_command import ending_lines


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
