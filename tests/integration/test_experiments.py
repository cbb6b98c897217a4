"""The experiments are thin scripts over the engine: each runs to its end on a tiny run and leaves figures and pictures."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.errors import ConfigError
from experiments.lib import keeping
from tests.integration.tiny import tiny_tree

pytestmark = pytest.mark.slow


def play(name: str, results: Path, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> dict[str, Any]:
    """Run ``python -m experiments.<name>`` with its results in a folder of the test; return result.json."""
    script = importlib.import_module(f"experiments.{name}")
    for module in (keeping, script):
        if hasattr(module, "RESULTS"):
            monkeypatch.setattr(module, "RESULTS", results)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    script.main()
    found: dict[str, Any] = json.loads(next(results.rglob("result.json")).read_text())
    assert found["command"].startswith(f"python -m experiments.{name}")
    assert {"date", "commit", "machine", "seeds", "config"} <= set(found)
    assert str(results) not in json.dumps(found)
    return found


def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of a hundred bootstrap draws instead of ten thousand."""
    for module in ("fidelity", "lib.fidelity_speed"):
        monkeypatch.setattr(importlib.import_module(f"experiments.{module}"), "DRAWS", 100)
    monkeypatch.setattr(importlib.import_module("experiments.lib.fidelity_speed"), "MANY_DRAWS", 100)


@pytest.fixture(scope="module")
def run(finished_run: Path) -> Path:
    return finished_run


def test_retrieval_levels(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = play("retrieval_levels", tmp_path, monkeypatch, run)
    for kind in ("lesion", "whole"):
        rows = found["precision"][kind]
        assert list(rows) == [*(f"level {k}" for k in range(1, 6)), "mean (paper)", "all together"]
        assert all(r["macro"]["low"] <= r["macro"]["value"] <= r["macro"]["high"] for r in rows.values())
    assert (tmp_path / "retrieval_levels" / "precision.png").exists()


def test_guidance(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = play("guidance", tmp_path, monkeypatch, run, "--count", 14, "--scales", 0.0, 3.0)
    assert [row["scale"] for row in found["scales"]] == [0.0, 3.0]
    assert found["scales"][0]["loss_attacked"]["change"]["value"] == 0.0
    assert found["scales"][1]["loss_attacked"]["change"]["value"] != 0.0
    assert (tmp_path / "guidance" / "samples.png").exists()


def test_resynthesize(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = play("resynthesize", tmp_path, monkeypatch, run)["rows"]
    assert rows
    for row in rows:
        assert row["before"] == row["after"], "the run's own weights make the run's own images"
        assert row["change"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert (tmp_path / "resynthesize" / "contact_sheet.png").exists()


def test_samplers(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (run, "--count", 14, "--only", "dpmpp", "ddim")
    script = importlib.import_module("experiments.samplers")
    monkeypatch.setattr(script, "PLAN", {"dpmpp": [{"steps": 2}, {"steps": 3}], "ddim": [{"steps": 2}]})
    found = play("samplers", tmp_path, monkeypatch, *arguments)
    assert [(row["sampler"], row["nfe"]) for row in found["rows"]] == [
        ("dpmpp", 2),
        ("dpmpp", 3),
        ("ddim", 2),
    ]
    again = play("samplers", tmp_path, monkeypatch, *arguments)
    assert again["rows"] == found["rows"], "a rerun measures nothing again"


def test_distill(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (run, "--count", 7, "--steps", 4, 1, "--train-steps", 3)
    found = play("distill", tmp_path, monkeypatch, *arguments)
    assert [(row["way"], row["steps"], row["nfe"]) for row in found["rows"]] == [
        ("denoiser, dpmpp_sde", 3, 6),
        ("denoiser, ddim", 2, 4),
        ("denoiser, dpmpp", 2, 4),
        ("denoiser, ddim", 1, 2),
        ("student", 4, 4),
        ("student", 1, 1),
    ]
    for row in found["rows"][-2:]:
        assert row["taught"]["train_steps"] == 3
        assert row["taught"]["distance"] > 0
    assert found["rows"][0]["times_as_fast"]["median"] == 1.0
    assert "student" in (tmp_path / "distill" / run.name / "table.md").read_text()
    assert (tmp_path / "distill" / run.name / "samples.png").exists()


@pytest.mark.heavy  # a closed study's script; its parts are tested by the next one and in tests/experiments
def test_fidelity(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = importlib.import_module("experiments.lib.fidelity_speed")
    monkeypatch.setattr(script, "PAPER", {**script.PAPER, "steps": 4})
    few_draws(monkeypatch)
    whole = play("fidelity", tmp_path, monkeypatch, run, "--count", 35)
    parts = whole["parts"]
    assert {name: made["commit"] for name, made in whole["made"].items()} == dict.fromkeys(
        parts, whole["commit"]
    )
    assert 0 <= parts["conditioning"]["nearer_to_own_lesion"]["value"] <= 1
    copies = parts["conditioning"]["copies"]
    for view in ("judge", "clip", "pixels"):
        for figure in ("samples", "unseen_real"):
            found = copies[view][figure]
            assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    assert parts["speed"]["paper"]["nfe"] == 12  # 4 steps, three passes
    assert parts["speed"]["ours"]["nfe"] == 6  # 3 steps, two passes
    assert parts["speed"]["twin"]["nfe"] == 6
    assert len(list(run.parent.glob(".speed-*/*"))) == 3  # one piece, two presets and the twin
    again = play("fidelity", tmp_path / "again", monkeypatch, run, "--count", 35, "--only", "speed")["parts"]
    assert again["speed"] == parts["speed"], "seconds too: no piece was made again"
    options = ("--count", 35, "--more", 14, "--twins", 1, "--only", "speed")
    more = play("fidelity", tmp_path / "more", monkeypatch, run, *options)["parts"]["speed"]
    assert [draw["n"] for draw in more["ours"]["by_draw_of_parents"]] == [35, 14]
    assert (more["n_timed"], parts["speed"]["n_timed"]) == (49, 35), "the first draw's pieces were kept"
    assert len(list(run.parent.glob(".speed-*/*"))) == 8, "the third draw has no images of the paper's preset"
    assert [more[f"kid_{name}"]["n"] for name in ("ours_minus_paper", "twin_minus_paper")] == [49, 49]
    assert more["kid_ours_minus_paper_by_twin"]["n"] == 84
    by_class = more["kid_by_class"]
    assert sum(entry["n"] for entry in by_class.values()) == 84
    assert sum(entry["n_paper"] for entry in by_class.values()) == 49
    figure = by_class["nv"]["ours_minus_paper_by_twin"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    at_train_shares = more["kid_at_train_shares"]
    assert set(at_train_shares) == {"ours_minus_paper", "twin_minus_paper", "ours_minus_paper_by_twin"}
    assert at_train_shares["ours_minus_paper"]["value"] != more["kid_ours_minus_paper"]["value"]
    options = ("--count", 35, "--only", "speed", "--with", "steps=2")
    changed = play("fidelity", tmp_path / "changed", monkeypatch, run, *options)["parts"]["speed"]
    assert (changed["ours"]["settings"], changed["ours"]["nfe"]) == ({"steps": 2}, 4)
    assert changed["paper"]["kid"] == parts["speed"]["paper"]["kid"]
    assert (parts["speed"]["n_timed"], changed["n_timed"]) == (35, 0), "the paper's images are another call's"
    assert parts["speed"]["speed_ratio_ours"]["value"] > 0
    assert changed["speed_ratio_ours"] == {"value": None, "by_piece": []}
    assert (tmp_path / "fidelity" / "fidelity.png").stat().st_size > 10_000
    assert set(parts["beta"]["kid_on_minus_off"]) >= {"mel", "nv", "all"}


@pytest.mark.heavy  # a closed study's option
def test_speed_finds_what_another_process_sampled_ahead(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = importlib.import_module("experiments.lib.fidelity_speed")
    monkeypatch.setattr(script, "PAPER", {**script.PAPER, "steps": 2})
    few_draws(monkeypatch)
    monkeypatch.setattr(script, "PIECE", 14)
    options = ("--count", 28, "--more", 14, "--only", "speed", "--with", "steps=4")
    monkeypatch.setattr(sys, "argv", ["fidelity.py", str(run), *map(str, options), "--ahead"])
    importlib.import_module("experiments.fidelity").main()
    place = run.parent / f".speed-{run.name}"
    made = [f"{number:03d}-{name}" for number in range(3) for name in ("ours", "paper", "twin")]
    before = {name: (place / name / "made.json").read_text() for name in made}
    assert not list(place.glob("*.*")), "a piece is there whole or not at all"
    speed = play("fidelity", tmp_path, monkeypatch, run, *options)["parts"]["speed"]
    assert {name: (place / name / "made.json").read_text() for name in made} == before, (
        "nothing was sampled again"
    )
    assert (speed["n"], speed["n_timed"], speed["ours"]["nfe"]) == (42, 42, 8)


def test_a_run_folder_keeps_its_settings(run: Path) -> None:
    bench = importlib.import_module("experiments.lib.bench")
    assert bench.run_of(run, []) == run
    with pytest.raises(ConfigError, match=r"is a run folder and keeps its settings: denoiser.steps=3"):
        bench.run_of(run, ["denoiser.steps=3"])


def test_generators(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = play("generators", tmp_path, monkeypatch, run, "--count", 70, "--gan-steps", 2)["generators"]
    assert list(found) == ["diffusion", "dcgan", "classical", "retrieved"]
    assert found["retrieved"]["precision"]["value"] > 0.9  # they are train images
    assert (tmp_path / "generators" / "generators.png").exists()


def test_vae_channels(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("experiments.vae_channels"), "TIMED", 4)
    found = play("vae_channels", tmp_path, monkeypatch, run)
    assert set(found["vaes"]) == {"4 channels", "8 channels"}
    assert {"detail", "psnr", "learnability_gap"} <= set(found["difference"])
    assert (found["difference"]["minuend"], found["seconds_per_step"]["ratio_8_to_4"] > 0) == (
        "8 channels",
        True,
    )
    assert (tmp_path / "vae_channels" / "reconstructions.png").exists()


def test_vae_start(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = play("vae_start", tmp_path, monkeypatch, run, "--steps", 3, "--batch", 8)
    assert found["vaes"]["linear"]["psnr"]["value"] > found["vaes"]["random"]["psnr"]["value"]
    assert set(found["judge_recall_real"]) == set(found["vaes"]["linear"]["judge_recall"])
    assert (tmp_path / "vae_start" / "reconstructions.png").exists()


@pytest.mark.real_data
@pytest.mark.heavy  # a minute; what it plays is tested in tests/engine/data/duplicates and by the audit command's tests
@pytest.mark.skipif("HARDCASE_DATA" not in os.environ, reason="HARDCASE_DATA is not set")
def test_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = play("audit", tmp_path, monkeypatch, "--limit", 300, "--copies", 8)
    for part in ("chosen_on", "measured_on"):
        figures = found[part]
        assert figures["planted"] == 5 * 8 + 4 * 25
        assert figures["at_the_finders_threshold"]["recall"] >= 0.95
        assert figures["at_one_false_alarm_in_1000"]["recall"] >= 0.95
    leaks = [c["column"] for c in found["audit"]["columns"] if c["verdict"] == "leaks"]
    assert leaks == ["dx_type"]


@pytest.mark.heavy  # a closed study's script
def test_forward_process(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "tiny.yaml"
    tree = tiny_tree(
        str(output),
        name="forward",
        vae={"kind": "identity", "downsample": 1},
        denoiser={"widths": [8, 16], "steps": 4, "validations": 1},
        evaluation={"likelihood": 2},
    )
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    found = play("forward_process", tmp_path / "results", monkeypatch, config)
    for row in found["forward"]:
        assert row["std"] == pytest.approx(row["std_closed_form"], rel=0.05)
    assert found["forward"][0]["correlation_with_x0"] == pytest.approx(1.0)
    assert found["likelihood"]["n"] == 2
    assert set(found["samples"]) == {"untrained", "trained"}
    assert (tmp_path / "results" / "forward_process" / "forward_process.png").exists()
