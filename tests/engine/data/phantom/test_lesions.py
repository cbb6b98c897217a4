"""The phantom data set: contract of the table, determinism, exact masks, views of one lesion, classes told apart."""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import pytest

from engine.config import PhantomConfig
from engine.data.phantom.lesions import PhantomLesion, draw_lesions, generate, render
from tests.processes import Forked

CONFIG = PhantomConfig(lesions=28, views=3, difficulty=0.5, imbalance=0.5)
CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


@pytest.fixture(scope="module")
def made():
    return generate(CONFIG, 24, 3)


def _lesions(difficulty: float = 0.0, count: int = 84, views: int = 1, seed: int = 1) -> list[PhantomLesion]:
    config = PhantomConfig(lesions=count, views=views, difficulty=difficulty, imbalance=0.0)
    return draw_lesions(config, seed)


def test_shapes_types_and_values(made):
    table, images, masks = made
    assert images.shape == (len(table), 24, 24, 3) and images.dtype == np.uint8
    assert masks.shape == (len(table), 24, 24) and masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 255}


def test_table_keeps_the_contract(made):
    table, _, _ = made
    assert table.image_id[0] == "PHANTOM_0000001"
    assert list(table.image_id) == sorted(table.image_id)
    assert len(np.unique(table.image_id)) == len(table)
    assert table.classes == CLASSES
    assert len(np.unique(table.lesion_id)) == 28
    assert set(table.origin) == {"real"}
    for column in (table.path, table.mask_path, table.patient_id, table.split):
        assert set(column) == {""}
    assert set(table.skin_type) <= {"I", "II", "III", "IV", "V", "VI"}
    known = table.age[~np.isnan(table.age)]
    assert known.min() >= 5 and known.max() <= 85 and np.all(known % 5 == 0)


def test_views_of_a_lesion_share_class_and_person(made):
    table, images, _ = made
    views = [np.flatnonzero(table.lesion_id == name) for name in np.unique(table.lesion_id)]
    assert {len(rows) for rows in views} == {1, 2, 3}
    for rows in views:
        for column in (table.dx, table.sex, table.localization, table.skin_type):
            assert len(set(column[rows])) == 1
        assert len({images[row].tobytes() for row in rows}) == len(rows)


def digest():
    table, images, masks = generate(PhantomConfig(lesions=14), 16, 5)
    return hashlib.sha256(images.tobytes() + masks.tobytes() + "".join(table.dx).encode()).hexdigest()


def print_digest():
    print(digest())


def test_same_seed_same_bits_in_another_process(tmp_path):
    process = Forked(tmp_path / "said.txt", print_digest)
    assert process.wait() == 0, process.said()
    assert process.said().strip() == digest()


def test_another_seed_other_images(made):
    other = generate(CONFIG, 24, 4)
    assert made[1][0].tobytes() != other[1][0].tobytes()


def test_a_picture_depends_on_its_lesion_and_view_alone(made):
    _, images, masks = made
    lesions = draw_lesions(CONFIG, 3)
    row = 0
    for lesion in lesions[:4]:
        for view in range(lesion.views):
            image, mask = render(lesion, view, 24)
            assert np.array_equal(image, images[row]) and np.array_equal(mask, masks[row])
            row += 1


def test_progress_counts_every_image():
    seen = []
    table, _, _ = generate(
        PhantomConfig(lesions=14, views=1), 16, 0, progress=lambda *mark: seen.append(mark)
    )
    assert seen == [("phantoms", done, len(table)) for done in range(1, len(table) + 1)]


@pytest.mark.parametrize("size", [16, 33, 256])
def test_any_size_renders_the_same_geometry(size):
    lesion = _lesions()[0]
    _, mask = render(lesion, 0, size)
    _, reference = render(lesion, 0, 64)
    assert abs((mask > 0).mean() - (reference > 0).mean()) < 0.03


def test_mask_area_is_the_same_in_every_view_up_to_zoom():
    from engine.data.phantom.lesions import _rng
    from engine.data.phantom.skin import draw_photograph

    lesion = min(_lesions(views=8, count=28), key=lambda one: one.look.radius)
    areas = []
    for view in range(4):
        zoom = draw_photograph(_rng(lesion.seed, "view", view)).view.zoom
        areas.append((render(lesion, view, 96)[1] > 0).mean() / zoom**2)
    assert max(areas) / min(areas) < 1.06


@functools.cache
def _insides(dx: str) -> tuple[np.ndarray, ...]:
    """The pixels (K, 3) inside the mask of each easy lesion of a class."""
    shots = [render(lesion, 0, 48) for lesion in _lesions() if lesion.dx == dx]
    return tuple(image[mask > 0].astype(float) for image, mask in shots)


def _mean(dx: str, figure) -> float:
    return float(np.mean([figure(pixels) for pixels in _insides(dx)]))


def test_colours_follow_the_dermoscopy_of_the_classes():
    def redness(pixels):
        return float((pixels[:, 0] - pixels[:, 1]).mean())

    def blue_grey(pixels):
        return float((pixels[:, 2] > pixels[:, 0]).mean())

    def spread(pixels):
        return float(pixels.mean(1).std())

    def dark(pixels):
        return float((pixels.mean(1) < 60).mean())

    red = {dx: _mean(dx, redness) for dx in CLASSES}
    assert max(red, key=red.__getitem__) == "vasc"
    assert red["akiec"] > red["nv"] and red["akiec"] > red["bkl"]
    assert _mean("mel", blue_grey) > 0.03 > _mean("nv", blue_grey)
    assert _mean("bcc", blue_grey) > _mean("nv", blue_grey)
    assert _mean("mel", spread) > _mean("nv", spread) > _mean("df", spread) * 0.5
    assert _mean("mel", dark) > 2 * _mean("nv", dark)


def test_dermatofibroma_has_a_light_centre():
    brighter = []
    for lesion in [one for one in _lesions() if one.dx == "df" and one.look.scar > 0.5]:
        image, mask = render(lesion, 0, 64)
        rows, columns = np.nonzero(mask)
        away = np.hypot(rows - rows.mean(), columns - columns.mean()) / np.sqrt(len(rows) / np.pi)
        light = image[rows, columns].mean(1)
        brighter.append(light[away < 0.3].mean() - light[(away > 0.6) & (away < 0.9)].mean())
    assert np.mean(brighter) > 15


@pytest.mark.parametrize("dx", CLASSES)
def test_lesion_differs_from_its_skin_inside_the_mask(dx):
    shifts = []
    for lesion in [one for one in _lesions() if one.dx == dx][:6]:
        image, mask = render(lesion, 0, 48)
        pixels, inside = image.astype(float), mask > 0
        shifts.append(np.abs(pixels[inside].mean(0) - pixels[~inside].mean(0)).sum())
    assert np.median(shifts) > 25
