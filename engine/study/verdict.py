"""Helped, hurt or not shown: what the answer is read from, and the rule by which it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from engine.evaluation.figures import lower_is_better
from engine.study.comparison import Difference, too_few_replicates
from engine.study.lesions import Behind, plain_words, why_untold

Verdict = Literal["helped", "hurt", "not shown"]
MARGIN = 0.02
"""Non-inferiority margin: specificity and melanoma sensitivity may not be worse by more than this share."""
GUARDS: Final = ("malignant.specificity", "melanoma.sensitivity")
"""Figures that may not be worse against real for hard cases to count as helping."""
NAMES: Mapping[str, str] = {"real": "real", "random": "random synthesis"}
"""How the sentence names the arms that it compares ``hard`` with."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One figure's headline differences, hard minus real and hard minus random; None where it cannot be computed."""

    real: Difference | None = None
    random: Difference | None = None

    def of(self, arm: str) -> Difference | None:
        """Return the difference against ``real`` or ``random``."""
        return self.real if arm == "real" else self.random


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the answer is read from: headline differences of the primary endpoint, and what must not suffer.

    Attributes:
        figure: the primary endpoint; ``against_real`` and ``against_random`` are its differences, None where they cannot
            be computed.
        further: the co-primary figures, in their order.
        lesions: what each of these figures rests on; a figure that is absent rests on an unknown number, and tells nothing.
        draws: bootstrap draws in which each of these figures is defined.
        kind: what a replicate is (``training set``, ``fold``, ``training seed``).
        missing: why a difference cannot be computed, by ``real``, ``random``, ``endpoint`` (undefined for every arm) or
            ``melanoma`` (the data has melanomas, but too few to tell; without that entry it has none).
        untested: of ``real`` and ``random`` those that trained on the same images as ``hard`` in every run.
        none_accepted: that is so because ``hard`` has no accepted image.
        partly: in how many replicates an arm trained on the same images as ``hard``, in words; "" where in none or all.
        unmatched: how many images random and hard had added, where these are unequal: then no gain is shown; "" where equal.
        caveat: what a gain may owe to something else than hard cases, and is said beside it; "" for nothing.
        objection: a flaw of the study itself that forbids a claim.
        operating_point: specificity of the malignant operating point.
        names: how the sentence and the reason name ``real`` and ``random``.
    """

    protocol: str
    replicates: int
    against_real: Difference | None
    against_random: Difference | None
    specificity: Difference | None
    melanoma_sensitivity: Difference | None
    figure: str = "malignant.sensitivity"
    further: Mapping[str, Pair] = field(default_factory=dict)
    lesions: Mapping[str, Behind] = field(default_factory=dict)
    draws: Mapping[str, int] = field(default_factory=dict)
    kind: str = "training set"
    missing: Mapping[str, str] | None = None
    untested: tuple[str, ...] = ()
    none_accepted: bool = False
    partly: str = ""
    unmatched: str = ""
    caveat: str = ""
    objection: str | None = None
    operating_point: float = 0.90
    margin: float = MARGIN
    names: Mapping[str, str] = field(default_factory=lambda: NAMES)

    @property
    def primary(self) -> Pair:
        """The primary endpoint's differences."""
        return Pair(real=self.against_real, random=self.against_random)

    def why_untold(self, difference: Difference, figure: str) -> str:
        """Say why nothing can be claimed of one of the differences; "" where something can."""
        return why_untold(difference, figure, self.lesions.get(figure), self.draws.get(figure, 0))

    def why_missing(self, arm: str) -> str:
        """Say why the difference against ``real`` or ``random``, or in ``melanoma`` sensitivity, cannot be computed."""
        if arm in self.untested:
            return f"nothing was tested against {arm}: {self.why_untested}"
        known = self.missing or {}
        return known.get("endpoint") or known.get(arm) or f"{arm} was not run"

    @property
    def why_untested(self) -> str:
        """Why nothing was tested against the arms in ``untested``."""
        why = "no synthetic image was accepted, so " if self.none_accepted else ""
        return f"{why}hard trained on the same images"


def verdict(evidence: Evidence) -> tuple[Verdict, str]:
    """Return helped, hurt or not shown, and why.

    Helped: a safe protocol, FEWEST_REPLICATES replicates or more, both of the primary endpoint's intervals on the better
    side of 0 (above it, or below where lower is better), as many images added for random as for hard, no co-primary figure's
    interval against real on its worse side, and specificity and melanoma sensitivity not worse by more than ``margin``
    (lower end of their intervals, against real); data that has melanomas must show what became of them, data of which
    melanoma is no class need not. Hurt: the interval against real lies on the worse side of 0 under the same protocol and
    replicates. Everything else is not shown.

    A figure that rests on fewer than FEWEST_LESIONS lesions, or whose interval says nothing (``no_interval``), cannot be
    told: it shows neither that something is better nor that it did not suffer. Nor can it with too few bootstrap draws.
    """
    found, why = _verdict(evidence)
    return found, f"{why}; {evidence.partly}" if evidence.partly else why


def gain(difference: Difference, figure: str) -> tuple[float, float]:
    """Return the interval's ends, turned round where lower is better: above 0 is a gain."""
    if lower_is_better(figure):
        return -difference.high, -difference.low
    return difference.low, difference.high


def _verdict(evidence: Evidence) -> tuple[Verdict, str]:
    real, random, barred = evidence.against_real, evidence.against_random, _barred(evidence)
    if barred or real is None:
        return "not shown", barred
    if untold := evidence.why_untold(real, evidence.figure):
        return "not shown", untold
    better, worse = ("below", "above") if lower_is_better(evidence.figure) else ("above", "below")
    if gain(real, evidence.figure)[1] < 0:
        return "hurt", f"the interval against {evidence.names['real']} lies {worse} 0"
    melanoma = evidence.melanoma_sensitivity
    doubts = [
        (gain(real, evidence.figure)[0] > 0, f"the interval against {evidence.names['real']} holds 0"),
        (random is not None, evidence.why_missing("random")),
        (
            random is None
            or (
                gain(random, evidence.figure)[0] > 0
                and not evidence.why_untold(random, evidence.figure)
            ),
            _no_gain(random, evidence, worse),
        ),
        (not evidence.unmatched, evidence.unmatched),
        *[_kept(pair.real, name, evidence) for name, pair in evidence.further.items()],
        _not_fallen(evidence.specificity, GUARDS[0], "specificity", evidence),
        (True, "")
        if melanoma is None
        else _not_fallen(melanoma, GUARDS[1], "melanoma sensitivity", evidence),
        (
            melanoma is not None or "melanoma" not in (evidence.missing or {}),
            evidence.why_missing("melanoma"),
        ),
    ]  # fmt: skip
    why = list(dict.fromkeys(text for holds, text in doubts if not holds))
    if why:
        return "not shown", "; ".join(why)
    undefined = " (melanoma sensitivity is not defined here)" if melanoma is None else ""
    caveat = f"; {evidence.caveat}" if evidence.caveat else ""
    return "helped", f"both intervals lie {better} 0, nothing else suffered{undefined}{caveat}"


def _barred(evidence: Evidence) -> str:
    """Why nothing may be claimed either way; "" where something may."""
    if "real" in evidence.untested:
        return evidence.why_missing("real")
    if evidence.protocol != "safe":
        return f"the protocol is {evidence.protocol.replace('_', ' ')}"
    if evidence.objection:
        return evidence.objection
    if evidence.against_real is None:
        return evidence.why_missing("real")
    return too_few_replicates(evidence.replicates, evidence.kind)


def _kept(difference: Difference | None, figure: str, evidence: Evidence) -> tuple[bool, str]:
    """Whether a co-primary figure is told and not worse against real, and what is said where not."""
    against = f"against {evidence.names['real']}"
    if difference is None:
        return False, f"{plain_words(figure)} {against} cannot be computed"
    if untold := evidence.why_untold(difference, figure):
        return False, untold
    return not _lost(difference, figure), f"{plain_words(figure)} is worse {against}"


def _not_fallen(
    difference: Difference | None, figure: str, name: str, evidence: Evidence
) -> tuple[bool, str]:
    """Whether a guard is told and not worse by more than the margin, and what is said where not."""
    fallen = f"{name} may have fallen by more than {100 * evidence.margin:g} points"
    if difference is None:
        return False, fallen
    if untold := evidence.why_untold(difference, figure):
        return False, untold
    return difference.low > -evidence.margin, fallen


def _no_gain(difference: Difference | None, evidence: Evidence, worse: str) -> str:
    if difference is not None and (untold := evidence.why_untold(difference, evidence.figure)):
        return untold
    lost = _lost(difference, evidence.figure)
    return f"the interval against {evidence.names['random']} {f'lies {worse}' if lost else 'holds'} 0"


def _lost(difference: Difference | None, figure: str) -> bool:
    """Whether the whole interval lies on the worse side of 0."""
    return difference is not None and gain(difference, figure)[1] < 0
