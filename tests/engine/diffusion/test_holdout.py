"""Held-out train lesions: whole lesions, deterministic, at least one."""

import numpy as np

from engine.diffusion.holdout import held_out


def test_whole_lesions_and_about_the_share():
    lesions = np.array([f"L{i // 2}" for i in range(400)])
    mask = held_out(lesions)
    assert mask.sum() == 12  # 3 % of 200 lesions, two images each
    assert not set(lesions[mask]) & set(lesions[~mask])


def test_does_not_depend_on_order():
    lesions = np.array([f"L{i}" for i in range(100)])
    order = np.random.default_rng(0).permutation(100)
    assert set(lesions[held_out(lesions)]) == set(lesions[order][held_out(lesions[order])])


def test_small_sets():
    assert held_out(np.array(["a", "b"])).sum() == 1
    assert not held_out(np.array(["a", "a"])).any()
    assert held_out(np.array([], dtype=np.str_)).shape == (0,)
