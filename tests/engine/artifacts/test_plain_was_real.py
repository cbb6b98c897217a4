"""Run folders of schema 1 called arm ``plain`` real: report, champion and files go by today's name, no run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.artifacts import champion, report_json
from engine.artifacts.run_layout import RunLayout
from engine.config import parse_config
from engine.errors import ConfigError
from engine.store import RunFolder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    run = tmp_path / "old"
    for folder in ("0000", "0001", "0001/arms/real", "0001/arms/random"):
        (run / "rounds" / folder).mkdir(parents=True, exist_ok=True)
        (run / "rounds" / folder / "classifier.safetensors").write_bytes(b"w")
    rounds = [
        {"round": 0, "arm": "real"}, {"round": 1, "arm": "hard"}, {"round": 1, "arm": "real"},
        {"round": 1, "arm": "random"},
    ]  # fmt: skip
    best = {"round": 1, "arm": "real"}
    (run / "report.json").write_text(json.dumps({"schema_version": 1, "rounds": rounds, "champion": best}))
    (run / "champion.json").write_text(json.dumps(best))
    return run


def test_arms_of_an_old_run_have_their_names_of_today(old: Path) -> None:
    report = report_json.read(old)
    assert [(e.round, e.arm) for e in report.rounds] == [
        (0, "plain"),
        (1, "hard"),
        (1, "plain"),
        (1, "random"),
    ]
    assert report.champion == {"round": 1, "arm": "plain"}
    assert champion.read(old).arm == "plain"


def test_files_of_an_old_run_are_found_by_them(old: Path) -> None:
    layout = RunLayout(old)
    assert layout.published_arms() == [(0, "plain"), (1, "hard"), (1, "plain"), (1, "random")]
    assert layout.arm_folder(0, "plain") == old / "rounds" / "0000"
    assert layout.arm_folder(1, "plain") == old / "rounds" / "0001" / "arms" / "real"
    assert not layout.weights(1, "real").exists(), "an old run has nothing that trained as real does today"
    assert (layout.main_arm(0), layout.main_arm(1)) == ("plain", "hard")


def test_a_run_of_today_keeps_its_names(tmp_path: Path) -> None:
    report = {"schema_version": 2, "rounds": [{"round": 0, "arm": "real"}, {"round": 0, "arm": "plain"}]}
    (tmp_path / "report.json").write_text(json.dumps(report))
    (tmp_path / "champion.json").write_text(json.dumps({"round": 0, "arm": "real"}))
    layout = RunLayout(tmp_path)
    assert [e.arm for e in report_json.read(tmp_path).rounds] == ["real", "plain"]
    assert champion.read(tmp_path).arm == "real"
    assert layout.arm_folder(0, "real") == tmp_path / "rounds" / "0000"
    assert layout.arm_folder(0, "plain") == tmp_path / "rounds" / "0000" / "arms" / "plain"


def test_an_old_run_does_not_go_on(old: Path) -> None:
    config = parse_config({"name": "old", "output": str(old.parent)})
    with pytest.raises(ConfigError, match=r"made by an earlier hardcase.*give name=OTHER"):
        RunFolder.create(config)
    assert (old / "champion.json").read_text() == '{"round": 1, "arm": "real"}'
