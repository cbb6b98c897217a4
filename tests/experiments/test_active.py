"""The active study: its figures are those of the runs, and a start counts once all its runs are finished."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine import build
from engine.arms import ENGINE
from engine.artifacts.run_files import read_run
from engine.errors import ConfigError
from engine.study.label_curves import QUERY, RANDOM
from experiments import active
from experiments.lib import keeping
from experiments.lib.active_figures import SAW, read_study
from tests.engine.study.fake_labels import ASKED, write_label_study

GAINS = {
    "policy": {QUERY: 0.8, RANDOM: 0.1, ENGINE: 0.3},
    "margin": {QUERY: 0.4, RANDOM: 0.1, ENGINE: 0.3},
    "saw": {QUERY: 0.1, RANDOM: 0.1, ENGINE: 0.9},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("active") / "runs"
    root.mkdir()
    for kind, gain in GAINS.items():
        for number, path in enumerate(write_label_study(root / kind, gain, replicates=3, lesions=400)):
            path.rename(root / active.run_name("active_32", kind, number))
    return root


def test_contrasts_are_differences_of_the_runs_curves(runs: Path) -> None:
    starts = [{kind: read_run(path) for kind, path in start.items()} for start in active.finished(runs)]
    study = read_study(starts, draws=100)
    assert study.design.replicates == 3
    found = {one.name: one for one in study.contrasts}
    query = found[f"{QUERY} minus {RANDOM}"]
    expected = study.curves[QUERY].value_RP[:, -1] - study.curves[RANDOM].value_RP[:, -1]
    assert query.values == pytest.approx(expected.tolist())
    assert query.difference.value == pytest.approx(expected.mean())
    saw = found[f"{SAW} minus {ENGINE}"]
    assert saw.difference.value > 0 and saw.confirmatory and saw.adjusted_p is not None
    assert saw.adjusted_p >= saw.difference.p_value  # type: ignore[operator]
    assert [one.name for one in study.contrasts if one.confirmatory] == [query.name, saw.name]
    assert study.curves[QUERY].asked_P.tolist() == [0.0, ASKED]


def test_the_same_generator_twice_is_no_gain(runs: Path, tmp_path: Path) -> None:
    starts = [start | {"saw": start["policy"]} for start in active.finished(runs)]
    study = read_study(
        [{kind: read_run(path) for kind, path in start.items()} for start in starts], draws=100
    )
    found = next(one for one in study.contrasts if one.name.startswith(SAW))
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
    assert "the unlabelled images is not shown to gain" in study.sentence()


def test_what_is_finished_is_collected_as_table_json_and_picture(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "RESULTS", tmp_path)
    active.collect(tmp_path / active.NAME, runs)
    folder = tmp_path / active.NAME
    found = json.loads((folder / "result.json").read_text())
    assert found["starts"] == 3 and np.shape(found["curves"][QUERY]["auc_by_start"]) == (3, 2)
    text = (folder / "table.md").read_text()
    assert "SIMULATED LABELS" in text and f"{QUERY} minus {RANDOM}" in text and f"| {SAW} |" in text
    assert (folder / "curves.png").stat().st_size > 10_000


def test_a_start_without_one_of_its_runs_is_left_out(runs: Path, tmp_path: Path) -> None:
    for path in runs.iterdir():
        if not path.name.endswith("saw-2"):
            (tmp_path / path.name).symlink_to(path)
    assert len(active.finished(tmp_path)) == 2


def test_nothing_to_collect_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--runs: holds no finished start"):
        active.collect(tmp_path, tmp_path)


def test_policies_and_runs_are_configs_of_the_study() -> None:
    path = keeping.EXPERIMENTS / "configs" / "active_32.yaml"
    tried = {name: build.load(path, [*active.DEVELOPING, *more]) for name, more in active.POLICIES.items()}
    assert {config.data.split.seal for config in tried.values()} == {"test"}
    assert tried["margin"].policy.query == {"name": "margin"}, "whatever was chosen for the study"
    assert len({json.dumps(config.policy.query) for config in tried.values()}) == len(active.POLICIES)
    kinds = {kind: build.load(path, more) for kind, more in active.RUNS.items()}
    assert kinds["saw"].loop.generator_saw == "unlabelled" and kinds["margin"].policy.query == {
        "name": "margin"
    }
    assert {config.data.split.seal for config in kinds.values()} == {None}


def test_gains_are_over_asking_by_chance() -> None:
    def arm(*values: float) -> dict[str, object]:
        return {str(n): {"asked": 100 * n, "val": {"malignant.auc": [v, v]}} for n, v in enumerate(values)}

    arms = {QUERY: arm(0.7, 0.75, 0.80), RANDOM: arm(0.7, 0.74, 0.76)}
    assert active.gains_of(arms) == pytest.approx([1.0, 4.0])
    text = "\n".join(active.tried([{"set": 1, "settings": {"margin": {"arms": arms}}}]))
    assert "| margin | 1 | +1.00 | +4.00 | +2.50 |" in text and "| 100 labels | 200 labels |" in text
