"""Fidelity with intervals: matched class shares, clusters that stay whole, floors, and sets too small for a figure."""

from __future__ import annotations

import numpy as np
import pytest

from engine.evaluation.fidelity.distances import frechet_distance, polynomial_mmd
from engine.evaluation.fidelity.figures import (
    ImageSet,
    class_weights,
    cluster_weights,
    fidelity_figures,
    kid_difference,
    match_shares,
)
from engine.types import strings


def images(counts: dict[str, int], seed: int, shift: float = 0.0, width: int = 4, views: int = 1) -> ImageSet:
    rng = np.random.default_rng(seed)
    dx = [name for name, count in counts.items() for _ in range(count)]
    rows = rng.normal(shift, 1.0, size=(len(dx), width))
    cluster = [f"{seed}-{i // views}" for i in range(len(dx))]
    return ImageSet(features_NF=rows, dx=strings(dx), cluster=strings(cluster))


def uniform(count: int, classes: int = 2) -> np.ndarray:
    return np.full((count, classes), 1 / classes)


def test_weights_give_the_samples_shares() -> None:
    weight_N = class_weights(strings(["mel", "mel", "nv", "df"]), strings(["mel", "nv", "nv", "nv"]))
    assert weight_N.tolist() == [0.125, 0.125, 0.75, 0.0]


def test_reference_images_take_the_shares_of_the_samples() -> None:
    real = strings(["nv"] * 90 + ["mel"] * 10)
    rows = match_shares(real, strings(["mel"] * 5 + ["nv"] * 15), np.random.default_rng(0))
    assert (real[rows] == "mel").sum() == 10  # all there are
    assert (real[rows] == "nv").sum() == 30
    assert len(match_shares(real, strings(["df"] * 3), np.random.default_rng(0))) == 0


def test_clusters_are_drawn_whole() -> None:
    weights = cluster_weights(strings(["a", "a", "b", "c"]), 500, np.random.default_rng(0))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert weights.mean(axis=0) == pytest.approx([1, 1, 1, 1], abs=0.15)


def test_values_are_those_of_the_plain_functions() -> None:
    real, synthetic = images({"nv": 60}, 1), images({"nv": 40}, 2, shift=0.5)
    found = fidelity_figures(real, images({"nv": 50}, 3), synthetic, uniform(40), 100, 0)
    overall = found["overall"]
    assert overall["kid"]["value"] == pytest.approx(polynomial_mmd(real.features_NF, synthetic.features_NF))
    assert overall["fid"]["value"] == pytest.approx(frechet_distance(real.features_NF, synthetic.features_NF))
    assert (overall["n_real"], overall["n_synthetic"]) == (60, 40)
    assert overall["inception_score"]["value"] == pytest.approx(1.0)
    assert found["per_class"]["nv"]["kid"]["value"] == pytest.approx(overall["kid"]["value"])


def test_a_shifted_generator_is_told_from_the_floor_and_an_equal_one_is_not() -> None:
    real, unseen = images({"mel": 80, "nv": 160}, 1), images({"mel": 60, "nv": 120}, 2)
    counts = {"mel": 60, "nv": 60}
    good = fidelity_figures(real, unseen, images(counts, 3), uniform(120), 300, 0)["overall"]
    bad = fidelity_figures(real, unseen, images(counts, 4, shift=1.0), uniform(120), 300, 0)["overall"]
    assert good["kid"]["low"] < 0 < good["kid"]["high"]
    assert bad["kid"]["low"] > good["kid"]["high"]
    assert good["kid_unseen"]["low"] < 0 < good["kid_unseen"]["high"]
    assert bad["precision"]["value"] < good["precision"]["value"]


def test_intervals_cover_and_widen_with_clustered_images() -> None:
    """Four views of a lesion are not four lesions: the interval must not shrink by counting them."""
    rng = np.random.default_rng(0)
    base = images({"nv": 40}, 1)
    repeated = ImageSet(
        features_NF=np.repeat(base.features_NF, 4, axis=0) + rng.normal(0, 0.01, size=(160, 4)),
        dx=strings(["nv"] * 160),
        cluster=np.repeat(base.cluster, 4),
    )
    single = ImageSet(
        features_NF=repeated.features_NF, dx=repeated.dx, cluster=strings([str(i) for i in range(160)])
    )
    other, unseen = images({"nv": 200}, 2, shift=0.3), images({"nv": 20}, 3)
    widths = [
        (lambda f: f["high"] - f["low"])(
            fidelity_figures(s, unseen, other, uniform(200), 400, 0)["overall"]["kid"]
        )
        for s in (repeated, single)
    ]
    assert widths[0] > 1.5 * widths[1]


def test_sets_too_small_have_no_figure() -> None:
    found = fidelity_figures(
        images({"nv": 50, "df": 4}, 1),
        images({"nv": 50}, 2),
        images({"nv": 20, "df": 3}, 3, width=4),
        uniform(23),
        100,
        0,
    )
    assert found["per_class"]["df"]["kid"] is None
    assert found["per_class"]["df"]["precision"] is None
    assert found["per_class"]["nv"]["kid"] is not None
    wide = fidelity_figures(
        images({"nv": 30}, 1, width=64),
        images({"nv": 30}, 2, width=64),
        images({"nv": 30}, 3, width=64),
        uniform(30),
        100,
        0,
    )
    assert wide["overall"]["fid"] is None
    assert wide["overall"]["kid"] is not None


def test_the_same_seed_gives_the_same_figures() -> None:
    sets = images({"nv": 40}, 1), images({"nv": 40}, 2), images({"nv": 40}, 3)
    assert fidelity_figures(*sets, uniform(40), 100, 5) == fidelity_figures(*sets, uniform(40), 100, 5)


def test_the_difference_of_paired_sets_is_tighter_than_either_and_signed() -> None:
    real = images({"nv": 80}, 1)
    first = images({"nv": 60}, 2, shift=0.4)
    worse = ImageSet(features_NF=first.features_NF * 1.0 + 0.3, dx=first.dx, cluster=first.cluster)
    same = kid_difference(real, first, first, 200, np.random.default_rng(0))
    assert (same["value"], same["low"], same["high"]) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
    found = kid_difference(real, first, worse, 200, np.random.default_rng(0))
    expected = [polynomial_mmd(real.features_NF, s.features_NF) for s in (first, worse)]
    assert found["value"] == pytest.approx(expected[1] - expected[0])
    assert found["low"] > 0
    with pytest.raises(ValueError, match="same parents, row by row"):
        kid_difference(real, first, images({"nv": 60}, 3), 10, np.random.default_rng(0))


def made_of(parents: np.ndarray, noise: np.ndarray, shift: float) -> ImageSet:
    """Images of drawn parents: what a parent passes on, and noise of their own."""
    rows = parents + noise + shift
    names = strings([f"{row[0]:.9f}" for row in parents])
    return ImageSet(features_NF=rows, dx=strings(["nv"] * len(rows)), cluster=names)


@pytest.mark.slow
def test_a_twin_of_the_dear_set_brings_in_more_of_the_cheap_one() -> None:
    rng = np.random.default_rng(0)

    def sets(n: int, rows: int) -> tuple[ImageSet, ...]:
        real = made_of(rng.normal(size=(300, 2)), np.zeros((300, 2)), 0.0)
        parents, noise = rng.normal(size=(rows, 2)), rng.normal(size=(2, rows, 2))
        twin = made_of(parents, noise[0], 0.02)
        return real, made_of(parents[:n], noise[0, :n], 0.0), twin, made_of(parents, noise[1], 0.3)

    real, first, twin, second = sets(40, 400)
    found = kid_difference(real, first, second, 200, np.random.default_rng(0), twin=twin)
    of = [
        polynomial_mmd(real.features_NF, images.features_NF)
        for images in (second, twin, twin.take(np.arange(40)), first)
    ]
    assert found["value"] == pytest.approx(of[0] - of[1] + of[2] - of[3])
    direct = kid_difference(real, first, second.take(np.arange(40)), 200, np.random.default_rng(0))
    assert found["high"] - found["low"] < 0.5 * (direct["high"] - direct["low"])

    truth = np.mean([kid_difference(*pair(sets(1500, 1500)), 1, rng)["value"] for _ in range(6)])
    covered = 0
    for _ in range(50):
        real, first, twin, second = sets(40, 400)
        found = kid_difference(real, first, second, 100, rng, twin=twin)
        covered += found["low"] <= truth <= found["high"]
    assert covered >= 44, "95 % intervals"
    with pytest.raises(ValueError, match="same parents, row by row"):
        kid_difference(real, first, second, 10, rng, twin=twin.take(np.arange(399, -1, -1)))


def pair(sets: tuple[ImageSet, ...]) -> tuple[ImageSet, ImageSet, ImageSet]:
    """The real set, the dear one and the cheap one."""
    return sets[0], sets[1], sets[3]


def test_an_image_of_weight_two_counts_like_two_images() -> None:
    real, first, second = (
        images({"mel": 10, "nv": 40}, 1),
        images({"nv": 60}, 2),
        images({"nv": 60}, 3, shift=0.5),
    )
    second = ImageSet(features_NF=second.features_NF, dx=first.dx, cluster=first.cluster)
    weight_R = np.where(real.dx == "mel", 2.0, 1.0)
    twice = real.take(np.concatenate([np.arange(50), np.flatnonzero(real.dx == "mel")]))
    weighted = kid_difference(real, first, second, 200, np.random.default_rng(0), weight_R)
    repeated = kid_difference(twice, first, second, 200, np.random.default_rng(0))
    assert weighted == pytest.approx(repeated), "the same draws: repeated images share their cluster"
    assert weighted["value"] != pytest.approx(
        kid_difference(real, first, second, 200, np.random.default_rng(0))["value"]
    )


def test_an_image_of_weight_zero_is_no_image() -> None:
    real, first, second = images({"nv": 50}, 1), images({"nv": 60}, 2), images({"nv": 60}, 3, shift=0.5)
    dx = strings(["mel", "nv"] * 30)
    first, second = (
        ImageSet(features_NF=one.features_NF, dx=dx, cluster=first.cluster) for one in (first, second)
    )
    weight_S = np.where(dx == "nv", 1.0, 0.0)
    found = kid_difference(real, first, second, 200, np.random.default_rng(0), weight_S=weight_S)
    nevi = [one.take(dx == "nv") for one in (first, second)]
    assert found["value"] == pytest.approx(kid_difference(real, *nevi, 10, np.random.default_rng(0))["value"])
    scaled = kid_difference(real, first, second, 200, np.random.default_rng(0), weight_S=weight_S / 60)
    assert scaled == pytest.approx(found), "only shares count"
