"""A planted blind spot: a rare subtype of a malignant class that looks like a benign one, and which phantoms are of it.

Amelanotic melanoma is the model: without pigment, pink, with scar-like depigmentation, so that it lies nearest to a
dermatofibroma, the one benign phantom that is pink around a white scar. What tells them apart is milky red instead of tan
(Menzies et al. 2008, "Dermoscopic evaluation of amelanotic and hypomelanotic melanoma": milky red-pink areas, more than one
shade of pink, scar-like depigmentation). No file of a run names the subtype: captions, prompts and metadata stay those of
the class, and ``subtype_of`` finds it again from the seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.config import BlindSpotConfig
from engine.data.phantom.appearance import Appearance, Colour, blend, draw_appearance
from engine.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Subtype:
    """What a class's hidden subtype is: its name, the benign class it is mistaken for, and its own cue.

    ``cue`` is a colour (RGB 0-1 on light skin); at difficulty 1 the lesion's ground stands ``cue_share`` of the way to it.
    """

    name: str
    like: str
    cue: Colour
    cue_share: float


SUBTYPES: Final[Mapping[str, Subtype]] = {
    "mel": Subtype(name="amelanotic melanoma", like="df", cue=(0.80, 0.36, 0.38), cue_share=0.35),
}
"""The subtype that each class can hide."""


def choose(classes: Sequence[str], config: BlindSpotConfig, rng: np.random.Generator) -> frozenset[int]:
    """Return the positions of the lesions that are of the subtype: ``share`` of the class, to the nearest whole lesion.

    A larger share keeps the lesions of a smaller one and adds some.

    Raises:
        ConfigError: the class has too few lesions for the share to make one.
    """
    members = [position for position, dx in enumerate(classes) if dx == config.dx]
    count = int(np.floor(config.share * len(members) + 0.5))
    if count == 0:
        raise ConfigError(
            f"data.phantom.blind_spot.share: {config.share:g} of {len(members)} lesions of {config.dx} is none; "
            "raise it or data.phantom.lesions"
        )
    order = rng.permutation(len(members))[:count]
    return frozenset(members[position] for position in order.tolist())


def hide(
    look: Appearance, config: BlindSpotConfig, difficulty: float, rng: np.random.Generator
) -> Appearance:
    """Return a lesion of the class as one of its subtype.

    It goes ``config.difficulty`` of the way to a lesion of the benign class, drawn with ``rng`` at the data set's
    ``difficulty``, and its ground turns to the subtype's colour in the same proportion: at 0 it is ``look`` itself.
    """
    subtype = SUBTYPES[config.dx]
    moved = blend(look, draw_appearance(subtype.like, difficulty, rng), config.difficulty)
    share = subtype.cue_share * config.difficulty
    return dataclasses.replace(
        moved, inner=_towards(moved.inner, subtype.cue, share), rim=_towards(moved.rim, subtype.cue, share)
    )


def _towards(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = ((1.0 - share) * a + share * b for a, b in zip(colour, other, strict=True))
    return red, green, blue
