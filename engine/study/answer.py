"""The answer in one sentence: did hard cases help, hurt, or is neither shown, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.study.comparison import Difference, Evidence, Verdict, verdict


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
    """Return the sentence with the verdict at its end, and the reason."""
    found, reason = verdict(evidence)
    point = f"malignant sensitivity at {100 * evidence.operating_point:g} % specificity"
    if evidence.against_real is None and evidence.against_random is None:
        return Answer(
            sentence=f"How hard cases changed {point} cannot be told: {found}.", verdict=found, reason=reason
        )
    real = f"{difference_text(evidence.against_real)} against real"
    random = f"{difference_text(evidence.against_random)} against random synthesis"
    for name, difference in (("real", evidence.against_real), ("random", evidence.against_random)):
        if difference is None:
            text = f" ({evidence.why_missing(name)})"
            real, random = (real + text, random) if name == "real" else (real, random + text)
    sentence = f"Hard cases changed {point} by {real} and {random}: {found}."
    return Answer(sentence=sentence, verdict=found, reason=reason)


def difference_text(difference: Difference | None) -> str:
    """Return ``+4.2 points [+1.0, +7.4]``: percentage points with the 95 % interval."""
    if difference is None:
        return "an unknown amount"
    value, low, high = (100 * v for v in (difference.value, difference.low, difference.high))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"
