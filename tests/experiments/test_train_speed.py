"""The shortcuts of a training step that train_speed undoes are there to be undone, and change no number but by rounding."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from engine.build import load
from engine.diffusion import attention
from engine.training import loop
from engine.training.plan import TrainEnv
from experiments import train_speed

SMALL = ("denoiser.widths=[16, 32]", "denoiser.head_dim=8", "denoiser.batch_size=4")


def test_every_shortcut_of_a_part_can_be_undone() -> None:
    env = TrainEnv(precision="bf16")
    for names in train_speed.PARTS.values():
        for name in names:
            with train_speed.SHORTCUTS[name]():
                slow = {module.fused_is_slow(env) for module in (attention, loop)}
                assert slow == {name != "plain attention"}
    assert loop.fused_is_slow(env)


def test_without_plain_attention_a_denoiser_learns_the_same(tmp_path: Path) -> None:
    config = load(train_speed.CONFIG, SMALL)

    def losses(*undone: str) -> list[float]:
        return list(
            train_speed.played(
                partial(train_speed.denoiser, config), undone, TrainEnv(precision="bf16"), 2
            ).losses
        )

    plain, fused = losses(), losses("plain attention")
    assert plain != fused and plain == pytest.approx(fused, rel=0.02)
