"""Images whose keypoints are alike become candidates, however many images there are."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.duplicates import keypoint_candidates
from engine.data.duplicates.candidates import ranks
from engine.data.duplicates.keypoint_candidates import FEW, FEW_IMAGES, KEPT, candidate_pairs
from engine.data.duplicates.keypoints import Keypoints
from tests.fakes import no_progress


def drawn(images: int, keypoints: int, twins: int) -> Keypoints:
    """Random descriptors; the last ``twins`` images have those of the first ones, a little changed."""
    rng = np.random.default_rng(5)
    descriptor = rng.integers(0, 60, (images, keypoints, 128))
    descriptor[images - twins :] = descriptor[:twins] + rng.integers(0, 8, (twins, keypoints, 128))
    return Keypoints(
        frame_NK4=np.zeros((images, keypoints, 4), np.float32),
        descriptor_NKD=descriptor.astype(np.uint8),
        count_N=np.full(images, keypoints),
        size_N2=np.full((images, 2), 150),
    )


@pytest.mark.parametrize(("images", "keypoints"), [(60, 20), (180, 150)])
def test_twins_are_candidates(images: int, keypoints: int) -> None:
    """Once compared one by one, once by the index."""
    assert (images * keypoints > FEW) == (images == 180)
    group = np.arange(images)
    pairs = candidate_pairs(drawn(images, keypoints, twins=8), group, 1, no_progress)
    found = set(map(tuple, pairs.tolist()))
    assert {(k, images - 8 + k) for k in range(8)} <= found
    assert (pairs[:, 0] < pairs[:, 1]).all() and len(found) == len(pairs) <= images * KEPT
    again = candidate_pairs(drawn(images, keypoints, twins=8), group, 3, no_progress)
    assert np.array_equal(pairs, again)


def test_one_group_has_no_candidates_within() -> None:
    group = np.arange(60)
    group[-8:] = group[:8]
    pairs = candidate_pairs(drawn(60, 20, twins=8), group, 1, no_progress)
    assert not {(k, 52 + k) for k in range(8)} & set(map(tuple, pairs.tolist()))


def test_of_few_images_all_pairs_are_candidates() -> None:
    few = drawn(FEW_IMAGES, 3, twins=0)
    assert (
        len(candidate_pairs(few, np.arange(FEW_IMAGES), 1, no_progress)) == FEW_IMAGES * (FEW_IMAGES - 1) // 2
    )
    assert len(candidate_pairs(few, np.zeros(FEW_IMAGES, int), 1, no_progress)) == 0


def test_images_without_keypoints() -> None:
    bare = drawn(40, 3, twins=0)
    bare.count_N[:] = 0
    assert candidate_pairs(bare, np.arange(40), 1, no_progress).shape == (0, 2)


def test_ranks_by_votes() -> None:
    pairs, votes = np.array([[0, 1], [0, 2], [1, 2]]), np.array([1.0, 3.0, 2.0])
    assert ranks(pairs, -votes, 3).tolist() == [[1, 1], [0, 0], [0, 1]]


def test_fewer_candidates_where_fewer_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keypoint_candidates, "KEPT", 1)
    assert len(candidate_pairs(drawn(60, 20, twins=8), np.arange(60), 1, no_progress)) <= 60
