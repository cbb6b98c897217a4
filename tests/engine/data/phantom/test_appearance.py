"""Archetypes and the knob of difficulty."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from engine.data.phantom.appearance import ARCHETYPES, CONFUSED, STRUCTURES, archetype, blend, draw_appearance


def _flat(look) -> np.ndarray:
    return np.concatenate([np.atleast_1d(v) for v in dataclasses.astuple(look)])


def test_confusion_shares_sum_to_one_and_name_other_classes():
    assert set(CONFUSED) == set(ARCHETYPES)
    for dx, others in CONFUSED.items():
        assert dx not in others
        assert sum(others.values()) == pytest.approx(1.0)


def test_abcd_rule_orders_melanoma_above_nevus():
    mel, nv = ARCHETYPES["mel"], ARCHETYPES["nv"]
    assert mel.asymmetry > 5 * nv.asymmetry
    assert mel.irregularity > 5 * nv.irregularity
    assert {name for name in STRUCTURES if getattr(mel, name) > 0} > {
        "veil",
        "regression",
        "streaks",
        "blotches",
    }
    assert {name for name in STRUCTURES if getattr(nv, name) > 0} == {"network", "globules"}


def test_blend_is_linear_and_exact_at_its_ends():
    mel, nv = ARCHETYPES["mel"], ARCHETYPES["nv"]
    assert blend(mel, nv, 0.0) == mel
    assert blend(mel, nv, 1.0) == nv
    half = blend(mel, nv, 0.5)
    assert half.veil == pytest.approx(0.40)
    assert half.inner == pytest.approx((0.42, 0.255, 0.185))


@pytest.mark.parametrize("dx", sorted(ARCHETYPES))
def test_difficulty_moves_the_class_a_third_towards_those_it_is_taken_for(dx):
    others = sum(w * _flat(ARCHETYPES[c]) for c, w in CONFUSED[dx].items())
    own = _flat(ARCHETYPES[dx])
    assert archetype(dx, 0.0) == ARCHETYPES[dx]
    assert _flat(archetype(dx, 1.0)) == pytest.approx(own + 0.33 * (others - own))


@pytest.mark.parametrize("dx", sorted(ARCHETYPES))
@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_draws_stay_in_range(dx, difficulty):
    rng = np.random.default_rng(0)
    for _ in range(40):
        look = draw_appearance(dx, difficulty, rng)
        assert all(0.0 <= getattr(look, name) <= 1.0 for name in STRUCTURES)
        assert 0.16 <= look.radius <= 0.78 and 0.02 <= look.softness <= 0.8
        assert all(0.0 < channel < 1.0 for channel in (*look.inner, *look.rim))


def test_easy_lesions_carry_no_structure_of_another_class():
    rng = np.random.default_rng(1)
    for _ in range(30):
        assert draw_appearance("nv", 0.0, rng).veil == 0.0
        assert draw_appearance("vasc", 0.0, rng).network == 0.0


def test_some_hard_melanomas_look_like_nevi():
    rng = np.random.default_rng(2)
    easy = [draw_appearance("mel", 0.0, rng).asymmetry for _ in range(200)]
    hard = [draw_appearance("mel", 1.0, rng).asymmetry for _ in range(200)]
    assert np.mean(hard) < 0.75 * np.mean(easy)
    assert np.quantile(hard, 0.1) < np.quantile(easy, 0.1)
