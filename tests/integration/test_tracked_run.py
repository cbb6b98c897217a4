"""What MLflow holds after a real run: one parent, one child a (round, arm), the champion as pt2."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture
def client(finished_run, monkeypatch):
    from mlflow import MlflowClient

    uri = f"sqlite:///{finished_run.parent.parent / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return MlflowClient(uri)


def test_a_run_leaves_one_parent_and_a_child_for_each_round_and_arm(finished_run, client):
    experiment = client.get_experiment_by_name("finished")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["finished", "round 0 real", "round 1 hard", "round 1 real"]
    assert {r.info.status for r in runs.values()} == {"FINISHED"}
    report = json.loads((finished_run / "report.json").read_text())
    for entry in report["rounds"]:
        metrics = runs[f"round {entry['round']} {entry['arm']}"].data.metrics
        for dx, figures in entry["test"]["per_class"].items():
            assert metrics[f"test/sensitivity/{dx}"] == figures["sensitivity"]["value"]
    names = {f.path for f in client.list_artifacts(runs["round 1 hard"].info.run_id)}
    assert {"hard_cases.png", "synthetic.png", "confusion_test.png", "report.json"} <= names
    assert {"report.json", "report.html"} <= {
        f.path for f in client.list_artifacts(runs["finished"].info.run_id)
    }
    assert not (finished_run / "tracking_outbox").exists()


def test_the_registered_champion_predicts_as_the_run_did(finished_run, client, tmp_path):
    import mlflow

    champion = json.loads((finished_run / "champion.json").read_text())
    version = client.get_model_version_by_alias("finished", "champion")
    assert (version.tags["round"], version.tags["arm"]) == (str(champion["round"]), champion["arm"])
    exported = mlflow.pytorch.load_model("models:/finished@champion")
    module = exported.module() if hasattr(exported, "module") and callable(exported.module) else exported
    folder = (finished_run / champion["classifier"]).parent
    temperature = json.loads((folder / "calibration.json").read_text())["temperature"]
    made = pd.read_parquet(finished_run / "rounds/0001/synthetic.parquet")["sample_id"].head(3)
    pixels = [np.asarray(Image.open(finished_run / "rounds/0001/synthetic" / f"{n}.png")) for n in made]
    unit = torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2) / 255).float()

    from engine.classifier.weights import load_for_tracking

    model, _ = load_for_tracking(folder / "classifier.safetensors")
    with torch.inference_mode():
        torch.testing.assert_close(
            module(unit) / temperature, model(unit) / temperature, atol=1e-4, rtol=1e-4
        )
