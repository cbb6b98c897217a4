"""`run --dry-run` and memory: what does not fit is refused before anything is trained, with settings that make it fit."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.commands import dry_run as dry_run_module
from engine.commands import planned_memory as module
from engine.commands.dry_run import dry_run
from engine.commands.planned_memory import MemoryPlan, data_size
from engine.config import Config, parse_config
from engine.errors import ConfigError
from engine.execution.free_memory import Room
from engine.planning.plan import plan_memory
from engine.planning.remedies import with_settings
from tests.fakes import make_dataset_folders
from tests.integration.tiny import tiny_config

BIG: dict[str, Any] = {
    "data": {"image_size": 32},
    "vae": {"batch_size": 64, "widths": [16, 32], "downsample": 2},
}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    images, split = make_dataset_folders(tmp_path / "data")
    return {"images": images, "split": split}


def room(monkeypatch: pytest.MonkeyPatch, free: int, host: int = 2**40) -> None:
    """Let the device have so many bytes."""
    there = {"total": 2**40, "what": "a test"}
    monkeypatch.setattr(module, "room_on", lambda _: Room(free=free, **there))
    monkeypatch.setattr(module, "host_room", lambda: Room(free=host, **there))


def plan_of(config: Config, folders: dict[str, Path], stages: list[str], device: str = "cpu") -> MemoryPlan:
    return MemoryPlan.of(config, config, device, folders, stages)


def settings_in(message: str) -> list[dict[str, Any]]:
    """Return the settings of each remedy in a refusal."""
    lines = re.findall(r"fits with (.*): saves", message)
    return [dict(pair.split("=") for pair in line.split()) for line in lines]


def test_data_size_is_what_the_generator_parts_see(folders: dict[str, Path]) -> None:
    size = data_size(parse_config({}), folders)
    assert size.classes == 3
    assert 0 < size.captions <= size.train
    assert size.tokens > 6


def test_a_stage_that_does_not_fit_is_refused_with_what_helps(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_config(BIG)
    room(monkeypatch, 2**40)
    whole = plan_of(config, folders, ["vae"])
    whole.require_room()
    peak = whole.needs["vae"].peak
    room(monkeypatch, peak - 2**20)
    with pytest.raises(ConfigError) as error:
        plan_of(config, folders, ["vae"]).require_room()
    message = str(error.value)
    assert message.startswith(f"vae: is planned to hold {peak / 2**30:.1f} GiB in a step")
    assert "of 1024.0 GiB of a test are free" in message
    keys = {key for settings in settings_in(message) for key in settings}
    assert keys == {
        "vae.accumulate",
        "vae.gradient_checkpointing",
        "vae.batch_size",
        "backend.precision",
        "data.image_size",
    }
    for settings in settings_in(message):
        values = {key: {"true": True}.get(v, int(v) if v.isdigit() else v) for key, v in settings.items()}
        followed = with_settings(config, values)
        assert followed is not None
        plan_of(followed, folders, ["vae"]).require_room()


def test_where_nothing_helps_the_refusal_says_so(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    room(monkeypatch, 10)
    with pytest.raises(ConfigError, match="no setting of it makes it fit"):
        plan_of(parse_config(BIG), folders, ["vae"]).require_room()


def test_a_gpu_needs_room_for_checkpoints_in_the_machine(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    room(monkeypatch, 2**40, host=10)
    with pytest.raises(ConfigError, match=r"vae: is planned to hold .* GiB in this machine's memory"):
        plan_of(parse_config(BIG), folders, ["vae"], device="cuda").require_room()


def test_workers_that_share_a_batch_need_less_than_the_dry_run(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = parse_config({**BIG, "backend": {"kind": "ray", "train_workers": 4}})
    room(monkeypatch, 10)
    plan = MemoryPlan.of(run, parse_config(BIG), "cpu", folders, ["vae"])
    with pytest.raises(ConfigError, match=r"one process with the whole batch; one of 4 workers would hold"):
        plan.require_room()


def test_a_dry_run_refuses_before_its_pilot_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pilot(*_: object) -> None:
        raise AssertionError("the pilot was begun")

    monkeypatch.setattr(module, "plan_memory", lambda setting, _: plan_memory(setting, ["gan"]))
    monkeypatch.setattr(dry_run_module, "_pilot", pilot)
    room(monkeypatch, 2**20)
    console = Console(file=io.StringIO(), width=120)
    with pytest.raises(ConfigError, match="gan: is planned to hold") as error:
        dry_run(tiny_config(str(tmp_path / "out")), console)
    assert error.value.exit_code == 2
    assert not (tmp_path / "out").exists()
    room(monkeypatch, 2**40)
    with pytest.raises(AssertionError, match="the pilot was begun"):
        dry_run(tiny_config(str(tmp_path / "out")), console)
    assert "memory: most in" in console.file.getvalue()  # type: ignore[attr-defined]
