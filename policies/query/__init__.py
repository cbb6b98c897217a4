"""Query policies: which unlabelled images a reader is asked about. One module per idea; all share ``asking.Ask``."""

from policies.query.asking import Random
from policies.query.coverage import KCenter
from policies.query.gradients import Badge
from policies.query.typical import TypicalThenUncertain
from policies.query.uncertainty import Bald, Committee, Entropy, Margin

__all__ = [
    "Badge",
    "Bald",
    "Committee",
    "Entropy",
    "KCenter",
    "Margin",
    "Random",
    "TypicalThenUncertain",
]
