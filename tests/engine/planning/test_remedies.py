"""Which settings are named where a stage does not fit, on needs that follow from a formula of this file."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import Config, parse_config
from engine.planning import remedies as module
from engine.planning.plan import PLANNERS
from engine.planning.remedies import Remedy, remedies, with_settings
from engine.planning.setting import DataSize, Need, Setting

DATA = DataSize(train=10, classes=2, captions=1, words=9, tokens=9)


def need(setting: Setting, _: str) -> Need:
    """10 bytes, and 4 per example of a piece; gradient checkpointing halves these."""
    section = setting.config.denoiser
    each = 2 if section.gradient_checkpointing else 4
    return Need(moment="a step", parts={"weights": 10, "activations": each * setting.piece(section)})


@pytest.fixture(autouse=True)
def by_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "plan_stage", need)


def found(room: int, **denoiser: Any) -> list[Remedy]:
    config = parse_config({"denoiser": {"batch_size": 8, **denoiser}})
    setting = Setting(config=config, data=DATA, gpu=False)
    return remedies(setting, "denoiser", lambda one: one.peak <= room)


def test_each_setting_that_is_enough_alone_at_its_mildest_value() -> None:
    """42 bytes in 30: half the examples, or half the bytes of each, make 26; precision and image size do nothing."""
    assert found(30) == [
        Remedy(settings={"denoiser.accumulate": 2}, peak=26),
        Remedy(settings={"denoiser.gradient_checkpointing": True}, peak=26),
        Remedy(settings={"denoiser.batch_size": 4}, peak=26),
    ]
    assert found(18) == [
        Remedy(settings={"denoiser.accumulate": 4}, peak=18),
        Remedy(settings={"denoiser.batch_size": 2}, peak=18),
    ]


def test_a_combination_where_no_setting_is_enough_alone() -> None:
    """One example at a time makes 14, with checkpointing 12."""
    assert found(13) == [
        Remedy(settings={"denoiser.accumulate": 8, "denoiser.gradient_checkpointing": True}, peak=12)
    ]


def test_nothing_where_all_settings_together_are_not_enough() -> None:
    assert found(11) == []


@pytest.mark.parametrize("stage", sorted(PLANNERS))
def test_every_planned_stage_has_levers(stage: str) -> None:
    assert dict(module._levers(parse_config({}), stage))["data.image_size"]


def test_moments_in_8_bit_are_named_where_they_are_not_on() -> None:
    levers = [
        dict(module._levers(parse_config({"denoiser": {"optimizer": name}}), "denoiser"))
        for name in ("adamw", "adam", "adamw8bit")
    ]
    assert [one.get("denoiser.optimizer") for one in levers] == [["adamw8bit"], None, None]
    assert "classifier.optimizer" not in dict(module._levers(parse_config({}), "classifier"))


def test_what_is_on_already_is_not_named() -> None:
    keys = [key for one in found(18, gradient_checkpointing=True, accumulate=1) for key in one.settings]
    assert keys == ["denoiser.accumulate", "denoiser.batch_size"]


def test_a_pretrained_unet_may_be_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    def frozen(setting: Setting, _: str) -> Need:
        return Need(
            moment="a step",
            parts={"moments": {"all": 30, "lora": 12, "adapter": 10}[setting.config.denoiser.train]},
        )

    monkeypatch.setattr(module, "plan_stage", frozen)
    assert found(29, pretrained="some/model") == [Remedy(settings={"denoiser.train": "lora"}, peak=12)]
    assert found(11, pretrained="some/model") == [Remedy(settings={"denoiser.train": "adapter"}, peak=10)]
    assert found(29) == []


def shared_out(setting: Setting, _: str) -> Need:
    """100 bytes of moments, dealt out among the workers where that is asked for, and 4 per example of a piece."""
    moments = 100 // setting.owners
    parts = {"moments": moments, "activations": 4 * setting.piece(setting.config.denoiser)}
    return Need(moment="a step", parts=parts)


@pytest.mark.parametrize(
    ("backend", "named"),
    [
        ({"train_workers": 2}, True),
        ({"train_workers": [2, 4]}, True),
        ({"train_workers": [1, 4]}, False),
        ({"train_workers": 2, "precision": "fp16"}, False),
        ({"train_workers": 2, "shard_optimizer": True}, False),
    ],
)
def test_workers_are_told_to_share_out_where_that_helps(
    monkeypatch: pytest.MonkeyPatch, backend: dict[str, Any], named: bool
) -> None:
    monkeypatch.setattr(module, "plan_stage", shared_out)
    config = parse_config({"denoiser": {"batch_size": 8}, "backend": {"kind": "ray", **backend}})
    setting = Setting(config=config, data=DATA, gpu=False)
    peak = shared_out(setting, "").peak
    room = peak - 40 if named else peak - 5
    found = remedies(setting, "denoiser", lambda one: one.peak <= room)
    assert ({"backend.shard_optimizer": True} in [one.settings for one in found]) == named
    assert found, "several workers do not keep a smaller batch from being named"


def test_a_config_that_would_be_refused_is_no_remedy() -> None:
    config = parse_config({})
    assert with_settings(config, {"data.image_size": 3}) is None
    changed = with_settings(config, {"denoiser.batch_size": 3})
    assert isinstance(changed, Config) and changed.denoiser.batch_size == 3
    assert changed == config.model_copy(
        update={"denoiser": config.denoiser.model_copy(update={"batch_size": 3})}
    )
