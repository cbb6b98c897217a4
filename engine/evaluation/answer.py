"""The answer in one sentence: did hard cases help, hurt, or is neither shown, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from engine.evaluation.comparison import FEWEST_REPLICATES, Difference

Verdict = Literal["helped", "hurt", "not shown"]
MARGIN = 0.02
"""Non-inferiority margin: specificity and melanoma sensitivity may not be worse by more than this share."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the answer is read from: headline differences of the primary endpoint, and what must not suffer.

    ``kind`` says what a replicate is (``training set``, ``fold``, ``training seed``). A difference is None where it cannot
    be computed; ``missing`` then says why, by ``real``, ``random`` or ``endpoint`` (undefined for every arm). ``objection``
    is a flaw of the study itself that forbids a claim.
    """

    protocol: str
    replicates: int
    against_real: Difference | None
    against_random: Difference | None
    specificity: Difference | None
    melanoma_sensitivity: Difference | None
    kind: str = "training set"
    missing: dict[str, str] | None = None
    objection: str | None = None
    operating_point: float = 0.90
    margin: float = MARGIN


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The sentence with its verdict, and the reason that stands after it."""

    sentence: str
    verdict: Verdict
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON object."""
        return {"sentence": self.sentence, "verdict": self.verdict, "reason": self.reason}


def verdict(evidence: Evidence) -> tuple[Verdict, str]:
    """Return helped, hurt or not shown, and why.

    Helped: a safe protocol, FEWEST_REPLICATES replicates or more, both intervals above 0, and specificity and melanoma
    sensitivity not worse by more than ``margin`` (lower end of their intervals, against real). Hurt: the interval against
    real lies below 0 under the same protocol and replicates. Everything else is not shown.
    """
    barred = _barred(evidence)
    if barred:
        return "not shown", barred
    real, random = evidence.against_real, evidence.against_random
    if real is not None and real.high < 0:
        return "hurt", "the interval against real lies below 0"
    points = f"{100 * evidence.margin:g} points"
    doubts = (
        (real is not None and real.low > 0, "the interval against real holds 0"),
        (random is not None, _missing(evidence, "random")),
        (random is None or random.low > 0, _not_above(random, "random synthesis")),
        (
            evidence.specificity is not None and evidence.specificity.low > -evidence.margin,
            f"specificity may have fallen by more than {points}",
        ),
        (
            evidence.melanoma_sensitivity is None or evidence.melanoma_sensitivity.low > -evidence.margin,
            f"melanoma sensitivity may have fallen by more than {points}",
        ),
    )
    why = [text for holds, text in doubts if not holds]
    if why:
        return "not shown", "; ".join(why)
    melanoma = (
        "" if evidence.melanoma_sensitivity is not None else " (melanoma sensitivity is not defined here)"
    )
    return "helped", f"both intervals lie above 0, nothing else suffered{melanoma}"


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
            text = f" ({_missing(evidence, name)})"
            real, random = (real + text, random) if name == "real" else (real, random + text)
    sentence = f"Hard cases changed {point} by {real} and {random}: {found}."
    return Answer(sentence=sentence, verdict=found, reason=reason)


def difference_text(difference: Difference | None) -> str:
    """Return ``+4.2 points [+1.0, +7.4]``: percentage points with the 95 % interval."""
    if difference is None:
        return "an unknown amount"
    value, low, high = (100 * v for v in (difference.value, difference.low, difference.high))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"


def _barred(evidence: Evidence) -> str:
    """Why nothing may be claimed either way; "" where something may."""
    if evidence.protocol != "safe":
        return f"the protocol is {evidence.protocol}"
    if evidence.objection:
        return evidence.objection
    if evidence.against_real is None:
        return _missing(evidence, "real")
    count = evidence.replicates
    if count < FEWEST_REPLICATES:
        return f"{count} {evidence.kind}{'' if count == 1 else 's'}; {FEWEST_REPLICATES} are the fewest for a claim"
    return ""


def _missing(evidence: Evidence, arm: str) -> str:
    known = evidence.missing or {}
    return known.get("endpoint") or known.get(arm) or f"{arm} was not run"


def _not_above(difference: Difference | None, name: str) -> str:
    below = difference is not None and difference.high < 0
    return f"the interval against {name} {'lies below' if below else 'holds'} 0"
