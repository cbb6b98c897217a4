"""The arms: one table of what each trains on, where its images come from, and which sceptic it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Adds = Literal[
    "nothing",
    "own images",
    "own images softly",
    "mined images",
    "neighbours",
    "mine split",
    "synthetic images",
]
"""What an arm adds to the classifier's own images."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm of a round.

    Attributes:
        label: for readers: completes "trained"; at most 36 characters. The name stays in files, figures and config.
        adds: what joins the classifier's own images.
        labels: the arm whose newly labelled images are its own too; its own name where they are asked for it; "" for none.
        asks: who chooses the images to ask about: the query policy, or chance.
        own: whether those train at all.
        source: the arm whose synthetic images it trains on, its own name where they are made for it; "" for none.
        parents: where the parents of its own synthetic images come from: the hard cases, a draw that matches these class by
            class and parent by parent, or a uniform draw over the classifier's own images.
        generator: what makes them; None for ``synthesis.generator``.
        matched: additions are cut to what ``hard`` has accepted, class by class or in all.
        plain: it trains with ``classifier.plain_augment``, from a start of its own.
        headline: the answer's sentence compares ``hard`` with it.
        scratch: it makes sense only from random weights.
        confirmatory: its contrast with ``hard`` belongs to the Holm family.
        colour: in charts (after Okabe and Ito 2008, darkened for contrast on white).
        trains_on: in words, for tables.
        question: the sceptic's objection that it answers.
    """

    name: str
    label: str
    adds: Adds
    colour: str
    trains_on: str
    question: str = ""
    own: bool = True
    labels: str = ""
    asks: Literal["policy", "random", ""] = ""
    source: str = ""
    parents: Literal["mined", "random", "uniform", ""] = ""
    generator: Literal["dcgan"] | None = None
    matched: Literal["class", "total", ""] = ""
    plain: bool = False
    headline: bool = False
    scratch: bool = False
    confirmatory: bool = False

    @property
    def makes_images(self) -> bool:
        """Whether synthetic images are made for this arm."""
        return self.source == self.name


_TABLE: Final = (
    Arm(
        name="plain",
        label="on real images, flips alone",
        adds="nothing",
        colour="#8a6d5b",
        plain=True,
        trains_on="real train images with flips alone (`classifier.plain_augment`)",
        question="augmentation did it",
    ),
    Arm(
        name="real",
        label="on real images alone",
        adds="nothing",
        colour="#5a6068",
        headline=True,
        trains_on="real train images, trained as all arms are",
        question="it was only more training",
    ),
    Arm(
        name="classical",
        label="with repeated real images",
        adds="own images",
        colour="#9c6a00",
        matched="class",
        confirmatory=True,
        trains_on="real images repeated to the same counts; augmented",
        question="flips and colour would have done it",
    ),
    Arm(
        name="distilled",
        label="with repeated images, soft labels",
        adds="own images softly",
        colour="#a01c2c",
        matched="class",
        confirmatory=True,
        trains_on="real images repeated to the same counts, with the judge's soft labels",
        question="it was only distillation",
    ),
    Arm(
        name="mined",
        label="with the hard cases themselves",
        adds="mined images",
        colour="#007a5a",
        matched="class",
        confirmatory=True,
        trains_on="real + the mined hard cases themselves",
        question="just train on what you got wrong",
    ),
    Arm(
        name="retrieved",
        label="with similar real images",
        adds="neighbours",
        colour="#a3446c",
        matched="class",
        confirmatory=True,
        trains_on="real + the retrieved real neighbours; no diffusion",
        question="the neighbours were enough",
    ),
    Arm(
        name="random",
        label="with random synthetic images",
        adds="synthetic images",
        colour="#b4500f",
        source="random",
        parents="random",
        matched="class",
        headline=True,
        confirmatory=True,
        trains_on="real + synthetic of random parents, matched per class and parent",
        question="any synthesis would have done it",
    ),
    Arm(
        name="unguided",
        label="with undirected synthetic images",
        adds="synthetic images",
        colour="#4d5a1a",
        source="unguided",
        parents="uniform",
        matched="total",
        trains_on="real + synthetic of any train images, matched in number alone",
        question="you need no engine for that",
    ),
    Arm(
        name="dcgan",
        label="with images of an older generator",
        adds="synthetic images",
        colour="#6a3d9a",
        source="dcgan",
        parents="random",
        generator="dcgan",
        matched="class",
        trains_on="real + images of a conditional GAN; same counts and gates",
        question="you need no diffusion for that",
    ),
    Arm(
        name="hard",
        label="with synthetic hard cases",
        adds="synthetic images",
        colour="#0b5cad",
        source="hard",
        parents="mined",
        trains_on="real + accepted synthetic hard cases: the engine",
    ),
    Arm(
        name="queried",
        label="with labels the model asked for",
        adds="nothing",
        colour="#00606b",
        labels="queried",
        asks="policy",
        trains_on="real + images newly labelled, chosen by the query policy",
        question="buy labels instead of making images",
    ),
    Arm(
        name="queried_random",
        label="with labels asked for at random",
        adds="nothing",
        colour="#7c4a68",
        labels="queried_random",
        asks="random",
        trains_on="real + as many images newly labelled, chosen at random",
        question="any labels would have done it",
    ),
    Arm(
        name="hard_and_queried",
        label="with synthetic hard cases and labels",
        adds="synthetic images",
        colour="#274b8f",
        source="hard",
        labels="queried",
        trains_on="real + images labelled for `queried` + synthetic hard cases",
        question="labels or images, not both",
    ),
    Arm(
        name="synthetic",
        label="on synthetic hard cases alone",
        adds="synthetic images",
        colour="#2f7f93",
        own=False,
        source="hard",
        scratch=True,
        trains_on="the accepted synthetic hard cases alone, from scratch",
    ),
    Arm(
        name="all_real",
        label="on all real images",
        adds="mine split",
        colour="#1f1f1f",
        trains_on="real + the whole mine split",
        question="spend the held-out lesions on training instead",
    ),
)

ARMS: Final[Mapping[str, Arm]] = {arm.name: arm for arm in _TABLE}
"""Every arm by its name, in the order they are listed and trained."""
ENGINE: Final = "hard"
"""The engine's own arm: the others are compared with it."""
START: Final = "real"
"""The arm of round 0, from which all but ``plain`` go on."""
HEADLINE: Final = tuple(arm.name for arm in _TABLE if arm.headline)
"""The arms that the answer's sentence compares the engine with."""
CONFIRMATORY: Final = tuple(arm.name for arm in _TABLE if arm.confirmatory)
"""The arms of the Holm family, on the primary endpoint."""
SOURCES: Final = tuple(arm.name for arm in _TABLE if arm.makes_images)
"""The arms for which synthetic images are made."""


def label_of(name: str) -> str:
    """Return an arm's label; an unknown one's name."""
    return ARMS[name].label if name in ARMS else name


def in_words(name: str) -> str:
    """Return an arm for readers, after "trained": ``with synthetic hard cases (hard)``; an unknown one by its name."""
    return f"{label_of(name)} ({name})" if name in ARMS else name
