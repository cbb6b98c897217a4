"""`run --dry-run`: the plan's sizes by hand, the pilot's clock, and a whole dry run that leaves nothing behind."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.commands import dry_run as module
from engine.commands.dry_run import PilotListener, dry_run, plan_units
from engine.config.loading import parse_config
from engine.errors import ConfigError
from engine.store import StageFolder
from tests.integration.tiny import tiny_config

COUNTS = {"images": 180, "lesions": 90, "used": 180, "train": 72, "mine": 36, "val": 36, "test": 36}


def test_the_plan_counts_steps_and_chunks(tmp_path: Path) -> None:
    loop = {"rounds": 2, "budget": 40, "arms": ["real", "random", "hard"], "compare": "last_round"}
    plan = plan_units(tiny_config(str(tmp_path), loop=loop), COUNTS)
    assert plan["images"] == (1, 180)
    assert (plan["vae"], plan["denoiser"], plan["judge"]) == ((1, 8), (1, 8), (1, 2 * 6))
    assert plan["index"] == plan["latents"] == (1, 3)  # 72 images in chunks of 32
    fits = 1 + 2 + 2  # round 0, two rounds of hard, two arms once
    assert plan["classifier"] == (fits, 10 + 5 * 2 * 3)  # every arm gets both rounds' steps
    assert plan["predict"] == (fits, fits * 6)
    assert plan["synthesize"] == (4, 4 * 2)  # hard and random in each round, two chunks each
    assert "crossfit" not in plan
    scratch = tiny_config(str(tmp_path), loop=loop, classifier={"round_init": "scratch"})
    assert plan_units(scratch, COUNTS)["classifier"] == (fits, fits * 10)  # the last round's arms once, whole


def test_what_is_not_trained_costs_nothing_and_crossfit_is_counted(tmp_path: Path) -> None:
    config = tiny_config(
        str(tmp_path),
        vae={"kind": "identity", "downsample": 1},
        embedder={"pretrained": "a/b"},
        loop={"mine_from": "crossfit", "rounds": 2},
    )
    plan = plan_units(config, COUNTS)
    assert plan["vae"] == plan["embedder"] == (1, 0)
    assert plan["crossfit"] == (2, 2 * config.loop.crossfit_folds * 10)


def test_a_stage_costs_its_longest_work_a_unit_and_the_rest_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    listener = PilotListener()
    listener.stage_started("vae")
    for moment, what, done in [
        (1.0, "vae", 1),
        (3.0, "vae", 2),
        (5.0, "vae", 3),
        (5.5, "map", 1),
        (6.0, "map", 2),
    ]:
        now = moment
        listener.progress(what, done, 3)
    listener.stage_finished(StageFolder(name="vae", key="k", path=tmp_path, seconds=8.0, cached=False))
    assert listener.rates["vae"] == pytest.approx(2.0)
    assert listener.overhead["vae"] == pytest.approx(8.0 - 3 * 2.0)
    now = 10.0
    listener.stage_started("synthesize")
    now = 16.0
    listener.progress("synthesize", 2, 2)
    listener.stage_finished(StageFolder(name="synthesize", key="k", path=tmp_path, seconds=7.0, cached=False))
    assert listener.rates["synthesize"] == pytest.approx(3.0), "one mark: counted from the stage's start"
    assert listener.overhead["synthesize"] == pytest.approx(1.0)
    listener.stage_finished(StageFolder(name="judge", key="k", path=tmp_path, seconds=8.0, cached=True))
    assert "judge" not in listener.rates


@pytest.mark.slow
def test_a_dry_run_says_hours_and_leaves_nothing(tmp_path: Path) -> None:
    config = tiny_config(str(tmp_path / "out"))
    console = Console(file=io.StringIO(), width=120)
    dry_run(config, console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"\d+ images of 90 lesions at 16 px", said)
    assert "2 rounds, arms real, hard, 20 samples a round" in said
    for stage in ("embedder", "denoiser", "classifier", "synthesize"):
        assert stage in said
    assert "h on this device" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"vae": {"pretrained": "/nowhere"}}, "vae.pretrained: /nowhere does not exist"),
        ({"classifier": {"model": "resnet999"}}, "classifier.model: 'resnet999' is none of"),
        ({"output": "s3://x/y"}, "output: s3://x/y is a URL"),
    ],
)
def test_a_dry_run_refuses_what_a_run_refuses(tree: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = parse_config({"output": str(tmp_path), **tree})
    with pytest.raises(ConfigError, match=message):
        dry_run(config, Console(file=io.StringIO()))
