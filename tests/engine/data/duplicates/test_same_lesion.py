"""A second photograph is found in spite of turn, zoom, colour and blur; what all photographs share is no match."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engine.data.duplicates.keypoints import Keypoints, find_keypoints
from engine.data.duplicates.same_lesion import (
    LISTED,
    MOST_FRIENDS,
    SURE,
    LesionPairs,
    find_same_lesions,
    friends_of_friends,
    placement,
    verified_pairs,
)
from engine.data.duplicates.verification import Verified
from engine.types import strings
from tests.engine.data.duplicates.photographs import in_dark_rim, photograph, skin, with_hairs, with_ruler
from tests.fakes import no_progress

SECOND = {"degrees": 20, "zoom": 1.3, "colour": (0.8, 0.78, 0.95), "blur": 0.8, "shift": (6, -9), "noise": 1}


def keypoints(images: list[np.ndarray], threads: int = 1) -> Keypoints:
    return find_keypoints(images, threads, no_progress)


def names(count: int) -> np.ndarray:
    return strings([f"L{row}" for row in range(count)])


def similarity(found: LesionPairs, row: int = 0) -> tuple[float, float]:
    return float(np.exp(found.placement_P4[row, 0])), float(np.degrees(found.placement_P4[row, 1]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_second_photograph_is_found_and_placed(seed: int) -> None:
    others = [photograph(skin(100 + k)) for k in range(6)]
    images = [photograph(skin(seed)), *others, photograph(skin(seed), **SECOND)]
    found = find_same_lesions(keypoints(images), names(8), 1, no_progress)
    assert found.pairs_P2.tolist() == [[0, 7]]
    assert found.inliers_P[0] >= SURE and found.sure_P.all()
    zoom, degrees = similarity(found)
    assert zoom == pytest.approx(1.3, abs=0.05) and abs(degrees) == pytest.approx(20, abs=2)
    shift = found.placement_P4[0, 2:] * 75  # from the middle to the rim of the square are 75 pixels
    assert shift == pytest.approx([-9, 6], abs=2)


def test_pairs_of_one_lesion_id_are_not_reported() -> None:
    images = [photograph(skin(0)), photograph(skin(0), **SECOND), photograph(skin(1))]
    points = keypoints(images)
    assert len(find_same_lesions(points, strings(["A", "A", "B"]), 1, no_progress)) == 0
    assert find_same_lesions(points, strings(["A", "C", "B"]), 1, no_progress).pairs_P2.tolist() == [[0, 1]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "shared",
    [
        with_ruler,
        in_dark_rim,
        lambda image: with_hairs(image, int(image.sum())),
        lambda image: np.full_like(image, 180),
    ],
    ids=["ruler", "dark rim", "hairs", "nothing"],
)
def test_what_all_photographs_share_is_no_match(shared: Callable[[np.ndarray], np.ndarray]) -> None:
    images = [shared(photograph(skin(seed), noise=seed)) for seed in range(10)]
    assert len(find_same_lesions(keypoints(images), names(10), 1, no_progress)) == 0


def test_a_second_photograph_is_found_beside_ruler_rim_and_hairs() -> None:
    images = [photograph(skin(seed), noise=seed) for seed in range(6)]
    images = [with_ruler(in_dark_rim(with_hairs(image, row))) for row, image in enumerate(images)]
    images.append(with_ruler(in_dark_rim(photograph(skin(4), **{**SECOND, "zoom": 1.1})), top=100))
    found = find_same_lesions(keypoints(images), names(7), 1, no_progress)
    assert found.pairs_P2.tolist() == [[4, 6]]


def crowd() -> list[np.ndarray]:
    """30 lesions, more than are compared all with all, and second photographs of the first four."""
    return [photograph(skin(seed)) for seed in range(30)] + [
        photograph(skin(seed), **SECOND) for seed in range(4)
    ]


@pytest.mark.slow
def test_neither_order_nor_threads_matter() -> None:
    images = crowd()
    first = verified_pairs(keypoints(images), names(34), 1, no_progress)
    listed = first.take(first.inliers_P >= LISTED)
    assert listed.pairs_P2.tolist() == [[0, 30], [1, 31], [2, 32], [3, 33]]
    several = verified_pairs(keypoints(images, threads=3), names(34), 3, no_progress)
    for name in ("pairs_P2", "inliers_P", "spread_P", "placement_P4"):
        assert np.array_equal(getattr(first, name), getattr(several, name)), name
    order = np.random.default_rng(0).permutation(34)
    mixed = verified_pairs(keypoints([images[row] for row in order]), names(34), 1, no_progress)
    back = [
        (*sorted(order[pair].tolist()), int(k))
        for pair, k in zip(mixed.pairs_P2, mixed.inliers_P, strict=True)
    ]
    expected = [(*pair.tolist(), int(k)) for pair, k in zip(first.pairs_P2, first.inliers_P, strict=True)]
    assert sorted(back) == expected


def test_exchanging_the_images_inverts_the_similarity() -> None:
    images = [photograph(skin(0)), photograph(skin(0), **SECOND)]
    there = similarity(find_same_lesions(keypoints(images), names(2), 1, no_progress))
    back = similarity(find_same_lesions(keypoints(images[::-1]), names(2), 1, no_progress))
    assert back == pytest.approx((1 / there[0], -there[1]), rel=1e-5)


def pairs(partners: int, inliers: int = SURE, zoom: float = 1.2) -> LesionPairs:
    place = np.tile([np.log(zoom), 0.0, 0.0, 0.0], (partners, 1))
    rows = np.array([[0, k + 1] for k in range(partners)])
    return LesionPairs(
        pairs_P2=rows,
        inliers_P=np.full(partners, inliers),
        spread_P=np.full(partners, 9.0),
        placement_P4=place,
    )


def test_what_is_joined_is_strict() -> None:
    assert pairs(1).sure_P.tolist() == [True]
    assert pairs(1, inliers=SURE - 1).sure_P.tolist() == [False]
    assert pairs(1, zoom=1.0).sure_P.tolist() == [False], "a logo lies at one place in all images"
    assert pairs(MOST_FRIENDS).sure_P.all() and not pairs(MOST_FRIENDS + 1).sure_P.any()


def test_a_logo_printed_on_all_images_joins_none() -> None:
    logo = np.random.default_rng(0).integers(0, 2, (5, 16)).repeat(5, axis=0).repeat(5, axis=1) * 230
    images = [photograph(skin(seed), noise=seed) for seed in range(6)]
    for image in images:
        image[115:140, 100:180] = logo[..., None]
    assert not find_same_lesions(keypoints(images), names(6), 1, no_progress).sure_P.any()


def test_friends_of_friends_are_tried() -> None:
    def found(one: int, two: int, inliers: int) -> tuple[int, int, Verified]:
        return one, two, Verified(inliers=inliers, spread=9.0, zoom_turn=1 + 0j, shift=0j)

    known = [found(0, 1, LISTED), found(2, 1, LISTED), found(1, 3, LISTED - 1), found(4, 2, LISTED)]
    group = np.array([0, 1, 2, 3, 1])
    assert friends_of_friends(known, group, set()).tolist() == [[0, 2]], "1 and 4 are one group"
    assert friends_of_friends(known, group, {(0, 2)}).shape == (0, 2)


def test_placement_is_about_the_middle_of_the_squares() -> None:
    size = np.array([200, 150])
    assert placement(1 + 0j, 0j, size, size) == pytest.approx((0, 0, 0, 0))
    assert placement(2 + 0j, -100 - 75j, size, size) == pytest.approx((np.log(2), 0, 0, 0)), (
        "zoom about (100, 75)"
    )
    assert placement(1 + 0j, 15 - 30j, size, size) == pytest.approx((0, 0, 0.2, -0.4))
    assert placement(1j, 0j, np.array([150, 150]), np.array([150, 150])) == pytest.approx(
        (0, np.pi / 2, -2, 0)
    )


def test_none_one_and_plain_images() -> None:
    for images in ([], [photograph(skin(0))], [np.full((150, 200, 3), 90, np.uint8)] * 30):
        assert len(find_same_lesions(keypoints(images), names(len(images)), 1, no_progress)) == 0
