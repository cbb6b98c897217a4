"""`run --dry-run`: the plan's sizes by hand, the pilot's clock, and a whole dry run that leaves nothing behind."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.commands import dry_run as module
from engine.commands.dry_run import PilotListener, dry_run, hours_range
from engine.commands.planned_work import Work, plan_work
from engine.config import Config
from engine.config.loading import parse_config
from engine.errors import ConfigError
from engine.stages import NAMES
from engine.stages.base import Sizes
from engine.store import StageFolder
from tests.fakes import make_dataset_folders
from tests.integration.tiny import TINY, tiny_config

SIZES = Sizes(images=180, used=180, train=72, held=72, samples=40)
"""As the tiny phantoms are: 36 images in each of mine, val and test."""


@pytest.fixture
def data(tmp_path: Path) -> dict[str, StageFolder]:
    """The finished stages images and split, whose figures the loop reads."""
    folders = zip(("images", "split"), make_dataset_folders(tmp_path / "data"), strict=True)
    return {n: StageFolder(name=n, key=n, path=p, seconds=0.0, cached=True) for n, p in folders}


def plan_of(config: Config, data: dict[str, StageFolder]) -> dict[str, Work]:
    return plan_work(config, SIZES, data)


def test_the_plan_counts_steps_and_chunks(tmp_path: Path, data: dict[str, StageFolder]) -> None:
    loop = {"rounds": 2, "budget": 40, "arms": ["real", "random", "hard"], "compare": "last_round"}
    plan = plan_of(tiny_config(str(tmp_path), loop=loop), data)
    assert plan["images"] == Work(1, 180)
    assert (plan["vae"], plan["denoiser"], plan["judge"]) == (Work(1, 8), Work(1, 8), Work(1, 2 * 6))
    assert plan["index"] == plan["latents"] == Work(1, 3)  # 72 images in chunks of 32
    pools = 1 + 2 + 2  # round 0, two rounds of hard, two arms once
    fits = 1 + 2 + 2 * 2  # the two arms have a fit for each of both rounds
    assert plan["classifier"] == Work(fits, 10 + 5 * 2 * 3)  # every arm gets both rounds' steps
    assert plan["predict"] == Work(pools, pools * 6)
    assert plan["evaluate"] == Work(pools, pools * 3)  # 72 images of val and test
    assert plan["synthesize"] == Work(4, 4 * 2)  # hard and random in each round, two chunks each
    assert "crossfit" not in plan
    scratch = plan_of(tiny_config(str(tmp_path), loop=loop, classifier={"round_init": "scratch"}), data)
    assert scratch["classifier"] == Work(pools, pools * 10)  # the last round's arms once, whole


def test_the_plan_counts_every_stage_of_a_run(tmp_path: Path, data: dict[str, StageFolder]) -> None:
    loop = {"rounds": 2, "budget": 40, "arms": ["real", "random", "hard"], "compare": "last_round"}
    plan = plan_of(tiny_config(str(tmp_path), loop=loop), data)
    assert plan["features"] == plan["challenging"] == Work(1, 6)  # 180 images in chunks of 32
    assert plan["mine"] == Work(2, 2 * 6)  # once per round; random parents need none of their own
    assert plan["condition"] == plan["accept"] == plan["fidelity"] == Work(4, 4 * 2)
    assert plan["pool"] == Work(1 + 2 + 1, 0)  # that of real is round 0's again
    assert (plan["thumbnails"], plan["preview"]) == (
        Work(2, 0),
        Work(1, 0),
    )  # hard's rounds; one sheet per run
    assert set(NAMES) - set(plan) == {"ask", "crossfit", "distill", "gan", "likelihood"}


def test_the_plan_counts_questions_and_waits_for_no_reader(
    tmp_path: Path, data: dict[str, StageFolder]
) -> None:
    loop = {"rounds": 2, "arms": ["real", "hard", "queried", "queried_random"]}
    keep = {"split": {**TINY["data"]["split"], "hide_labels": 0.5}}
    plan = plan_of(tiny_config(str(tmp_path), data=keep, loop=loop), data)
    assert plan["ask"].runs == 4, "two arms in two rounds"
    assert plan["pool"].runs == 1 + 2 + 2 + 2 - 2, "a round without a new label has the pool of real"


def test_the_plan_computes_nothing_and_leaves_nothing(tmp_path: Path, data: dict[str, StageFolder]) -> None:
    before = sorted(tmp_path.rglob("*"))
    plan_of(tiny_config(str(tmp_path / "out")), data)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_not_trained_costs_nothing_and_crossfit_is_counted(
    tmp_path: Path, data: dict[str, StageFolder]
) -> None:
    config = tiny_config(
        str(tmp_path),
        vae={"kind": "identity", "downsample": 1},
        embedder={"pretrained": "a/b"},
        loop={"mine_from": "crossfit", "rounds": 2},
        evaluation={"likelihood": 40},
    )
    plan = plan_of(config, data)
    assert plan["vae"] == plan["embedder"] == Work(1, 0)
    assert plan["crossfit"] == Work(2, 2 * config.loop.crossfit_folds * 10)
    assert plan["likelihood"] == Work(1, 2)  # 40 images in chunks of 32


def test_a_gan_takes_the_place_of_the_diffusion_model(tmp_path: Path, data: dict[str, StageFolder]) -> None:
    config = tiny_config(str(tmp_path), synthesis={"generator": "dcgan"}, gan={"steps": 12})
    plan = plan_of(config, data)
    assert plan["gan"] == Work(1, 12)
    assert not {"vae", "latents", "denoiser"} & set(plan)


def test_a_stage_costs_its_longest_work_a_unit_and_the_rest_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    listener = PilotListener()
    listener.stage_started("vae", "k")
    for moment, what, done in [
        (1.0, "vae", 1),
        (3.0, "vae", 2),
        (5.0, "vae", 3),
        (5.5, "map", 1),
        (6.0, "map", 2),
    ]:
        now = moment
        listener.progress("k", what, done, 3)
    listener.stage_finished(StageFolder(name="vae", key="k", path=tmp_path, seconds=8.0, cached=False))
    assert listener.rates["vae"] == pytest.approx(2.0)
    assert listener.overhead["vae"] == pytest.approx(8.0 - 3 * 2.0)
    now = 10.0
    listener.stage_started("synthesize", "k")
    now = 16.0
    listener.progress("k", "synthesize", 2, 2)
    listener.stage_finished(StageFolder(name="synthesize", key="k", path=tmp_path, seconds=7.0, cached=False))
    assert listener.rates["synthesize"] == pytest.approx(3.0), "one mark: counted from the stage's start"
    assert listener.overhead["synthesize"] == pytest.approx(1.0)
    listener.stage_finished(StageFolder(name="judge", key="k", path=tmp_path, seconds=8.0, cached=True))
    assert "judge" not in listener.rates


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3.0, "less than 2 minutes"),
        (120.0, "1.3 to 3 minutes"),
        (1800.0, "20 to 45 minutes"),
        (3600.0, "0.67 to 1.5 h"),
        (100 * 3600.0, "67 to 150 h"),
        (1234.5 * 3600.0, "820 to 1900 h"),
    ],
)
def test_hours_are_a_range_of_two_digits(seconds: float, text: str) -> None:
    assert hours_range(seconds) == text


@pytest.mark.slow
def test_a_dry_run_says_hours_and_leaves_nothing(tmp_path: Path) -> None:
    config = tiny_config(str(tmp_path / "out"))
    console = Console(file=io.StringIO(), width=120)
    dry_run(config, console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"\d+ images of 90 lesions at 16 px", said)
    assert "2 rounds, arms real, hard, 20 samples per round" in said
    for stage in ("embedder", "denoiser", "classifier", "synthesize"):
        assert stage in said
    assert re.search(r"(less than 2 minutes|[\d.]+ to [\d.]+ (minutes|h)) on this device, from a pilot", said)
    assert re.search(r"denoiser *│ *1 │ *\d+ │ *[\d.]+ │ *[\d.]+ │ *([1-9]|0\.[1-9])", said), "GiB"
    assert "✓ denoiser" in said and "✓ classifier" in said, "the pilot shows its stages"
    assert not re.search(r"\d\.\d\d h", said), "no hours to a hundredth"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"vae": {"pretrained": "/nowhere"}}, "vae.pretrained: /nowhere does not exist"),
        ({"classifier": {"model": "resnet999"}}, "classifier.model: 'resnet999' is none of"),
        ({"output": "gs://x/y", "tracking": {"kind": "none"}}, "output: gs://x/y is a URL"),
    ],
)
def test_a_dry_run_refuses_what_a_run_refuses(tree: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = parse_config({"output": str(tmp_path), **tree})
    with pytest.raises(ConfigError, match=message):
        dry_run(config, Console(file=io.StringIO()))
