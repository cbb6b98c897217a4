"""What each phantom class looks like: archetypes after the ABCD rule, and one lesion's draw from them.

Strengths run from 0 (absent) to 1 (as marked as the class gets); lengths are in half image sides; colours are RGB
0-1 on light skin. Sources: Stolz et al. 1994 (ABCD rule), Kittler et al. 2016 (standardised dermoscopic terms).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Colour = tuple[float, float, float]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """Everything visible about a lesion but its random geometry; see the module for units."""

    radius: float = 0.44
    elongation: float = 0.15
    asymmetry: float = 0.10
    irregularity: float = 0.10
    softness: float = 0.18
    opacity: float = 0.85
    inner: Colour = (0.52, 0.34, 0.25)
    rim: Colour = (0.68, 0.48, 0.37)
    network: float = 0.0
    chaos: float = 0.0
    globules: float = 0.0
    streaks: float = 0.0
    blotches: float = 0.0
    veil: float = 0.0
    regression: float = 0.0
    milia: float = 0.0
    comedo: float = 0.0
    cerebriform: float = 0.0
    vessels: float = 0.0
    nests: float = 0.0
    ulcer: float = 0.0
    scale: float = 0.0
    strawberry: float = 0.0
    scar: float = 0.0
    lacunae: float = 0.0
    mottle: float = 0.3


STRUCTURES: Final = tuple(
    field.name
    for field in dataclasses.fields(Appearance)
    if field.name
    not in (
        "radius",
        "elongation",
        "asymmetry",
        "irregularity",
        "softness",
        "opacity",
        "inner",
        "rim",
        "chaos",
        "mottle",
    )
)
"""Names of the dermoscopic structures: each may be missing from a lesion that its class usually shows."""

ARCHETYPES: Final[Mapping[str, Appearance]] = {
    "akiec": Appearance(
        radius=0.50, elongation=0.20, asymmetry=0.35, irregularity=0.35, softness=0.55, opacity=0.72,
        inner=(0.74, 0.40, 0.36), rim=(0.84, 0.54, 0.48), scale=0.95, strawberry=0.90, ulcer=0.12, mottle=0.8,
    ),
    "bcc": Appearance(
        radius=0.46, elongation=0.20, asymmetry=0.40, irregularity=0.25, softness=0.28, opacity=0.62,
        inner=(0.86, 0.62, 0.64), rim=(0.88, 0.66, 0.66), vessels=0.95, nests=0.80, ulcer=0.55, mottle=0.35,
    ),
    "bkl": Appearance(
        radius=0.48, elongation=0.25, asymmetry=0.30, irregularity=0.25, softness=0.05, opacity=0.85,
        inner=(0.60, 0.46, 0.34), rim=(0.64, 0.48, 0.34), milia=0.90, comedo=0.85, cerebriform=0.75, mottle=0.55,
    ),
    "df": Appearance(
        radius=0.38, elongation=0.12, asymmetry=0.08, irregularity=0.08, softness=0.55, opacity=0.75,
        inner=(0.78, 0.55, 0.48), rim=(0.70, 0.47, 0.38), network=0.45, scar=1.0, mottle=0.2,
    ),
    "mel": Appearance(
        radius=0.54, elongation=0.25, asymmetry=0.85, irregularity=0.80, softness=0.12, opacity=0.92,
        inner=(0.36, 0.22, 0.17), rim=(0.55, 0.36, 0.27), network=0.65, chaos=0.95, globules=0.40, streaks=0.85,
        blotches=0.95, veil=0.80, regression=0.70, mottle=0.7,
    ),
    "nv": Appearance(
        radius=0.40, elongation=0.15, asymmetry=0.10, irregularity=0.08, softness=0.20, opacity=0.88,
        inner=(0.48, 0.29, 0.20), rim=(0.66, 0.45, 0.34), network=0.90, globules=0.45, mottle=0.2,
    ),
    "vasc": Appearance(
        radius=0.34, elongation=0.15, asymmetry=0.20, irregularity=0.15, softness=0.10, opacity=0.90,
        inner=(0.66, 0.12, 0.24), rim=(0.78, 0.26, 0.34), lacunae=1.0, mottle=0.2,
    ),
}  # fmt: skip
"""The marked form of each class at difficulty 0; keys are HAM10000's dx, sorted."""

CONFUSED: Final[Mapping[str, Mapping[str, float]]] = {
    "akiec": {"bcc": 0.5, "bkl": 0.5},
    "bcc": {"akiec": 0.55, "mel": 0.2, "bkl": 0.25},
    "bkl": {"mel": 0.4, "nv": 0.35, "akiec": 0.25},
    "df": {"nv": 0.6, "bcc": 0.2, "akiec": 0.2},
    "mel": {"nv": 0.6, "bkl": 0.4},
    "nv": {"mel": 0.65, "bkl": 0.30, "df": 0.05},
    "vasc": {"bcc": 0.5, "mel": 0.5},
}
"""Which class each one is mistaken for, and how often a hard lesion leans that way."""

_LEANING: Final[Mapping[str, float]] = {
    "akiec": 0.45, "bcc": 0.45, "bkl": 1.0, "df": 0.55, "mel": 1.1, "nv": 1.05, "vasc": 0.6,
}  # fmt: skip
"""How strongly a class leans: the pigmented ones (mel, nv, bkl) are the ones hard to tell apart."""


def blend(one: Appearance, other: Appearance, share: float) -> Appearance:
    """Return ``one`` moved ``share`` (0-1) of the way to ``other``, every parameter linearly."""
    return _from_vector((1.0 - share) * _to_vector(one) + share * _to_vector(other))


def archetype(dx: str, difficulty: float) -> Appearance:
    """Return the class's mean appearance: at difficulty 1 it stands a third of the way to those it is mistaken for."""
    own = _to_vector(ARCHETYPES[dx])
    others = sum((w * _to_vector(ARCHETYPES[c]) for c, w in CONFUSED[dx].items()), np.zeros_like(own))
    pull = 0.33 * difficulty
    return _from_vector((1.0 - pull) * own + pull * others)


def draw_appearance(dx: str, difficulty: float, rng: np.random.Generator) -> Appearance:
    """Draw one lesion of class ``dx``.

    With difficulty, the lesion leans further towards one class it is mistaken for (by at most half), misses more of its
    structures, and varies more. Difficulty 0 leaves the archetype's structures, with mild variation.
    """
    partner = str(rng.choice(list(CONFUSED[dx]), p=list(CONFUSED[dx].values())))
    lean = min(0.5, _LEANING[dx] * difficulty * float(rng.beta(0.9, 1.6)))
    mean = blend(archetype(dx, difficulty), ARCHETYPES[partner], lean)
    changes: dict[str, float | Colour] = {}
    for name in STRUCTURES:
        strength = getattr(mean, name) * float(np.exp(rng.normal(0.0, 0.2 + 0.2 * difficulty)))
        present = float(rng.random()) >= 0.15 + 0.30 * difficulty
        changes[name] = float(np.clip(strength * (1.0 if present else 0.15), 0.0, 1.0))
    for name, spread, low, high in (
        ("radius", 0.22, 0.16, 0.78), ("elongation", 0.5, 0.0, 0.5), ("asymmetry", 0.35, 0.0, 1.0),
        ("irregularity", 0.35, 0.0, 1.0), ("softness", 0.35, 0.02, 0.8), ("chaos", 0.2, 0.0, 1.0),
        ("mottle", 0.3, 0.0, 1.0), ("opacity", 0.10 + 0.12 * difficulty, 0.25, 1.0),
    ):  # fmt: skip
        changes[name] = float(np.clip(getattr(mean, name) * np.exp(rng.normal(0.0, spread)), low, high))
    shade = np.exp(rng.normal(0.0, 0.18) + rng.normal() * np.array([0.02, -0.03, -0.09]))
    for name in ("inner", "rim"):
        red, green, blue = np.clip(np.array(getattr(mean, name)) * shade, 0.03, 0.97)
        changes[name] = (float(red), float(green), float(blue))
    return dataclasses.replace(mean, **changes)  # type: ignore[arg-type]


def _to_vector(appearance: Appearance) -> Vector:
    return np.concatenate([np.atleast_1d(v) for v in dataclasses.astuple(appearance)]).astype(np.float64)


def _from_vector(vector: Vector) -> Appearance:
    values: dict[str, float | Colour] = {}
    position = 0
    for field in dataclasses.fields(Appearance):
        if field.name in ("inner", "rim"):
            red, green, blue = vector[position : position + 3]
            values[field.name] = (float(red), float(green), float(blue))
            position += 3
        else:
            values[field.name] = float(vector[position])
            position += 1
    return Appearance(**values)  # type: ignore[arg-type]
