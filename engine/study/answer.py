"""The answer in one sentence: did hard cases help, hurt, or is neither shown, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.evaluation.figures import in_sentence, is_share
from engine.evaluation.intervals import DIFFERENCE, no_interval
from engine.study.comparison import Difference
from engine.study.verdict import Evidence, Pair, Verdict, verdict


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The sentence with its verdict, and the reason that stands after it."""

    sentence: str
    verdict: Verdict
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON object."""
        return {"sentence": self.sentence, "verdict": self.verdict, "reason": self.reason}


def answer(evidence: Evidence) -> Answer:
    """Return the sentence with the verdict at its end, and the reason.

    The sentence is about the primary endpoint, hard minus real and hard minus random; co-primary figures stand in a clause
    of their own. Against an arm that trained on the same images as hard it says that nothing was tested, without a figure.
    """
    found, reason = verdict(evidence)
    return Answer(sentence=f"{_told(evidence)}: {found}.", verdict=found, reason=reason)


def difference_text(
    difference: Difference | None, figure: str = "malignant.sensitivity", lesions: int | None = None
) -> str:
    """Return ``+4.2 points [+1.0, +7.4]`` (percentage points) of a share, else ``+0.012 [+0.006, +0.018]``.

    Where the interval says nothing, what ``no_interval`` says stands in the brackets; ``lesions``: how many there are.
    """
    if difference is None:
        return "an unknown amount"
    value, low, high = difference.value, difference.low, difference.high
    said = no_interval(value, low, high, lesions, DIFFERENCE)
    if is_share(figure):
        return f"{100 * value:+.1f} points [{said or f'{100 * low:+.1f}, {100 * high:+.1f}'}]"
    return f"{value:+.3f} [{said or f'{low:+.3f}, {high:+.3f}'}]"


def lesions_of(evidence: Evidence, figure: str) -> int | None:
    """Return how many lesions a figure of the answer rests on; None: not known."""
    rests_on = evidence.lesions.get(figure)
    return rests_on.count if rests_on is not None else None


def _told(evidence: Evidence) -> str:
    point = in_sentence(evidence.figure, evidence.operating_point)
    names = evidence.names
    tested = [arm for arm in names if evidence.primary.of(arm) is not None]
    if evidence.untested and not tested:
        same = " and ".join(names[arm] for arm in names if arm in evidence.untested)
        why = "no synthetic image was accepted and " if evidence.none_accepted else ""
        return f"Nothing was tested, since {why}hard trained on the same images as {same}"
    if not tested:
        return f"How hard cases changed {point} cannot be told"
    shown = [arm for arm in names if arm not in evidence.untested]
    changes = " and ".join(_change(evidence, arm) for arm in shown)
    clauses = [f"Hard cases changed {point} by {changes}"]
    for figure, pair in evidence.further.items():
        amounts = _amounts(pair, figure, shown, evidence)
        if amounts:
            clauses.append(f"and {in_sentence(figure, evidence.operating_point)} by {amounts}")
    clauses += [
        f"and nothing was tested against {names[arm]}, which trained on the same images"
        for arm in names
        if arm in evidence.untested
    ]
    return ", ".join(clauses)


def _change(evidence: Evidence, arm: str) -> str:
    """``+4.2 points [+1.0, +7.4] against real``, with the reason where it is unknown."""
    difference = evidence.primary.of(arm)
    why = "" if difference is not None else f" ({evidence.why_missing(arm)})"
    text = difference_text(difference, evidence.figure, lesions_of(evidence, evidence.figure))
    return f"{text} against {evidence.names[arm]}{why}"


def _amounts(pair: Pair, figure: str, shown: list[str], evidence: Evidence) -> str:
    """A co-primary figure's differences in the order of the sentence; named where one of the two is missing."""
    known = [arm for arm in shown if pair.of(arm) is not None]
    names, lesions = evidence.names, lesions_of(evidence, figure)
    texts = [difference_text(pair.of(arm), figure, lesions) for arm in known]
    if known == list(names):
        return " and ".join(texts)
    return " and ".join(f"{text} against {names[arm]}" for text, arm in zip(texts, known, strict=True))
