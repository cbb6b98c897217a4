"""RUN/mlflow.json, and calls that cannot succeed; the requests themselves are tested against SQLite."""

import json
from types import SimpleNamespace

import pytest

from engine.tracking.outbox import Entry
from engine.tracking.run_log import RunLog
from engine.tracking.sender import RefusedError


class Client:
    """Knows one experiment, which was deleted."""

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id="1", lifecycle_stage="deleted")


@pytest.fixture
def log(tmp_path):
    return RunLog(
        client=Client(), entities=None, run_folder=tmp_path, uri="sqlite:///a.db", experiment="demo"
    )


def test_ids_belong_to_one_server_and_experiment(log, tmp_path):
    log.remember(experiment_id="1", run_id="abc")
    assert log.parent() == ("1", "abc")
    elsewhere = RunLog(client=None, entities=None, run_folder=tmp_path, uri="http://other", experiment="demo")
    assert "run_id" not in elsewhere.state()
    assert elsewhere.state()["run_key"] == json.loads((tmp_path / "mlflow.json").read_text())["run_key"]


def test_a_broken_state_file_starts_anew(log, tmp_path):
    (tmp_path / "mlflow.json").write_text("{")
    assert log.state()["rounds"] == {}


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        ("start", {"config": {}, "dataset": {}}, "experiment demo is deleted"),
        (
            "log_round",
            {"report": {"round": 0, "arm": "real"}, "folder": "rounds/0000"},
            "parent run does not exist",
        ),
        ("finish", {"status": "FINISHED"}, "parent run does not exist"),
    ],
)
def test_what_cannot_succeed_is_refused(log, call, arguments, message):
    with pytest.raises(RefusedError, match=message):
        log.send(Entry(call=call, key="k", arguments=arguments))
