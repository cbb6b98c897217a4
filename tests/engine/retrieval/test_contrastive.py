"""Contrastive losses against values computed by hand, and features over workers."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from engine.retrieval import contrastive
from engine.retrieval.contrastive import caption_loss, gather, view_loss
from engine.training.plan import TrainEnv


def test_caption_loss_of_distinct_captions_is_clips_symmetric_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator)
    logits = 5.0 * F.normalize(image) @ F.normalize(text).T
    target = torch.arange(4)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(caption_loss(image, text, target, torch.tensor(5.0)), expected)


def test_caption_loss_shares_the_target_among_equal_captions():
    """Two orthogonal captions, the first twice: by image ln(2 + 1/e), by text ln(2 + 1/e), ln(1 + 2/e)."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    keys = torch.tensor([7, 7, 8])
    loss = caption_loss(rows, rows, keys, torch.tensor(1.0))
    same, other = math.log(2 + 1 / math.e), math.log(1 + 2 / math.e)
    assert math.isclose(float(loss), (2 * same + other) / 3, rel_tol=1e-6)


def test_caption_loss_with_two_views_counts_both_as_positives_of_their_caption():
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    image = torch.cat([text, text])
    by_image = math.log(1 + 1 / math.e)
    by_text = math.log(2 + 2 / math.e)
    loss = caption_loss(image, text, torch.tensor([0, 1]), torch.tensor(1.0))
    assert math.isclose(float(loss), (by_image + by_text) / 2, rel_tol=1e-6)


def test_view_loss_by_hand():
    """Two groups of two equal unit vectors, orthogonal: -ln(e / (e + 2)) for every row at temperature 1."""
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    loss = view_loss(rows, torch.tensor([0, 1, 0, 1]), 1.0)
    assert math.isclose(float(loss), math.log((math.e + 2) / math.e), rel_tol=1e-6)


def test_view_loss_leaves_out_rows_without_a_positive():
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = view_loss(rows, torch.tensor([0, 0, 1]), 1.0)
    assert math.isclose(float(loss), math.log((math.e + 1) / math.e), rel_tol=1e-6)
    lonely = view_loss(rows.requires_grad_(), torch.tensor([0, 1, 2]), 1.0)
    lonely.backward()
    assert float(lonely.detach()) == 0 and rows.grad is not None and bool(torch.isfinite(rows.grad).all())


def test_gather_on_one_worker_is_the_shard_itself():
    shard = torch.ones(3, 2)
    assert gather(shard, 3, TrainEnv()) is shard


def test_gradients_averaged_over_two_workers_are_one_workers(monkeypatch):
    """Uneven shards (5 rows over 2 workers); all_gather is played back from both workers' features."""
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    groups = torch.tensor([0, 1, 0, 1, 1])

    def step(world: int, rank: int) -> tuple[float, torch.Tensor, torch.Tensor]:
        own = np.array_split(np.arange(5), world)[rank]
        layer, scale = weight.clone().requires_grad_(), torch.tensor(2.0, requires_grad=True)
        features = gather(inputs[own] @ layer, 5, TrainEnv(rank=rank, world=world))
        loss = view_loss(features, groups, 0.5) + caption_loss(features, features, groups, scale)
        loss.backward()
        assert layer.grad is not None and scale.grad is not None
        return float(loss.detach()), layer.grad, scale.grad

    def all_gather(pieces: list[torch.Tensor], own: torch.Tensor) -> None:
        for piece, rows in zip(pieces, np.array_split(np.arange(5), 2), strict=True):
            piece.zero_()
            piece[: len(rows)] = inputs[rows] @ weight
        assert any(torch.equal(piece, own) for piece in pieces)

    monkeypatch.setattr(contrastive.dist, "all_gather", all_gather)
    loss, layer, scale = step(1, 0)
    workers = [step(2, 0), step(2, 1)]
    for worker in workers:
        assert math.isclose(worker[0], loss, rel_tol=1e-5)
    torch.testing.assert_close((workers[0][1] + workers[1][1]) / 2, layer)
    torch.testing.assert_close((workers[0][2] + workers[1][2]) / 2, scale)
