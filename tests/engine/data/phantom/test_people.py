"""Class counts, ages, sexes and sites of the phantoms."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.phantom.people import HAM_IMAGES, assign_classes, class_counts, draw_person


@pytest.mark.parametrize("lesions", [14, 20, 56, 100, 400, 7470])
@pytest.mark.parametrize("imbalance", [0.0, 0.5, 1.0])
def test_counts_sum_up_and_keep_the_least(lesions, imbalance):
    counts = class_counts(lesions, imbalance)
    assert sum(counts.values()) == lesions
    assert min(counts.values()) >= min(8, lesions // 7)


def test_no_imbalance_is_equal():
    assert set(class_counts(70, 0.0).values()) == {10}


def test_full_imbalance_is_ham10000():
    counts = class_counts(10015, 1.0)
    assert all(abs(counts[dx] - number) <= 1 for dx, number in HAM_IMAGES.items())


def test_imbalance_is_monotone_in_the_commonest_class():
    shares = [class_counts(700, knob)["nv"] for knob in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert shares == sorted(shares) and shares[0] == 100 and shares[-1] > 400


def test_classes_are_shuffled_and_complete():
    counts = class_counts(70, 0.0)
    classes = assign_classes(counts, np.random.default_rng(0))
    assert {dx: classes.count(dx) for dx in counts} == counts
    assert classes != sorted(classes)


def test_people_go_with_their_class():
    rng = np.random.default_rng(0)
    people = {dx: [draw_person(dx, rng) for _ in range(800)] for dx in HAM_IMAGES}
    age = {dx: np.nanmean([p[0] for p in drawn]) for dx, drawn in people.items()}
    assert age["nv"] == pytest.approx(46, abs=2) and age["bcc"] == pytest.approx(67, abs=2)
    legs = {dx: np.mean([p[2] == "lower extremity" for p in drawn]) for dx, drawn in people.items()}
    assert legs["df"] == pytest.approx(0.71, abs=0.06)
    assert np.mean([p[2] == "face" for p in people["akiec"]]) == pytest.approx(0.35, abs=0.06)
    assert {p[1] for p in people["mel"]} == {"male", "female"}
    missing = np.mean([np.isnan(p[0]) for drawn in people.values() for p in drawn])
    assert 0.003 < missing < 0.02
