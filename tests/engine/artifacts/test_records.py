"""JSON records: figures by name, reports of schema 1 and of a newer one, champions, roles, verdicts per class."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.artifacts import (
    accept,
    calibration,
    champion,
    generator_parts,
    report_json,
    run_stages,
    stage_manifest,
)
from engine.artifacts.generator_parts import VaeFacts
from engine.artifacts.report_json import Figure, RoundEntry
from engine.artifacts.run_stages import StageLine
from engine.artifacts.scores import Scores
from engine.errors import DataError
from engine.types import Cause, Failure
from tests.engine.artifacts.examples import entry, run_report, write_everything


def test_figures_by_name() -> None:
    found = entry()
    assert found.figure("val", "macro_f1") == Figure(value=0.5, low=0.25, high=0.75)
    assert found.figure("test", "malignant.sensitivity").value == 0.5
    assert found.figure("test", "malignant.auc") == Figure(value=None)
    assert found.figure("val", "n") == Figure(value=4)
    assert found.per_class("test", "sensitivity") == {"mel": 0.5}
    assert found.per_class("val", "sensitivity") == {}


def test_rounds_of_a_report(tmp_path: Path) -> None:
    report_json.write(run_report(), tmp_path)
    found = report_json.read(tmp_path)
    assert found == run_report()
    assert found.entry(1, "hard") == entry()
    assert found.entry(1, "random") is None
    assert [e.arm for e in found.of_round(0)] == ["real"]
    assert (found.last_round(), found.last_round("random"), found.finished) == (1, None, True)
    report_json.write_round(entry(), tmp_path / "rounds")
    assert report_json.read_round(tmp_path / "rounds") == entry()


def test_an_old_report_of_schema_1(tmp_path: Path) -> None:
    assert report_json.read_if_written(tmp_path) is None
    old = {"schema_version": 1, "rounds": [{"round": 0, "arm": "real", "test": {"n": 3}}]}
    (tmp_path / "report.json").write_text(json.dumps(old))
    found = report_json.read(tmp_path)
    assert (found.protocol, found.champion, found.finished) == ("groups_unknown", None, False)
    assert found.rounds[0].fidelity is None
    assert [e.arm for e in found.rounds] == ["plain"], "what trained with flips alone was called real"
    (tmp_path / "report.json").write_text('{"rounds": []}')
    assert report_json.read(tmp_path).last_round() is None


def test_a_report_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has not finished a round yet"):
        report_json.read(tmp_path)
    (tmp_path / "report.json").write_text('{"schema_version": 3, "rounds": {}}')
    with pytest.raises(
        DataError, match=r"has schema_version 3, this hardcase reads up to 2; install the hardcase"
    ):
        report_json.read(tmp_path)
    for rounds in ({}, [1], [{"round": 1}]):
        (tmp_path / "report.json").write_text(json.dumps({"rounds": rounds}))
        with pytest.raises(DataError, match="holds no list of rounds"):
            report_json.read(tmp_path)
    (tmp_path / "report.json").write_text('{"rounds": [{"round": "one", "arm": "real"}]}')
    with pytest.raises(DataError, match=r"rounds\.0\.round: Input should be a valid integer; rerun"):
        report_json.read(tmp_path)


def test_champion(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no champion yet"):
        champion.read(tmp_path)
    for broken in ({}, {"round": True, "arm": "hard"}, {"round": 1, "arm": None}):
        (tmp_path / "champion.json").write_text(json.dumps(broken))
        with pytest.raises(DataError, match="names no round and arm"):
            champion.read(tmp_path)
    (tmp_path / "champion.json").write_text('{"round": 2, "arm": "hard", "metric": "val/auc", "value": 0.5}')
    found = champion.read(tmp_path)
    assert (found.round, found.crowned_after, found.low) == (2, 2, None)
    champion.write(found.model_copy(update={"after_round": 4}), tmp_path)
    assert champion.read(tmp_path).crowned_after == 4


def test_roles_and_stage_log(tmp_path: Path) -> None:
    run_stages.write({"foundation/vae": "vae-0a"}, tmp_path)
    assert run_stages.read(tmp_path) == {"foundation/vae": "vae-0a"}
    (tmp_path / "stages.json").write_text('{"foundation/vae": 3}')
    with pytest.raises(DataError, match="holds no stages"):
        run_stages.read(tmp_path)
    assert run_stages.read_log(tmp_path) == []
    line = StageLine(role="foundation/vae", stage="vae", key="0a", ran=True, seconds=1.5)
    run_stages.append(line, tmp_path)
    log = tmp_path / "stages.jsonl"
    assert (
        log.read_text()
        == '{"role": "foundation/vae", "stage": "vae", "key": "0a", "ran": true, "seconds": 1.5}\n'
    )
    log.write_text(log.read_text() + '{"role": "found')
    assert run_stages.read_log(tmp_path) == [line]
    failed = (Failure(cause=Cause.PREEMPTED, said="node 3", seconds=2.5),)
    log.write_text("")
    run_stages.append(line, tmp_path)
    run_stages.append(replace(line, failed=failed), tmp_path)
    run_stages.append(replace(line, role="foundation/index"), tmp_path)
    run_stages.append(replace(line, failed=failed), tmp_path)
    assert json.loads(log.read_text().splitlines()[1])["failed"] == [
        {"cause": "preempted", "said": "node 3", "seconds": 2.5}
    ]
    assert run_stages.read_log(tmp_path)[1].failed == failed
    assert run_stages.failed_attempts(tmp_path) == {"foundation/vae": [*failed, *failed]}
    for broken in (
        '{"role": 1}',
        "[]",
        '{"role": "a", "stage": "b", "key": "c", "ran": true, "seconds": 1, "failed": [1]}',
    ):
        log.write_text(broken + "\n" + json.dumps(line.to_json()) + "\n")
        with pytest.raises(DataError, match="line 1 is no stage"):
            run_stages.read_log(tmp_path)
        assert run_stages.failed_attempts(tmp_path) == {}
    log.write_text('{"role": 1}\n' + log.read_text())
    with pytest.raises(DataError, match="line 1 is no stage"):
        run_stages.read_log(tmp_path)


def test_accepted_counts(tmp_path: Path) -> None:
    folder = write_everything(tmp_path)["accept"]
    assert accept.read(folder).generated == {"mel": 1, "nv": 1}
    assert accept.accepted_counts([folder, folder]) == {"mel": 2, "nv": 0}
    assert accept.accepted_counts([]) == {}
    (folder / "accept.json").write_text('{"per_class": {"mel": {"generated": 2}}}')
    with pytest.raises(DataError, match=r"accept.json: lacks per_class\.mel\.accepted"):
        accept.read(folder)


def test_files_of_before_0_2(tmp_path: Path) -> None:
    old = {
        "temperature": 1.5,
        "malignant": ["mel"],
        "threshold": 0.5,
        "specificity": 0.9,
        "classes": ["mel", "nv"],
    }
    (tmp_path / "calibration.json").write_text(json.dumps(old))
    found = calibration.read(tmp_path)
    assert (found.classes, found.melanoma, found.melanoma_threshold) == (("mel", "nv"), None, None)
    (tmp_path / "denoiser.json").write_text(
        '{"scheduler": {"a": 1}, "fuse": "mean", "beta": 1.0, "val_loss": 0.5}'
    )
    assert generator_parts.read_denoiser(tmp_path).val_curve == ()


def test_figures_that_are_no_number(tmp_path: Path) -> None:
    VaeFacts(kind="kl", scaling_factor=1.0, latents_mean=(0.0,), psnr=float("inf")).write(tmp_path)
    assert generator_parts.read_vae(tmp_path).psnr == float("inf")
    with pytest.raises(ValueError, match="not JSON compliant"):
        Scores(val={"auc": float("nan")}, test={}, p_value_vs_round0=None).write(tmp_path)
    assert not (tmp_path / "report.json").exists()


def test_manifest_of_an_unfinished_stage(tmp_path: Path) -> None:
    assert stage_manifest.find(tmp_path) is None
    (tmp_path / "stage.json").write_text('{"seconds": 1.5, "files": {"a": "0"}}')
    found = stage_manifest.find(tmp_path)
    assert found is not None and found.files == {"a": "0"}


def test_records_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RoundEntry(round=0, arm="real").arm = "hard"  # type: ignore[misc]


def test_a_log_loss_is_found_under_its_older_name() -> None:
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    old = RoundEntry(round=1, arm="hard", test={"nll": figure})
    assert old.figure("test", "log_loss").value == 0.5
    assert old.figure("test", "malignant.mean_sensitivity").value is None
    new = RoundEntry(round=1, arm="hard", test={"nll": figure, "log_loss": {**figure, "value": 0.55}})
    assert new.figure("test", "log_loss").value == 0.55
