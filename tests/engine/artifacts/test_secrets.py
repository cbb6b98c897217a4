"""User, password and tokens of an address reach no file, no output and no log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml
from rich.text import Text
from typer.testing import CliRunner

from engine import cli
from engine.artifacts.secrets import masked, masking_logger, without_secrets
from engine.artifacts.whole_files import write_text
from engine.cli import say_error
from engine.execution.console import plain_console
from engine.store import RunFolder
from engine.tracking.mlflow_tracker import MlflowTracker
from engine.tracking.outbox import Entry, Outbox
from tests.integration.tiny import tiny_config, tiny_tree

URI = "http://alice:s3cretpw@127.0.0.1:9/api?token=t0pt0ken&x=1"
SECRETS = ("alice", "s3cretpw", "t0pt0ken")


@pytest.mark.parametrize(
    ("text", "shown", "bare"),
    [
        ("http://me:pw@host:5000/a", "http://***@host:5000/a", "http://host:5000/a"),
        ("http://me@host/a", "http://***@host/a", "http://host/a"),
        ("https://me:p@w@host", "https://***@host", "https://host"),
        ("http://h/a?token=x", "http://h/a?token=***", "http://h/a"),
        ("http://h/a?b=1&api_key=x&c=2", "http://h/a?b=1&api_key=***&c=2", "http://h/a?b=1&c=2"),
        ("http://h/a?X-Amz-Signature=ab%2F", "http://h/a?X-Amz-Signature=***", "http://h/a"),
        ("postgresql+psycopg://u:p@db/x", "postgresql+psycopg://***@db/x", "postgresql+psycopg://db/x"),
        ("http://host:5000", "http://host:5000", "http://host:5000"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
        ("http://host/a@b?page=2", "http://host/a@b?page=2", "http://host/a@b?page=2"),
    ],
)
def test_addresses(text: str, shown: str, bare: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown
    assert without_secrets(text) == bare
    assert without_secrets(shown) == bare


def test_other_text_stays() -> None:
    text = "root: /data/a@b\nmail a@b.c, x = 1, key=3, http://host/p and user@host\n"
    assert masked(text) == text


def planted(found: str) -> list[str]:
    return [secret for secret in SECRETS if secret in found]


def test_what_is_written_printed_and_logged_is_masked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_text(tmp_path / "a", f"uri: {URI}")
    console = plain_console()
    console.print(URI, Text(f"at {URI}", style="red"), soft_wrap=True)
    say_error(f"{URI} does not answer")
    with caplog.at_level(logging.WARNING):
        masking_logger("hardcase.test").warning("not reached: %s", URI)
    out, error = capsys.readouterr()
    for text in ((tmp_path / "a").read_text(), out, error, caplog.text):
        assert "127.0.0.1" in text
        assert planted(text) == []


def test_config_show_masks(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        yaml.safe_dump(tiny_tree(str(tmp_path / "runs"), tracking={"kind": "mlflow", "uri": URI}))
    )
    result = CliRunner().invoke(cli.app, ["config", "show", str(path)])
    assert result.exit_code == 0
    assert "127.0.0.1" in result.output
    assert planted(result.output) == []


@pytest.mark.parametrize("where", ["config", "environment"])
def test_a_tracked_run_keeps_no_secret_and_resumes(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if where == "environment":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    config = tiny_config(
        str(tmp_path), tracking={"kind": "mlflow", "uri": URI if where == "config" else None}
    )
    for _ in range(2):
        folder = RunFolder.create(config)
        tracker = MlflowTracker.create(config, export=lambda *_: pytest.fail("no model"))
        assert tracker.uri == URI
        tracker.start(
            config=config.model_dump(mode="json"),
            dataset={"name": "d", "digest": "x"},
            run_folder=folder.path,
        )
        tracker.finish("FAILED", folder.path)
    Outbox(folder.path).reject(Entry(call="start", key="start", arguments={"uri": URI}), f"no {URI}")
    assert "not reached" in caplog.text
    assert planted(caplog.text) == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"config.yaml", "calls.jsonl", "rejected.jsonl"} <= {path.name for path in files}
    for path in files:
        assert planted(path.read_bytes().decode("latin-1")) == [], path


def test_a_runs_own_config_opens_the_server_without_the_mask(tmp_path: Path) -> None:
    folder = RunFolder.create(tiny_config(str(tmp_path), tracking={"kind": "mlflow", "uri": URI}))
    again = yaml.safe_load((folder.path / "config.yaml").read_text())
    assert again["tracking"]["uri"] == "http://***@127.0.0.1:9/api?token=***&x=1"
    kept = tiny_config(str(tmp_path), tracking=again["tracking"])
    tracker = MlflowTracker.create(kept, export=lambda *_: pytest.fail("no model"))
    assert tracker.uri == "http://127.0.0.1:9/api?x=1"


@pytest.mark.parametrize(
    "uri", ["ftp//alice:s3cretpw@host", "alice:s3cretpw@host:5000", "http:/alice:s3cretpw@host"]
)
def test_a_password_that_nothing_could_mask_is_refused_and_not_repeated(tmp_path: Path, uri: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(tiny_tree(str(tmp_path / "runs"))))
    result = CliRunner().invoke(
        cli.app, ["config", "show", str(path), "tracking.kind=mlflow", f"tracking.uri={uri}"]
    )
    assert result.exit_code == 2
    assert (
        "tracking.uri: user and password stand without a scheme before them; begin with http://"
        in " ".join(result.output.split())
    )
    assert planted(result.output) == []


@pytest.mark.parametrize(
    "uri", ["mlruns", "/data/a@b", "./c:d@e", "sqlite:////tmp/m.db", "databricks", "http://u:p@h"]
)
def test_other_addresses_are_left_alone(uri: str) -> None:
    assert tiny_config("runs", tracking={"kind": "mlflow", "uri": uri}).tracking.uri == uri
