"""Same-class neighbours from other lesions, by hand."""

import numpy as np

from engine.diffusion.neighbours import same_class_neighbours

ANGLES = np.deg2rad([0, 5, 10, 40, 3, 90])
FUSED = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
LABEL = np.array([0, 0, 0, 0, 1, 2])
LESION = np.array(["a", "a", "b", "c", "d", "e"])


def test_nearest_first_never_own_lesion_never_another_class():
    found = same_class_neighbours(FUSED, LABEL, LESION, count=2)
    assert found[0].tolist() == [2, 3]  # 1 is the same lesion, 4 another class
    assert found[3].tolist() == [2, 1]


def test_too_few_neighbours_repeat_the_last_and_none_is_oneself():
    found = same_class_neighbours(FUSED, LABEL, LESION, count=3)
    assert found[0].tolist() == [2, 3, 3]
    assert found[4].tolist() == [4, 4, 4]
    assert found.dtype == np.int64


def test_ties_go_by_position():
    same = np.ones((4, 1), dtype=np.float32)
    found = same_class_neighbours(same, np.zeros(4, dtype=np.int64), np.array(["a", "b", "c", "d"]), count=2)
    assert found.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]
