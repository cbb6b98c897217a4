"""The scripts of the proof on tiny phantoms: a development set never sees test, a confirmation is frozen, folds collect."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from engine import build
from engine.errors import ConfigError
from experiments import arms_full
from experiments.lib import keeping
from experiments.table1 import command, plan
from experiments.table1.set_files import read_set
from tests.integration.tiny import tiny_tree

pytestmark = pytest.mark.slow

ARMS = ["real", "classical", "mined", "retrieved", "random", "dcgan", "hard", "synthetic"]
SMALL = ("--pixels", 16)
PHANTOMS = {"lesions": 126, "views": 2, "imbalance": 0.0}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results in a folder of the test, four sets instead of ten, two models that are quick."""
    monkeypatch.setattr(keeping, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(plan, "SETS", 4)
    monkeypatch.setitem(plan.MODELS, "resnet18", ("test_resnet", False))
    monkeypatch.setitem(plan.MODELS, "vgg13", ("test_byobnet", False))
    return tmp_path / "results"


def write_config(tmp_path: Path, split: dict[str, Any], **loop: Any) -> Path:
    tree = tiny_tree(
        str(tmp_path / "runs"),
        data={"phantom": PHANTOMS, "split": split},
        gan={"steps": 2, "batch_size": 8, "width": 8},
        denoiser={"steps": 2, "validations": 1},
        **{part: {"steps": 2} for part in ("embedder", "vae", "judge")},
        classifier={"round_init": "scratch", "steps": 4},
        loop={"rounds": 1, "mine_from": "crossfit", "crossfit_folds": 2, "compare": "last_round", **loop},
    )
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def play(module: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, arguments)])
    module.main()


def test_a_development_set_is_scored_on_val_and_test_is_not_in_its_run(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = {"count": 8, "images": 12, "use": [0, 1]}
    split = {"train": 0.6, "mine": 0.0, "val": 0.2, "test": 0.2, "train_sets": sets}
    config = write_config(tmp_path, split, arms=ARMS, generator_saw="own", max_synthetic=10)
    elsewhere = ("--with", f"output={tmp_path / 'runs'}")
    models = ("--models", "resnet18", "vgg13", "--rows", *plan.ROWS)
    play(
        command, monkeypatch, "run", config, "--set", 1, "--part", "development", *SMALL, *models, *elsewhere
    )
    found = read_set(results / "table1" / "set_01.json")
    assert found["part"] == "development"
    table = found["tables"]["own in total 16 px"]
    assert set(table["cells"]) == {f"{m} | {row}" for m in ("resnet18", "vgg13") for row in plan.ROWS}
    cells = table["cells"]
    assert all(cell["made"]["command"] == table["command"] for cell in cells.values())
    assert {cell["part"] for cell in cells.values()} == {"val"}
    assert {cell["optimizer_steps"] for cell in cells.values()} == {4}
    real = {row: cells[f"resnet18 | {row}"]["n_real"] for row in plan.ORIGIN}
    assert real["Origin250"] < real["Origin500"] < real["Origin1000"]
    assert real["Origin250"] == pytest.approx(12, abs=7)
    assert cells["resnet18 | Synthetic500"]["n_real"] == 0
    assert cells["resnet18 | Hybrid1000"]["n_real"] == real["Origin500"]
    assert (
        cells["resnet18 | Hybrid1000"]["n_synthetic"] == cells["resnet18 | Synthetic500"]["n_synthetic"] <= 10
    )
    for run in (tmp_path / "runs").glob("table1-*"):
        for name in ("split.parquet",):
            if (run / name).exists():
                assert "test" not in set(pd.read_parquet(run / name)["split"])
    assert not any(
        "test" in set(pd.read_parquet(p)["split"]) for p in (tmp_path / "runs").rglob("predictions.parquet")
    )
    assert str(tmp_path) not in json.dumps(found)
    (log,) = (tmp_path / "runs").glob("table1-development-01-resnet18-Hybrid1000-????????/stages.jsonl")
    stages = [json.loads(line) for line in log.read_text().splitlines()]
    assert not any(s["ran"] for s in stages), "what the run has trained is not trained again"
    text = config.read_text()
    config.write_text(text.replace("steps: 4", "steps: 5"))
    with pytest.raises(
        ConfigError, match=r"set_01\.json, table 'own in total 16 px': .* give what changed after --with"
    ):
        play(command, monkeypatch, "run", config, "--set", 1, "--part", "development", *SMALL, *elsewhere)
    config.write_text(text)
    other = json.loads(json.dumps(found)) | {"set": 0}
    cases = other["tables"]["own in total 16 px"]["cases"]
    assert set(cases["parts"]["train"].split()).isdisjoint(cases["test"]["lesion_id"].split())
    cases["name"], cases["parts"]["train"] = "set 0", "lesions\nof\nanother\nset"
    (results / "table1" / "set_00.json").write_text(json.dumps(other))
    play(command, monkeypatch, "collect")
    study = json.loads((results / "table1" / "result.json").read_text())["tables"][0]["study"]
    assert (study["design"]["replicates"], study["design"]["unit"]) == (2, "training set")
    assert study["answer"]["verdict"] == "not shown"
    assert set(study["arms"]) == set(ARMS)
    confirmatory = {c["baseline"] for c in study["contrasts"] if c["role"] == "confirmatory"}
    assert confirmatory <= {"classical", "random", "mined", "retrieved"}
    assert "| Hybrid1000 |" in (results / "table1" / "table.md").read_text()
    (tried,) = json.loads((results / "table1" / "result.json").read_text())["tried"].values()
    assert set(tried) == {"real", "Origin500", "random", "hard"}
    assert tried["hard"]["sets"] == [0, 1]
    assert tried["hard"]["accuracy"][1] == cells["resnet18 | Hybrid1000"]["figures"]["accuracy"]
    assert 0 <= tried["hard"]["sensitivity_85_95"][1] <= 1
    assert "| hard | 0, 1 | " in (results / "table1" / "tried.md").read_text()
    assert (results / "table1" / "table.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", 0, "--part", "confirm"), "--set 0 is no set of --part confirm; these are 2, 3"),
        (("--set", 2, "--part", "development"), "--set 2 is no set of --part development; these are 0, 1"),
        (
            ("--set", 2, "--part", "confirm", "--with", "classifier.steps=3"),
            "as it is committed; drop classifier.steps",
        ),
        (
            ("--set", 2, "--part", "confirm", "--with", "output=here"),
            "tiny.yaml is not in git as it lies here",
        ),
        (("--set", 0, "--part", "confirm", "--per-class"), "these are 1"),
    ],
)
def test_what_would_let_test_have_a_say_is_refused(
    tmp_path: Path,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    message: str,
) -> None:
    config = write_config(tmp_path, {"train": 0.6, "mine": 0.0, "val": 0.2, "test": 0.2})
    with pytest.raises(ConfigError, match=message):
        play(command, monkeypatch, "run", config, *arguments)
    assert not results.exists()


@pytest.mark.heavy  # a closed study's script; that of the development set plays the same loop
def test_a_fold_keeps_its_arms_and_folds_collect(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = {"mine": 0.0, "val": 0.2, "folds": {"count": 3, "use": 0}}
    config = write_config(tmp_path, split, arms=["real", "random", "hard"])
    with pytest.raises(ConfigError, match="is not in git as it lies here"):
        play(arms_full, monkeypatch, "run", config, "--fold", 2)
    monkeypatch.setattr(arms_full, "require_frozen", lambda *_: None)
    monkeypatch.setattr(arms_full, "require_engine", lambda *_, **__: None)  # a developer's tree has changes
    play(arms_full, monkeypatch, "run", config, "--fold", 2)
    found = json.loads((results / "arms_full" / "fold_2_seed_0.json").read_text())
    assert set(found["arms"]) == {"real", "random", "hard"}
    assert found["round_0"]["round"] == 0
    assert found["config"]["data"]["split"]["folds"]["use"] == 2
    tested = found["cases"]["test"]
    assert len(tested["label"].split()) == len(tested["image_id"].split()) > 0
    assert {"challenging", "rest", "ece"} <= set(found["arms"]["hard"])
    play(arms_full, monkeypatch, "collect")
    assert json.loads((results / "arms_full" / "result.json").read_text())["folds"] == [2]
    assert "not shown" in (results / "arms_full" / "table.md").read_text()
    play(arms_full, monkeypatch, "run", config, "--fold", 1)
    play(arms_full, monkeypatch, "run", config, "--fold", 1, "--seed", 1)
    play(arms_full, monkeypatch, "collect")
    result = json.loads((results / "arms_full" / "result.json").read_text())
    assert (result["folds"], result["seeds"]) == ([1, 2], [0]), "a seed that one fold has alone waits"
    assert result["study"]["design"]["kind"] == "cross-validation"
    assert result["study"]["design"]["replicates"] == 2
    assert set(result["study"]["arms"]) == {"real", "random", "hard"}


def test_the_configs_of_the_proof_are_what_the_protocol_says() -> None:
    folder = keeping.EXPERIMENTS / "configs"
    low, full = (build.load(folder / f"{name}.yaml") for name in ("table1_64", "arms_full_32"))
    split = low.data.split
    assert (split.train, split.mine, split.val, split.test) == (0.5, 0.0, 0.1, 0.4)
    assert split.train_sets is not None
    assert split.train_sets.count == 2 * plan.SETS
    assert (low.loop.generator_saw, low.loop.mine_from, low.loop.max_synthetic) == ("own", "crossfit", 500)
    assert full.data.split.folds is not None
    assert (full.data.split.folds.count, full.loop.rounds, full.loop.mine_from) == (5, 3, "crossfit")
    for config in (low, full):
        assert config.classifier.round_init == "scratch", "hard has the schedule of the arms beside it"
    family = {"real", "classical", "random", "mined", "retrieved", "hard"}
    assert family <= set(low.loop.arms)
    assert family <= set(full.loop.arms)
