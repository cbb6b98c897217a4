"""Phantoms: procedural dermoscopy of the seven HAM10000 classes, with exact masks and several views a lesion.

Nothing here comes from a patient. The result depends on (config, image size, seed) alone; a picture on (seed, lesion
index, view), its class, the difficulty, and whether it is of a planted subtype. Legend: N images; H, W pixels; S canvas
side (twice the image's).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.config import PhantomConfig
from engine.data.phantom import blind_spot, features, pigment
from engine.data.phantom.appearance import Appearance, draw_appearance
from engine.data.phantom.canvas import Field, new_canvas
from engine.data.phantom.people import assign_classes, class_counts, draw_person
from engine.data.phantom.shape import draw_outline, lay
from engine.data.phantom.skin import TONES, Patient, draw_patient, draw_photograph, finish, paint_skin
from engine.errors import DataError
from engine.training.plan import Progress, derive_seed
from engine.types import BoolArray, ImageArray, LesionTable, StrArray, strings

SUPERSAMPLING: Final = 2

Painter = Callable[[pigment.Scene, float, np.random.Generator], None]

_PAINTERS: Final[Mapping[str, Painter]] = {
    "scar": features.paint_scar,
    "network": pigment.paint_network,
    "blotches": pigment.paint_blotches,
    "globules": pigment.paint_globules,
    "streaks": pigment.paint_streaks,
    "regression": pigment.paint_regression,
    "veil": pigment.paint_veil,
    "strawberry": features.paint_strawberry,
    "scale": features.paint_scale,
    "cerebriform": features.paint_cerebriform,
    "comedo": features.paint_comedo,
    "milia": features.paint_milia,
    "nests": features.paint_nests,
    "vessels": features.paint_vessels,
    "ulcer": features.paint_ulcer,
    "lacunae": features.paint_lacunae,
}
"""Structures in the order they are painted: deep pigment first, surface last."""

_FAINTEST: Final = 0.10
"""Strength below which a structure is not painted: every class would otherwise carry a trace of every other."""


@dataclass(frozen=True, kw_only=True)
class PhantomLesion:
    """One lesion before it is photographed; ``seed`` fixes its geometry, ``index`` its place in the data set.

    ``hidden``: it is of the subtype of ``data.phantom.blind_spot``.
    """

    index: int
    dx: str
    hidden: bool
    seed: int
    look: Appearance
    patient: Patient
    age: float
    sex: str
    site: str
    views: int


def generate(
    config: PhantomConfig, image_size: int, seed: int, *, progress: Progress | None = None
) -> tuple[LesionTable, ImageArray, ImageArray]:
    """Make the data set: (table sorted by image_id, images (N, H, W, 3) uint8, masks (N, H, W) uint8 0 or 255).

    Args:
        config: number of lesions, most views of one, difficulty, imbalance.
        image_size: side of the square images in pixels, 16 or more.
        seed: of everything drawn.
        progress: called after every image as progress("phantoms", done, total).
    """
    lesions = draw_lesions(config, seed)
    shots = [(lesion, view) for lesion in lesions for view in range(lesion.views)]
    images = np.empty((len(shots), image_size, image_size, 3), dtype=np.uint8)
    masks = np.empty((len(shots), image_size, image_size), dtype=np.uint8)
    for row, (lesion, view) in enumerate(shots):
        images[row], masks[row] = render(lesion, view, image_size)
        if progress is not None:
            progress("phantoms", row + 1, len(shots))
    return _table(shots), images, masks


def draw_lesions(config: PhantomConfig, seed: int) -> list[PhantomLesion]:
    """Draw every lesion of the data set, without rendering any."""
    counts = class_counts(config.lesions, config.imbalance)
    classes = assign_classes(counts, _rng(seed, "classes"))
    spot = config.blind_spot
    hidden = blind_spot.choose(classes, spot, _rng(seed, "blind spot")) if spot else frozenset()
    lesions = []
    for index, dx in enumerate(classes):
        rng = _rng(seed, index, "lesion")
        age, sex, site = draw_person(dx, rng)
        look = draw_appearance(dx, config.difficulty, rng)
        if spot and index in hidden:
            look = blind_spot.hide(look, spot, config.difficulty, _rng(seed, index, "blind spot"))
        lesions.append(
            PhantomLesion(
                index=index,
                dx=dx,
                hidden=index in hidden,
                seed=derive_seed(seed, "phantom", index, "geometry"),
                look=look,
                patient=draw_patient(rng),
                age=age,
                sex=sex,
                site=site,
                views=int(rng.integers(1, config.views + 1)),
            )
        )
    return lesions


def subtype_of(image_id_N: StrArray, config: PhantomConfig, seed: int) -> BoolArray:
    """Return which phantoms are of the subtype of ``config.blind_spot``, (N,): from the seed alone, no file tells.

    Args:
        image_id_N: names of images of the data set that ``generate`` makes.
        config: that data set's ``data.phantom``; without a blind spot no image is of a subtype.
        seed: that data set's.

    Raises:
        DataError: an image is not of that data set.
    """
    hidden = [lesion.hidden for lesion in draw_lesions(config, seed) for _ in range(lesion.views)]
    found = {_image_id(row): value for row, value in enumerate(hidden)}
    foreign = [name for name in image_id_N.tolist() if name not in found]
    if foreign:
        raise DataError(
            f"image_id {foreign[0]} is not one of the {len(found)} phantoms of seed {seed}; "
            "give the config and the seed that the data set was drawn with"
        )
    return np.array([found[name] for name in image_id_N.tolist()], dtype=np.bool_)


def render(lesion: PhantomLesion, view: int, image_size: int) -> tuple[ImageArray, ImageArray]:
    """Photograph a lesion: (image (H, W, 3) uint8, its mask (H, W) uint8 0 or 255).

    The mask holds the pixels at least half of which lie inside the outline.
    """
    rng = _rng(lesion.seed, "view", view)
    photograph = draw_photograph(rng)
    canvas = new_canvas(SUPERSAMPLING * image_size, photograph.view)
    paint_skin(canvas, lesion.patient, _rng(lesion.seed, "skin"))
    shape = lay(draw_outline(lesion.look, _rng(lesion.seed, "outline")), canvas, _rng(lesion.seed, "fray"))
    skin = lesion.patient.skin / TONES[0]
    scene = pigment.Scene(canvas=canvas, shape=shape, look=lesion.look, skin=skin)
    pigment.paint_body(scene, _rng(lesion.seed, "body"))
    for name, paint in _PAINTERS.items():
        strength = float(getattr(lesion.look, name))
        if strength >= _FAINTEST:
            paint(scene, strength, _rng(lesion.seed, name))
    pigment.paint_texture(scene, _rng(lesion.seed, "texture"))
    finish(canvas, lesion.patient, photograph, rng)
    image = _downsample(canvas.rgb_HWC) + rng.normal(0.0, 0.006, (image_size, image_size, 1))
    mask = _downsample(shape.inside_HW[..., None])[..., 0] >= 0.5
    return np.round(255 * np.clip(image, 0.0, 1.0)).astype(np.uint8), np.where(mask, 255, 0).astype(np.uint8)


def _downsample(values_SSC: Field) -> Field:
    """Average blocks of SUPERSAMPLING x SUPERSAMPLING canvas pixels."""
    side, step = len(values_SSC) // SUPERSAMPLING, SUPERSAMPLING
    blocks = values_SSC.reshape(side, step, side, step, -1)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def _rng(seed: int, *parts: object) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "phantom", *parts))


def _image_id(row: int) -> str:
    return f"PHANTOM_{row + 1:07d}"


def _table(shots: list[tuple[PhantomLesion, int]]) -> LesionTable:
    count = len(shots)
    blank = strings([""] * count)
    return LesionTable(
        image_id=strings([_image_id(row) for row in range(count)]),
        lesion_id=strings([f"LESION_{lesion.index + 1:07d}" for lesion, _ in shots]),
        patient_id=blank,
        dx=strings([lesion.dx for lesion, _ in shots]),
        split=blank,
        origin=strings(["real"] * count),
        age=np.array([lesion.age for lesion, _ in shots], dtype=np.float64),
        sex=strings([lesion.sex for lesion, _ in shots]),
        localization=strings([lesion.site for lesion, _ in shots]),
        skin_type=strings([lesion.patient.skin_type for lesion, _ in shots]),
        path=blank,
        mask_path=blank,
    )
