"""The MLflow tracker against SQLite, a closed port and a server that accepts but never answers."""

import json
import shutil
import socket
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from engine.artifacts import labels
from engine.artifacts.labels import ORACLE, Answer
from engine.config.loading import parse_config
from engine.config.tracking_place import database_problems
from engine.tracking import saved_view
from engine.tracking.mlflow_tracker import GIVE_UP_AFTER, MlflowTracker, default_uri

pytestmark = pytest.mark.slow

CLASSES = ["mel", "nv"]


@pytest.fixture(autouse=True)
def _no_server_in_the_environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module", autouse=True)
def _short_requests():
    """For every test here: what the first tracker sets where nothing is set would stay for the tests after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield


def figure(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def split_figures(value):
    per_class = {dx: {"sensitivity": figure(value), "specificity": figure(0.5), "n": 4} for dx in CLASSES}
    return {
        "accuracy": figure(value),
        "balanced_accuracy": figure(value),
        "auc": {"value": None, "low": None, "high": None},
        "per_class": per_class,
        "malignant": {"sensitivity": figure(value), "specificity": figure(0.9), "n": 4},
        "confusion": {"classes": CLASSES, "counts": [[3, 1], [0, 4]]},
    }


def make_report(number, arm, value):
    return {
        "round": number,
        "arm": arm,
        "generator_saw": "train",
        "protocol": "safe",
        "val": split_figures(value),
        "test": split_figures(value - 0.05),
        "n_accepted": 3 * number,
        "acceptance_rate": None if number == 0 else 0.5,
        "seconds": {"fit": 1.5},
        "digests": {"classifier": "abc"},
    }


def export(weights: Path, folder: Path) -> None:
    """A model that MLflow can keep: its description, and the weights."""
    folder.mkdir(parents=True)
    flavours = {"python_function": {"loader_module": "nothing", "python_version": "3.11"}}
    (folder / "MLmodel").write_text(json.dumps({"flavors": flavours}))
    shutil.copyfile(weights, folder / "weights")


def make_run(tmp_path: Path) -> Path:
    run = tmp_path / "runs" / "demo"
    run.mkdir(parents=True, exist_ok=True)
    for folder, seed in (("rounds/0000", "0"), ("rounds/0001", "1"), ("rounds/0001/arms/real", "2")):
        (run / folder).mkdir(parents=True, exist_ok=True)
        (run / folder / "classifier.safetensors").write_text(seed)
        (run / folder / "report.json").write_text("{}")
        pd.DataFrame({"a": [1]}).to_parquet(run / folder / "predictions.parquet")
    (run / "rounds/0001/hard_cases.png").write_bytes(b"\x89PNG")
    (run / "rounds/0001/synthetic").mkdir(exist_ok=True)
    (run / "rounds/0001/synthetic/x.png").write_bytes(b"\x89PNG")
    return run


def make_tracker(tmp_path: Path, uri=None, **kwargs) -> MlflowTracker:
    return MlflowTracker(output=tmp_path / "runs", experiment="demo", export=export, uri=uri, **kwargs)


CONFIG = {"name": "demo", "seed": 0, "loop": {"rounds": 1, "arms": ["real", "hard"]}, "search_space": {}}
DATASET = {"name": "phantom", "digest": "d" * 40, "counts": {"train": {"mel": 4}}, "protocol": "safe"}


def play(tracker: MlflowTracker, run: Path, *, best=0.8) -> None:
    """What the loop does in one run of one round with arms hard and real."""
    tracker.start(config=CONFIG, dataset=DATASET, run_folder=run)
    tracker.log_round(make_report(0, "real", 0.6), run / "rounds/0000", run)
    crown(tracker, run, 0, "real", 0.6)
    tracker.log_round(make_report(1, "hard", best), run / "rounds/0001", run)
    tracker.log_round(make_report(1, "real", 0.65), run / "rounds/0001/arms/real", run)
    crown(tracker, run, 1, "hard", best)
    (run / "report.json").write_text(json.dumps({"protocol": "safe", "split_digest": "s", "rounds": []}))
    (run / "report.html").write_text("<html></html>")
    tracker.finish("FINISHED", run)


def crown(tracker, run, number, arm, value):
    champion = {"round": number, "arm": arm, "metric": "val/balanced_accuracy", **figure(value)}
    (run / "champion.json").write_text(json.dumps(champion))
    tracker.register_champion(champion, run)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run played to its end, and then again by a new process's tracker (a resume)."""
    tmp_path = tmp_path_factory.mktemp("tracked")
    run = make_run(tmp_path)
    play(make_tracker(tmp_path), run)
    first = json.loads((run / "mlflow.json").read_text())
    play(make_tracker(tmp_path), run)
    return run, client_of(tmp_path), first


def client_of(tmp_path: Path):
    from mlflow import MlflowClient

    return MlflowClient(default_uri(tmp_path / "runs"))


@pytest.mark.slow
def test_the_experiment_is_marked_as_model_training(tracked):
    _, client, _ = tracked
    tags = client.get_experiment_by_name("demo").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "verdict" in tags["mlflow.note.content"], "where it says whether hard cases helped"


@pytest.mark.slow
def test_the_saved_view_shows_what_the_parent_run_has(tracked):
    run, client, _ = tracked
    experiment = client.get_experiment_by_name("demo")
    view = saved_view.unpacked(json.loads(experiment.tags[saved_view.TAG])["state"])
    lines = {name for chart in view["compareRunCharts"] for name in chart["selectedMetricKeys"]}
    columns = {name.removeprefix("metrics.`").rstrip("`") for name in view["selectedColumns"][1:]}
    logged = set(runs_of(client)[0]["demo"].data.metrics)
    assert lines == {name for name in logged if name.startswith(("test ", "val "))} | {
        f"{part} malignant AUC/{arm}" for part in ("test", "val") for arm in ("hard", "real")
    }  # null here
    assert columns < lines
    assert f"/experiments/{experiment.experiment_id}/runs?" in saved_view.page(run)


@pytest.mark.slow
def test_a_server_that_refuses_the_view_gets_all_else(tmp_path, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    def refuses(*_arguments):
        raise MlflowException("its value is too long", INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuses)
    run = make_run(tmp_path)
    play(make_tracker(tmp_path), run)
    client = client_of(tmp_path)
    named, runs = runs_of(client)
    assert {one.info.status for one in runs} == {"FINISHED"} and "round 1 hard" in named
    assert "viewStateShareKey" not in saved_view.page(run), "an address of a view that is not there"
    assert not (run / "tracking_outbox").exists()


@pytest.mark.slow
def test_a_kind_that_somebody_chose_stays_and_an_experiment_without_one_gets_it(tmp_path):
    make_run(tmp_path)
    client = client_of(tmp_path)
    for name, tags in (("theirs", {"mlflow.experimentKind": "genai_development"}), ("older", {})):
        client.create_experiment(name, tags=tags)
        tracker = MlflowTracker(output=tmp_path / "runs", experiment=name, export=export)
        tracker.start(config=CONFIG, dataset=DATASET, run_folder=tmp_path / "runs" / "demo")
        (tmp_path / "runs" / "demo" / "mlflow.json").unlink()
    kinds = {
        name: client.get_experiment_by_name(name).tags["mlflow.experimentKind"]
        for name in ("theirs", "older")
    }
    assert kinds == {"theirs": "genai_development", "older": "custom_model_development"}


def runs_of(client):
    experiment = client.get_experiment_by_name("demo")
    runs = client.search_runs([experiment.experiment_id])
    return {run.info.run_name: run for run in runs}, runs


def test_one_parent_and_one_child_for_each_round_and_arm_even_after_a_resume(tracked):
    _, client, _ = tracked
    named, runs = runs_of(client)
    assert sorted(named) == ["demo", "round 0 real", "round 1 hard", "round 1 real"]
    assert len(runs) == 4
    children = [r for r in runs if r.info.run_name != "demo"]
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {named["demo"].info.run_id}
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert {r.data.tags["protocol"] for r in runs} == {"safe"}, (
        "whichever run holds figures says how they came"
    )


def test_metrics_have_the_contracts_names_and_the_round_as_step(tracked):
    _, client, _ = tracked
    named, _ = runs_of(client)
    data = named["round 1 hard"].data
    assert data.metrics["test/sensitivity/mel"] == pytest.approx(0.75)
    assert not [name for name in data.metrics if name.endswith((".low", ".high"))]
    assert data.metrics["test/malignant/sensitivity"] == pytest.approx(0.75)
    assert data.metrics["val/balanced_accuracy"] == pytest.approx(0.8)
    assert "val/auc" not in data.metrics
    assert not [name for name in named["demo"].data.metrics if name.startswith("system/")]
    history = client.get_metric_history(named["round 1 hard"].info.run_id, "test/sensitivity/mel")
    assert [m.step for m in history] == [1]


def test_the_parent_shows_curves_over_rounds_for_each_arm(tracked):
    _, client, _ = tracked
    named, _ = runs_of(client)
    parent = named["demo"].info.run_id
    curves = {
        name: [(m.step, pytest.approx(m.value)) for m in client.get_metric_history(parent, name)]
        for name in named["demo"].data.metrics
    }
    assert curves["test malignant sensitivity/real"] == [(0, 0.55), (1, 0.6)]
    assert curves["test malignant sensitivity/hard"] == [(1, 0.75)]
    assert curves["test/sensitivity/nv"] == [(0, 0.55), (1, 0.75)]
    assert len({name.partition("/")[0] for name in curves}) <= 10


def test_all_figures_with_their_intervals_are_one_table(tracked):
    _, client, _ = tracked
    named, _ = runs_of(client)
    run_id = named["round 1 hard"].info.run_id
    table = pd.read_csv(client.download_artifacts(run_id, "figures.csv")).set_index(["part", "figure"])
    row = table.loc[("test", "per_class.mel.sensitivity")]
    assert row.to_dict() == {
        "value": pytest.approx(0.75),
        "low": pytest.approx(0.65),
        "high": pytest.approx(0.85),
    }


def test_parent_holds_config_dataset_tags_and_report(tracked):
    _, client, _ = tracked
    named, _ = runs_of(client)
    parent = named["demo"]
    assert parent.data.params["loop.rounds"] == "1"
    assert parent.data.params["loop.arms"] == '["real", "hard"]'
    assert parent.data.tags["protocol"] == "safe"
    assert parent.data.tags["split_digest"] == "s"
    inputs = parent.inputs.dataset_inputs
    assert [(i.dataset.name, i.dataset.digest) for i in inputs] == [("phantom", "d" * 36)]
    run_id = parent.info.run_id
    assert [f.path for f in client.list_artifacts(run_id)] == ["report.html", "run"], "the report is on top"
    besides = {f.path for f in client.list_artifacts(run_id, "run")}
    assert {"run/report.json", "run/champion.json"} <= besides


def models_of(client):
    found = client.search_logged_models([client.get_experiment_by_name("demo").experiment_id])
    assert len({model.name for model in found}) == len(found)
    return {model.name: model for model in found}


def test_each_arm_is_a_model_with_its_figures_of_val_and_test(tracked):
    """Once, after a resume too: the figure, its part's images, and the child run that has it as output."""
    _, client, _ = tracked
    models, (named, _) = models_of(client), runs_of(client)
    assert sorted(models) == ["round 0 real", "round 1 hard", "round 1 real"]
    for name, model in models.items():
        assert str(model.status) == "READY" and model.source_run_id == named[name].info.run_id
        tied = {(m.key, m.dataset_name): m.value for m in model.metrics}
        assert (
            len(tied)
            == len(model.metrics)
            == sum(key.startswith(("val/", "test/")) for key in named[name].data.metrics)
        )
        assert (
            tied["test/malignant/sensitivity", "phantom, test"]
            == named[name].data.metrics["test/malignant/sensitivity"]
        )
        assert {m.dataset_digest for m in model.metrics} == {"d" * 36}
        uses = {
            item.dataset.name: {tag.key: tag.value for tag in item.tags}["mlflow.data.context"]
            for item in named[name].inputs.dataset_inputs
        }
        assert uses == {"phantom, val": "validation", "phantom, test": "testing"}
    (best,) = client.search_logged_models(
        [client.get_experiment_by_name("demo").experiment_id],
        order_by=[{"field_name": "metrics.test/malignant/sensitivity", "ascending": False}],
        max_results=1,
    )
    assert best.name == "round 1 hard"


def test_a_model_whose_files_stayed_in_the_run_folder_says_so_until_it_is_crowned(tracked):
    _, client, _ = tracked
    kept_here = {name: model.tags.get("mlflow.model.isExternal") for name, model in models_of(client).items()}
    assert kept_here == {"round 0 real": None, "round 1 hard": None, "round 1 real": "true"}
    crowned = client.get_model_version_by_alias("demo", "champion").tags["hardcase.model_id"]
    assert crowned == models_of(client)["round 1 hard"].model_id


def test_without_weights_an_arm_has_figures_and_no_model(tmp_path):
    run = make_run(tmp_path)
    (run / "rounds/0000/classifier.safetensors").unlink()
    tracker = make_tracker(tmp_path)
    tracker.start(config=CONFIG, dataset=DATASET, run_folder=run)
    tracker.log_round(make_report(0, "real", 0.6), run / "rounds/0000", run)
    client = client_of(tmp_path)
    assert models_of(client) == {}
    assert runs_of(client)[0]["round 0 real"].data.metrics["val/accuracy"] == pytest.approx(0.6)


def test_children_hold_reports_tables_sheets_and_confusion_but_no_weights(tracked):
    _, client, _ = tracked
    named, _ = runs_of(client)
    names = {f.path for f in client.list_artifacts(named["round 1 hard"].info.run_id)}
    assert names == {
        "confusion_test.png",
        "confusion_val.png",
        "figures.csv",
        "hard_cases.png",
        "predictions.parquet",
        "report.json",
    }


def test_the_champion_is_registered_as_it_was_exported(tracked, monkeypatch):
    run, client, _ = tracked
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    version = client.get_model_version_by_alias("demo", "champion")
    assert (version.tags["round"], version.tags["arm"]) == ("1", "hard")
    folder = Path(mlflow.artifacts.download_artifacts("models:/demo@champion"))
    assert (folder / "weights").read_text() == (run / "rounds/0001/classifier.safetensors").read_text()
    described = yaml.safe_load((folder / "MLmodel").read_text())
    assert described["model_id"] == version.tags["hardcase.model_id"]
    assert described["flavors"]["python_function"]["loader_module"] == "nothing"


def test_a_resume_adds_no_version_and_leaves_nothing_to_send(tracked):
    run, client, first = tracked
    versions = client.search_model_versions("name = 'demo'")
    assert sorted(v.tags["round"] for v in versions) == ["0", "1"]
    assert json.loads((run / "mlflow.json").read_text()) == first
    assert not (run / "tracking_outbox").exists()
    output = client.get_run(runs_of(client)[0]["round 1 hard"].info.run_id).outputs.model_outputs
    assert [o.step for o in output] == [1]


def test_children_created_before_a_kill_are_found_again(tracked):
    run, _, first = tracked
    state = json.loads((run / "mlflow.json").read_text())
    (run / "mlflow.json").write_text(json.dumps({**state, "rounds": {}}))
    tracker = make_tracker(run.parents[1])
    tracker.start(config=CONFIG, dataset=DATASET, run_folder=run)
    client = tracked[1]
    for protocol in ("leaky", "safe"):
        report = {**make_report(0, "real", 0.6), "protocol": protocol}
        tracker.log_round(report, run / "rounds/0000", run)
        tags = runs_of(client)[0]["round 0 real"].data.tags
        assert tags["protocol"] == protocol, "a run that was there before is tagged too"
    again = json.loads((run / "mlflow.json").read_text())
    assert again["rounds"]["0000/real"] == first["rounds"]["0000/real"]
    (run / "mlflow.json").write_text(json.dumps(state))


@pytest.fixture
def silent_server():
    """A socket that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed_port():
    """A port that refuses connections, and that no other process can open meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def kept(run: Path) -> list[str]:
    lines = (run / "tracking_outbox" / "calls.jsonl").read_text().splitlines()
    return [json.loads(line)["key"].rsplit("/", 1)[0] for line in lines]


KEPT = [
    "start",
    "log_round/0000",
    "register_champion/0000/real",
    "log_round/0001",
    "log_round/0001",
    "register_champion/0001/hard",
    "finish",
]


@pytest.mark.slow
def test_a_dead_server_costs_nothing_and_everything_is_sent_to_one_that_lives(
    tmp_path, closed_port, mlflow_tables
):
    from mlflow import MlflowClient

    run, told = make_run(tmp_path), []
    shutil.copy(mlflow_tables, tmp_path / "mlflow.db")
    begin = time.monotonic()
    play(make_tracker(tmp_path, closed_port, give_up_after=60.0, notify=told.append), run)
    assert time.monotonic() - begin < 60, "less than one call that is waited for"
    assert kept(run) == KEPT
    assert len([t for t in told if "not reached" in t]) == 2

    tracker = make_tracker(tmp_path)
    tracker.start(config=CONFIG, dataset=DATASET, run_folder=run)
    client = MlflowClient(default_uri(tmp_path / "runs"))
    named, _ = runs_of(client)
    assert sorted(named) == ["demo", "round 0 real", "round 1 hard", "round 1 real"]
    assert client.get_model_version_by_alias("demo", "champion").tags["round"] == "1"
    assert not (run / "tracking_outbox").exists()


@pytest.mark.slow
def test_a_server_that_never_answers_holds_up_the_start_and_the_end_only(tmp_path, silent_server):
    """A request costs a second: 40 rounds that each make one cost 40, as does an end that sends all that is kept."""
    run, told = make_run(tmp_path), []
    tracker = make_tracker(
        tmp_path, silent_server, give_up_after=GIVE_UP_AFTER, notify=told.append, system_metrics=True
    )
    tracker.start(config=CONFIG, dataset=DATASET, run_folder=run)
    begin = time.monotonic()
    for number in range(40):
        tracker.log_round(make_report(number, "hard", 0.5), run / "rounds/0001", run)
    assert time.monotonic() - begin < 15
    begin = time.monotonic()
    tracker.finish("FAILED", run)
    assert time.monotonic() - begin < 30
    assert len(kept(run)) == 42
    assert told


def test_the_machine_is_watched_where_that_is_asked_for_until_the_run_ends(
    tmp_path, monkeypatch, mlflow_tables
):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    shutil.copy(mlflow_tables, tmp_path / "mlflow.db")
    run = make_run(tmp_path)
    steps = []
    for _ in range(2):
        tracker = make_tracker(tmp_path, system_metrics=True)
        tracker.start(config=CONFIG, dataset=DATASET, run_folder=run)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not seen_since(tmp_path, steps):
            time.sleep(0.1)
        tracker.finish("KILLED", run)
        steps = [m.step for m in cpu_history(tmp_path)]
        assert steps == sorted(set(steps)), "a resumed run goes on with the next step"
    assert runs_of(client_of(tmp_path))[0]["demo"].info.status == "KILLED"
    time.sleep(0.3)
    assert [m.step for m in cpu_history(tmp_path)] == steps, "nothing is watched after the end"


def cpu_history(tmp_path):
    client = client_of(tmp_path)
    parent = runs_of(client)[0]["demo"].info.run_id
    return client.get_metric_history(parent, "system/cpu_utilization_percentage")


def seen_since(tmp_path, steps):
    return len(cpu_history(tmp_path)) > len(steps)


def test_a_model_that_cannot_be_exported_is_told_and_stops_nothing(tmp_path, closed_port):
    def broken(weights, folder):
        raise RuntimeError("no such layer")

    run, told = make_run(tmp_path), []
    tracker = MlflowTracker(
        output=tmp_path / "runs", experiment="demo", export=broken, notify=told.append,
        uri=closed_port, give_up_after=1.0,
    )  # fmt: skip
    tracker.start(config=CONFIG, dataset=DATASET, run_folder=run)
    crown(tracker, run, 1, "hard", 0.5)
    assert "no such layer" in told[-1]


def test_calls_before_start_do_nothing(tmp_path):
    run = make_run(tmp_path)
    tracker = make_tracker(tmp_path)
    tracker.log_round(make_report(0, "real", 0.5), run / "rounds/0000", run)
    tracker.register_champion({"round": 0, "arm": "real"}, run)
    tracker.finish("FAILED", run)
    assert not (run / "tracking_outbox").exists()


def test_where_it_logs(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = parse_config({"name": "demo", "output": str(tmp_path / "runs")})
    assert MlflowTracker.create(config, export=export).uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert MlflowTracker.create(config, export=export).uri == "http://server:5000"
    named = parse_config({"tracking": {"uri": "http://other:5000", "experiment": "sweep"}})
    assert MlflowTracker.create(named, export=export).uri == "http://other:5000"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.mkdir(), "unable to open database file"),
        (lambda path: path.write_bytes(b"no database " * 100), "file is not a database"),
    ],
    ids=["a folder", "damaged"],
)
def test_a_database_that_cannot_be_opened_is_said_at_once_and_keeps_the_calls(tmp_path, spoil, reason):
    run, said = make_run(tmp_path), []
    spoil(tmp_path / "mlflow.db")
    tracker = MlflowTracker(output=tmp_path / "runs", experiment="demo", export=export, notify=said.append)
    start = time.monotonic()
    tracker.start(config={"name": "demo"}, dataset={"digest": "d"}, run_folder=run)
    tracker.log_round(make_report(0, "real", 0.5), run / "rounds" / "0000", run)
    tracker.finish("FINISHED", run)
    assert time.monotonic() - start < 60
    assert reason in said[0] and "the run goes on" in said[0]
    kept = [
        json.loads(line)["call"]
        for line in (run / "tracking_outbox" / "calls.jsonl").read_text().splitlines()
    ]
    assert kept == ["start", "log_round", "finish"]


@pytest.mark.parametrize("name", ["a?b", "100%", "a%41b"])
def test_a_folder_that_the_databases_address_cannot_hold_is_refused(tmp_path, name, monkeypatch):
    config = parse_config({"output": str(tmp_path / name / "runs")})
    assert "tracking.kind=none" in database_problems(config)[0]
    for changes in (
        {"tracking": {"kind": "none"}},
        {"tracking": {"uri": "http://localhost:1"}},
        {"output": str(tmp_path / name)},
    ):
        assert database_problems(parse_config({"output": config.output, **changes})) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    assert database_problems(config) == []


@pytest.mark.parametrize("name", ["a#b", "a b", "a'\"b", "a;b&c=d", "[/b]", "é漢", "$HOME", "a@b:c"])
def test_every_other_folder_is_addressed(tmp_path, name):
    """SQLAlchemy opens the very file, and a folder it would not open is one that is refused."""
    from sqlalchemy.engine.url import make_url

    place = tmp_path / name / "runs"
    assert database_problems(parse_config({"output": str(place)})) == []
    assert make_url(default_uri(place)).database == str(tmp_path / name / "mlflow.db")


@pytest.mark.slow
def test_labels_of_an_oracle_are_a_tag_and_a_parameter_of_parent_and_child(tmp_path):
    run = make_run(tmp_path)
    tracker = make_tracker(tmp_path)
    config = CONFIG | {"loop": {"arms": ["real", "hard", "queried"], "labels_from": "oracle"}}
    tracker.start(config=config, dataset=DATASET, run_folder=run)
    bought = {"asked": 4, "answered": 4, "conflicts": 0, "unsure": 0, "simulated": True}
    tracker.log_round(make_report(1, "real", 0.6), run / "rounds/0001/arms/real", run)
    tracker.log_round(make_report(1, "queried", 0.6) | {"labels": bought}, run / "rounds/0001", run)
    tracker.finish("FINISHED", run)
    named, _ = runs_of(client_of(tmp_path))
    for name in ("demo", "round 1 queried"):
        found = named[name].data
        assert found.tags["labels"] == found.params["labels"] == "SIMULATED LABELS", name
    real = named["round 1 real"].data
    assert "labels" not in real.tags and "labels" not in real.params

    labels.append(run, [Answer(image_id="a", reader=ORACLE, dx="nv")])
    again = make_tracker(tmp_path)
    again.start(config=CONFIG, dataset=DATASET, run_folder=run)
    again.log_round(make_report(1, "real", 0.7), run / "rounds/0001/arms/real", run)
    real = runs_of(client_of(tmp_path))[0]["round 1 real"].data
    assert real.tags["labels"] == real.params["labels"] == "SIMULATED LABELS", (
        "what no round asked for, all train on"
    )


@pytest.mark.slow
def test_what_was_sent_in_part_is_there_once_when_it_is_sent_again(tmp_path, monkeypatch, mlflow_tables):
    """Metrics have the time of the first attempt, a model that was begun is found again. Quotes in a name do no harm."""
    from engine.tracking import registry, run_log

    def cut_short(owner, name):
        whole, calls = getattr(owner, name), []

        def once(*args, **named):
            calls.append(args)
            if len(calls) == 1:
                raise OSError("cut off")
            return whole(*args, **named)

        monkeypatch.setattr(owner, name, once)

    shutil.copy(mlflow_tables, tmp_path / "mlflow.db")
    run, name = make_run(tmp_path), 'it\'s "a" test'
    cut_short(run_log.RunLog, "metrics")
    cut_short(run_log, "log_files")
    cut_short(registry, "_stamp")
    for _ in range(4):  # three times cut off
        play(MlflowTracker(output=tmp_path / "runs", experiment=name, export=export), run)
    assert not (run / "tracking_outbox").exists()
    client = client_of(tmp_path)
    experiment = client.get_experiment_by_name(name).experiment_id
    runs = client.search_runs([experiment])
    assert len(runs) == 4
    for found in runs:
        for metric in found.data.metrics:
            history = client.get_metric_history(found.info.run_id, metric)
            assert len({m.step for m in history}) == len(history), (found.info.run_name, metric)
    models = client.search_logged_models([experiment])
    assert [str(model.status) for model in models] == ["READY"] * 3
    for model in models:
        assert len({metric.key for metric in model.metrics}) == len(model.metrics) > 0
    outputs = [client.get_run(r.info.run_id).outputs.model_outputs for r in runs]
    assert sorted(map(len, outputs)) == [0, 1, 1, 1]
    versions = [v for v in client.search_model_versions() if v.name == name]
    assert sorted(v.tags["round"] for v in versions) == ["0", "1"]
