"""A run whose output is an object store: the report of a local one, bit by bit, on whichever machine it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine import api, build
from engine.cli import app
from engine.config import dump_yaml
from engine.errors import ConfigError
from engine.store import leases, object_store
from engine.store.local_copy import local_output
from engine.store.object_store import ObjectStore
from engine.store.stored_run import StoredRun, run_at
from tests.integration.tiny import copy_stages, tiny_config
from tests.s3_server import Proxy

pytestmark = pytest.mark.slow


def hardcase(*arguments: object) -> tuple[int, str]:
    """Run a command; returns its exit code and what it printed, in one line."""
    result = CliRunner(env={"COLUMNS": "300"}).invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join((result.stdout + result.stderr).split())


def on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HARDCASE_SCRATCH", str(tmp_path / name))


@pytest.mark.timeout(1800)
def test_a_stored_run_is_the_local_one_wherever_it_is_read(
    tiny_run: Path, bucket: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/team/tiny"
    config = tiny_config(f"{bucket}/team", name="tiny", loop={"rounds": 1})
    copy_stages(tiny_run, local_output(config))  # seconds stand in report.json: those of the local run
    proxy.faults.extend(["drop", "busy", "slow"] * 3)
    folder, _ = build.run(config)
    wanted = (tiny_run / "report.json").read_bytes()
    assert folder.layout.report.read_bytes() == wanted
    store = ObjectStore(f"{bucket}/team")
    stored = store.read("tiny/report.json")
    assert stored is not None
    assert stored.data == wanted
    names = {path.relative_to(tiny_run).as_posix() for path in tiny_run.rglob("*") if path.is_file()}
    assert set(store.list("tiny")) == {n for n in names if n == ".hardcase.json" or n[0] != "."}
    assert {key.partition("/")[0] for key in store.list("stages")} == set(folder.roles.values())

    on_another_machine(tmp_path, monkeypatch, "reader")
    assert api.open_run(url).figures().equals(api.open_run(tiny_run).figures())
    assert hardcase("compare", url, url)[0] == 0
    code, said = hardcase("query", url, "--out", tmp_path / "questions")
    assert code == 2
    assert f"bring the run here with `hardcase fetch {url} DIR`, then give DIR/tiny" in said
    code, said = hardcase("fetch", url, tmp_path / "fetched")
    assert code == 0, said
    assert (tmp_path / "fetched" / "tiny" / "report.json").read_bytes() == wanted
    before = store.tag("tiny/report.html")
    store.remove("tiny/report.html")
    code, said = hardcase("report", url)
    assert code == 0, said
    assert before and store.tag("tiny/report.html")

    on_another_machine(tmp_path, monkeypatch, "successor")
    again, _ = build.run(config)
    assert again.layout.report.read_bytes() == wanted
    lines = map(json.loads, again.layout.stage_log.read_text().splitlines())
    assert {line["ran"] for line in lines} == {False}, "every stage was found in the store"


def test_a_run_that_another_machine_writes_is_refused_and_one_whose_store_is_gone_goes_on(
    bucket: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "PATIENCE", 0.3)
    config = tiny_config(f"{bucket}/team", name="tiny")
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.2)
    other = leases.take(ObjectStore(f"{bucket}/team"), run_at(f"{bucket}/team/tiny").lease_key, "other")
    monkeypatch.setattr(
        StoredRun, "_say_waiting", lambda _run, _state: other.renew()
    )  # it shows that it lives
    with pytest.raises(ConfigError, match=f"{bucket}/team/tiny: is being written on .*; wait for it"):
        build.run(config)
    other.release()
    proxy.always = "drop"
    path = tmp_path / "c.yaml"
    path.write_text(dump_yaml(config))
    object_store.open_store.cache_clear()
    code, said = hardcase("run", path)
    assert code == 2
    assert f"error: {bucket}/team/.probe-" in said
    assert "the same command goes on" in said
    object_store.open_store.cache_clear()


def test_a_reader_of_nothing_is_told_so(bucket: str) -> None:
    code, said = hardcase("compare", f"{bucket}/team/none", f"{bucket}/team/none")
    assert (code, said) == (
        2,
        f"error: {bucket}/team/none: no run lies there (config.yaml is missing); give s3://BUCKET/PREFIX/NAME",
    )
    code, said = hardcase("predict", bucket, "x.png", "--csv", "out.csv")
    assert code == 2
    assert "names no run; give s3://BUCKET/PREFIX/NAME" in said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["tracking.kind=mlflow"], "tracking.uri: MLflow's database would lie beside the output folder"),
        (
            ["backend.kind=ray", "backend.address=head:6379"],
            "backend.scratch: stages of s3://bucket/x are copied",
        ),
    ],
)
def test_what_needs_a_folder_is_refused(
    overrides: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "HARDCASE_SCRATCH"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "c.yaml"
    path.write_text(dump_yaml(tiny_config("s3://bucket/x")))
    code, found = hardcase("run", path, *overrides)
    assert code == 2
    assert said in found
