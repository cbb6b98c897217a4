"""Training of the small CLIP: it learns, resumes to the same bits, and its loss does not depend on sharding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.config import EmbedderConfig
from engine.errors import StageError
from engine.retrieval.embedding import LevelEmbedder, fuse
from engine.retrieval.train import ContrastiveObjective, Examples, Recipe, drop_phrases, fit
from engine.training.plan import TrainEnv
from engine.types import strings
from tests.fakes import blob

SMALL = EmbedderConfig(
    width=32, layers=2, levels=2, patch=8, text_layers=1, steps=60, batch_size=16, lr=2e-3, checkpoint_every=3
)
CLASSES = ("bkl", "mel", "nv")


def examples(count: int = 48, seed: int = 0) -> Examples:
    """Blobs coloured by class; the caption says the class and, at random, a sex."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 3
    pictures, masks = zip(*[blob(int(one), 3, 16, rng) for one in label], strict=True)
    whole, mask = np.stack(pictures), np.stack(masks)
    masked = (whole * (mask > 0)[..., None]).astype(np.uint8)
    sexes = rng.choice(["male", "female"], count)
    return Examples(
        captions=strings([f"dermoscopy of {CLASSES[c]}, {s}" for c, s in zip(label, sexes, strict=True)]),
        lesion_id=strings([f"L{row // 2}" for row in range(count)]),
        label_N=label.astype(np.int64),
        image_size=16,
        views=lambda rows: (masked[rows], whole[rows]),
    )


def same_class_share(folder: Path, data: Examples, view: int) -> float:
    """Share of the five nearest other images that are of the query's class."""
    everything = np.arange(len(data.label_N))
    fused = fuse(LevelEmbedder(folder, (1, 2))(data.views(everything)[view]), "mean")
    similarity = fused @ fused.T
    np.fill_diagonal(similarity, -2)
    nearest = np.argsort(-similarity, axis=1)[:, :5]
    return float((data.label_N[nearest] == data.label_N[:, None]).mean())


@pytest.mark.slow
def test_trained_embedding_groups_classes_it_has_not_seen_the_images_of(tmp_path):
    log = fit(SMALL, examples(), tmp_path / "clip", tmp_path / "checkpoint", 0, TrainEnv())
    assert len(log.losses) == 60
    assert np.mean(log.losses[-10:]) < 0.8 * np.mean(log.losses[:5])
    fresh = examples(seed=9)
    for view in (0, 1):
        assert same_class_share(tmp_path / "clip", fresh, view) > 0.8


def test_killed_training_resumes_to_the_same_bits(tmp_path):
    config = SMALL.model_copy(update={"steps": 8})
    fit(config, examples(), tmp_path / "whole", tmp_path / "checkpoint_a", 0, TrainEnv())

    def die(_what: str, done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, examples(), tmp_path / "resumed", tmp_path / "checkpoint_b", 0, TrainEnv(progress=die))
    assert not (tmp_path / "resumed").exists()
    log = fit(config, examples(), tmp_path / "resumed", tmp_path / "checkpoint_b", 0, TrainEnv())
    assert log.resumed_from == 3
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_another_seed_gives_other_weights(tmp_path):
    config = SMALL.model_copy(update={"steps": 1})
    for seed in (0, 1):
        fit(config, examples(), tmp_path / str(seed), tmp_path / f"checkpoint_{seed}", seed, TrainEnv())
    first, other = (load_file(tmp_path / str(seed) / "model.safetensors") for seed in (0, 1))
    assert not torch.equal(first["visual_projection.weight"], other["visual_projection.weight"])


def test_diverged_training_says_what_to_lower(tmp_path):
    config = SMALL.model_copy(update={"lr": 1e30, "grad_clip": None, "steps": 5})
    with pytest.raises(StageError, match=r"embedder: the loss became .* lower its lr"):
        fit(config, examples(), tmp_path / "clip", tmp_path / "checkpoint", 0, TrainEnv())


def test_only_the_main_worker_writes(tmp_path, monkeypatch):
    """Two workers with the other's features played back: the same loss as one worker, files from rank 0 alone."""
    losses: dict[tuple[int, int], float] = {}
    features: dict[int, list[torch.Tensor]] = {0: [], 1: []}
    gathered = ContrastiveObjective.__call__

    def record(self, rows, step, generator):
        loss = gathered(self, rows, step, generator)
        losses[self._env.world, self._env.rank] = float(loss.detach())
        return loss

    monkeypatch.setattr(ContrastiveObjective, "__call__", record)
    config = SMALL.model_copy(update={"steps": 1})
    fit(config, examples(), tmp_path / "one", tmp_path / "checkpoint", 0, TrainEnv())

    def keep(pieces, own):
        features[keep.rank].append(own.clone())
        for piece in pieces:
            piece.copy_(own)

    def play(pieces, own):
        for piece, stored in zip(pieces, (features[0], features[1]), strict=True):
            piece.copy_(stored[play.call])
        assert torch.equal(own, pieces[1])
        play.call += 1

    monkeypatch.setattr("torch.distributed.all_reduce", lambda _tensor: None)
    monkeypatch.setattr("torch.distributed.all_gather", keep)
    for rank in (0, 1):
        keep.rank = rank
        env = TrainEnv(rank=rank, world=2)
        fit(config, examples(), tmp_path / f"rank{rank}", tmp_path / "none", 0, env)
    assert (tmp_path / "rank0").exists() and not (tmp_path / "rank1").exists()
    play.call = 0
    monkeypatch.setattr("torch.distributed.all_gather", play)
    fit(config, examples(), tmp_path / "again", tmp_path / "none", 0, TrainEnv(rank=1, world=2))
    assert abs(losses[2, 1] - losses[1, 0]) < 1e-3


def test_image_term_can_be_left_out(tmp_path):
    config = SMALL.model_copy(update={"steps": 1})
    logs = [
        fit(
            config,
            examples(),
            tmp_path / "clip",
            tmp_path / "none",
            0,
            TrainEnv(),
            Recipe(view_weight=weight),
        )
        for weight in (0.0, 0.5, 1.0)
    ]
    alone, half, full = (log.losses[0] for log in logs)
    assert alone < half < full
    assert np.isclose(half - alone, full - half, rtol=1e-4)


@pytest.mark.parametrize(
    ("chance", "expected"),
    [(0.0, "dermoscopy of mel on the back, male, age 50-59"), (1.0, "dermoscopy of mel on the back")],
)
def test_phrases_after_the_first_are_dropped(chance, expected):
    generator = torch.Generator().manual_seed(0)
    assert drop_phrases("dermoscopy of mel on the back, male, age 50-59", chance, generator) == expected


def test_each_phrase_is_dropped_by_its_own_chance():
    generator = torch.Generator().manual_seed(0)
    drawn = [drop_phrases("a, b, c", 0.3, generator) for _ in range(1000)]
    shares = {text: drawn.count(text) / 1000 for text in set(drawn)}
    for text, share in {"a, b, c": 0.49, "a, b": 0.21, "a, c": 0.21, "a": 0.09}.items():
        assert abs(shares[text] - share) < 0.05
