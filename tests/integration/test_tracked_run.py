"""What MLflow holds after a real run: one parent, one child a (round, arm), a champion that takes photographs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from engine import cli
from engine.report.blocks.evidence import run_answer

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
    parent = runs["finished"].info.run_id
    assert "report.html" in {f.path for f in client.list_artifacts(parent)}
    assert "run/report.json" in {f.path for f in client.list_artifacts(parent, "run")}
    tags, answer = runs["finished"].data.tags, run_answer(finished_run)
    assert tags["verdict"] == answer.verdict == "not shown"
    assert tags["mlflow.note.content"] == f"{answer.sentence} Why: {answer.reason}."
    assert not (finished_run / "tracking_outbox").exists()


@pytest.fixture
def photographs(tmp_path):
    """Raw photographs: two JPEGs, one of them stored sideways, and a PNG with transparent parts."""
    rng = np.random.default_rng(0)
    for number, turned in enumerate((1, 6)):
        noise = Image.fromarray(rng.integers(0, 256, size=(24, 32, 3), dtype=np.uint8))
        exif = Image.Exif()
        exif[0x0112] = turned
        noise.resize((640, 480), Image.Resampling.BICUBIC).save(tmp_path / f"a{number}.jpg", exif=exif)
    noise.resize((90, 60)).convert("RGBA").rotate(30).save(tmp_path / "b.png")
    return sorted(tmp_path.glob("*.*g"))


def test_the_registered_champion_takes_photographs_and_predicts_as_the_command_does(
    finished_run, client, photographs, tmp_path
):
    """In a process without hardcase, from paths, bytes and base64."""
    champion = json.loads((finished_run / "champion.json").read_text())
    version = client.get_model_version_by_alias("finished", "champion")
    assert (version.tags["round"], version.tags["arm"]) == (str(champion["round"]), champion["arm"])
    csv = tmp_path / "ours.csv"
    found = CliRunner().invoke(
        cli.app, ["predict", str(finished_run), *map(str, photographs), "--csv", str(csv)]
    )
    assert found.exit_code == 0, found.output
    ours = pd.read_csv(csv)
    code = (
        "import sys; sys.modules |= {'engine': None, 'timm': None}; import base64, mlflow, pandas as pd; "
        "from pathlib import Path; paths = sys.argv[2:]; files = [Path(p).read_bytes() for p in paths]; "
        "model = mlflow.pyfunc.load_model('models:/finished@champion'); "
        "kinds = [paths, files, [base64.b64encode(f).decode() for f in files]]; "
        "pd.concat([model.predict(pd.DataFrame({'photograph': kind})) for kind in kinds]"
        " + [model.predict(paths)]).to_csv(sys.argv[1])"
    )
    theirs = tmp_path / "theirs.csv"
    done = subprocess.run(
        [sys.executable, "-c", code, str(theirs), *map(str, photographs)],
        cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(theirs)
    columns = [name for name in ours if name not in ("file", "image_id")]
    assert table.columns.tolist()[1:] == columns
    for start in range(0, len(table), len(photographs)):
        part = table.iloc[start : start + len(photographs)].reset_index()
        for name in columns:
            if ours[name].dtype == np.float64:
                np.testing.assert_allclose(part[name], ours[name], atol=2e-5)
            else:
                assert part[name].tolist() == ours[name].tolist()


def test_the_registered_champion_says_what_it_cannot_read(finished_run, client, tmp_path):
    import mlflow

    model = mlflow.pyfunc.load_model("models:/finished@champion")
    names = model.metadata.signature.outputs.input_names()
    assert names[-3:] == ["predicted", "malignant_score", "above_threshold"]
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(Exception, match=r"text\.jpg: it is no image that can be read"):
        model.predict([str(tmp_path / "text.jpg")])
    with pytest.raises(Exception, match=r"absent\.jpg: no such file, and no image file in base64"):
        model.predict(["absent.jpg"])
    files = [
        p.suffix for p in Path(mlflow.artifacts.download_artifacts("models:/finished@champion")).rglob("*")
    ]
    assert not {".pth", ".pkl", ".pickle"} & set(files)
