"""What else talks to the same server or lies in the same outbox at the same moment."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.tracking.mlflow_tracker import quiet_mlflow
from engine.tracking.outbox import Entry, Outbox
from tests.engine.tracking import test_mlflow_tracker as single


@pytest.fixture
def place(tmp_path: Path, mlflow_tables: Path) -> Path:
    """A folder whose tracking database is there and empty."""
    shutil.copy(mlflow_tables, tmp_path / "mlflow.db")
    return tmp_path


@pytest.mark.slow
def test_of_two_runs_that_open_an_experiment_at_once_both_are_tracked(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet_mlflow(10)
    from mlflow import MlflowClient

    asked, raced = MlflowClient.get_experiment_by_name, []

    def asking(client: Any, name: str) -> Any:
        found = asked(client, name)
        if found is None and not raced:
            raced.append(client.create_experiment(name))
        return found

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", asking)
    run, told = single.make_run(place), []
    tracker = single.make_tracker(place, notify=told.append)
    tracker.start(config=single.CONFIG, dataset=single.DATASET, run_folder=run)
    tracker.finish("FINISHED", run)
    (parent,) = single.client_of(place).search_runs(raced)
    assert (told, parent.info.status) == ([], "FINISHED")


@pytest.mark.slow
def test_the_champion_is_registered_although_the_last_process_was_still_sending_when_this_one_began(
    place: Path,
) -> None:
    run, told = single.make_run(place), []
    tracker = single.make_tracker(place, notify=told.append)
    with Outbox(run).sending():
        tracker.start(config=single.CONFIG, dataset=single.DATASET, run_folder=run)
        tracker.log_round(single.make_report(0, "real", 0.5), run / "rounds/0000", run)
        single.crown(tracker, run, 0, "real", 0.5)
    tracker.finish("FINISHED", run)
    assert [model.name for model in single.client_of(place).search_registered_models()] == [
        tracker._experiment
    ]


def test_a_call_that_another_process_sent_just_now_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = Outbox(tmp_path), Outbox(tmp_path)
    entry = Entry(call="x", key="a", arguments={})
    mine.put(entry)
    reading, taken = Path.read_text, []

    def reads(path: Path, *args: Any, **how: Any) -> str:
        if path.name == "calls.jsonl" and not taken:
            taken.append(path)
            other.take(entry)
        return reading(path, *args, **how)

    monkeypatch.setattr(Path, "read_text", reads)
    assert mine.entries() == [] and taken
