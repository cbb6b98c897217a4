"""`hardcase query` on a finished run: what is written for readers, that nothing is asked twice, and the way back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from engine import build
from engine.artifacts import asked, labels
from engine.artifacts.labels import Answer
from engine.cli import app
from engine.commands.label_command import label
from engine.commands.query_command import LABELLING, labelling_interface, query
from engine.errors import ConfigError, DataError
from engine.parts.dataset import open_dataset
from engine.stages import ask as ask_stage
from engine.store import RunFolder
from engine.types import UNLABELLED, Query, QueryState
from policies import registry
from tests.conftest import once
from tests.integration.tiny import TINY, copy_stages, tiny_config

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def finished(output: Path) -> Path:
    """A run with hidden labels, whose arms ask for none."""
    config = tiny_config(
        str(output),
        name="to_query",
        data={"split": {**TINY["data"]["split"], "hide_labels": 0.5}},
        loop={"rounds": 1},
    )
    return once(output / "to_query", lambda: build.run(config))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "runs" / "to_query")
    copy_stages(finished, tmp_path / "runs")
    return tmp_path / "runs" / "to_query"


def unlabelled(run: Path) -> set[str]:
    folder = RunFolder.open(run)
    dataset = open_dataset(
        *(folder.stage(f"foundation/{name}").path for name in ("images", "split")), unlabelled=True
    )
    return set(dataset.table.image_id[dataset.where(UNLABELLED)].tolist())


@pytest.mark.slow
def test_a_query_writes_all_a_reader_needs_and_asks_nothing_twice(run: Path, tmp_path: Path) -> None:
    first = query(run, 5, tmp_path / "first", QUIET)
    out, pool = tmp_path / "first", unlabelled(run)
    assert len(first) == 5 and set(first) <= pool
    blank = pd.read_csv(out / "answers.csv", keep_default_na=False)
    assert blank["image_id"].tolist() == first and set(blank["dx"]) == set(blank["reader"]) == {""}
    tasks = json.loads((out / "label_studio_tasks.json").read_text())
    assert [task["data"]["image_id"] for task in tasks] == first
    for task in tasks:
        with Image.open(out / task["data"]["image"]) as image:
            assert image.size == (16, 16) and not image.getexif()
    choices = [c.get("value") for c in ElementTree.fromstring((out / LABELLING).read_text()).iter("Choice")]
    fiftyone = json.loads((out / "labels.json").read_text())
    assert choices == [*fiftyone["classes"], "unsure"] and list(fiftyone["labels"]) == first
    text = " ".join(p.read_text() for p in out.iterdir() if p.is_file())
    assert "predicted" not in text and "prob" not in text, "readers do not see the model's guess first"
    assert asked.read_ids(run / "queries" / "0000").tolist() == first
    second = query(run, 5, tmp_path / "second", QUIET, policy="random")
    assert not set(first) & set(second)
    facts = asked.read_facts(run / "queries" / "0001")
    assert (facts.policy, facts.left_out["asked before"]) == ("random", 5)
    third = query(run, 1000, tmp_path / "third", QUIET)
    assert len({*first, *second, *third}) == 10 + len(third) <= len(pool)
    with pytest.raises(
        DataError, match=r"none of its \d+ unlabelled images can be asked about: \d+ asked before"
    ):
        query(run, 1, tmp_path / "fourth", QUIET)
    assert not (tmp_path / "fourth").exists() and len(list((run / "queries").iterdir())) == 3


@pytest.mark.slow
def test_the_answers_come_back_and_the_next_run_trains_with_them(run: Path, tmp_path: Path) -> None:
    names = query(run, 4, tmp_path / "out", QUIET)
    filled = pd.read_csv(tmp_path / "out" / "answers.csv", keep_default_na=False)
    filled["dx"], filled["reader"] = ["nv", "mel", "unsure", "nv"], "ann"
    filled.to_csv(tmp_path / "out" / "answers.csv", index=False)
    label(run, QUIET, answers=tmp_path / "out" / "answers.csv")
    said = {names[0]: "nv", names[1]: "mel", names[3]: "nv"}
    assert labels.settle(labels.read(run)).labels == said
    before = json.loads((run / "report.json").read_text())
    folder, after = build.run(build.load(run / "config.yaml", [f"output={run.parent}"]))
    added = after["rounds"][0]["n_real"] - before["rounds"][0]["n_real"]
    assert added == 3 and after["rounds"][0]["test"]["n"] == before["rounds"][0]["test"]["n"]
    assert not set(names[:2]) & unlabelled(folder.path) and names[2] in unlabelled(folder.path)


@pytest.mark.slow
def test_a_query_sees_the_labels_there_are_and_what_nobody_could_tell(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, make = [], registry.make

    def noting(kind: Any, spec: Mapping[str, Any]) -> Any:
        policy = make(kind, spec)

        def query(state: QueryState, rng: np.random.Generator) -> Query:
            states.append(state)
            found: Query = policy.query(state, rng)
            return found

        return SimpleNamespace(query=query, wanted=policy.wanted) if kind == "query" else policy

    first = query(run, 3, tmp_path / "first", QUIET)
    labels.append(run, [Answer(image_id=first[0], reader="ann", dx="nv")])
    labels.append(run, [Answer(image_id=first[1], reader="ann", kind="unsure")])
    monkeypatch.setattr(ask_stage.registry, "make", noting)
    query(run, 3, tmp_path / "second", QUIET, policy="k_center")
    (state,) = states
    folder = RunFolder.open(run)
    dataset = open_dataset(*(folder.stage(f"foundation/{name}").path for name in ("images", "split")))
    assert len(state.labelled_label_M) == len(dataset.where("train")) + 1
    assert state.classes[state.labelled_label_M[-1]] == "nv"
    assert state.unlabelled_asked_AF is not None and len(state.unlabelled_asked_AF) == 2, "unsure, and open"


@pytest.mark.slow
def test_what_cannot_be_asked(run: Path, tmp_path: Path, tiny_run: Path) -> None:
    with pytest.raises(ConfigError, match="margn"):
        query(run, 3, tmp_path / "a", QUIET, policy="margn")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(DataError, match=r"--out: .* exists and is not an empty folder"):
        query(run, 3, tmp_path / "full", QUIET)
    ended = CliRunner().invoke(app, ["query", str(tiny_run), "--out", str(tmp_path / "b")])
    assert ended.exit_code == 2
    assert "no unlabelled image to ask about; give data.unlabelled=keep" in " ".join(ended.stderr.split())


def test_class_names_stay_text_in_the_labelling_interface() -> None:
    names = ['a"b', "<script>", "x & y", "line\nbreak"]
    found = ElementTree.fromstring(labelling_interface(names))
    assert [choice.get("value") for choice in found.iter("Choice")] == names
    assert np.all([choice.text is None for choice in found.iter("Choice")])
