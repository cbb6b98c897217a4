"""The active study: its figures are those of the runs, and a start counts once all its runs are finished."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine import build
from engine.arms import ENGINE
from engine.artifacts.run_files import read_run
from engine.config import Config
from engine.errors import ConfigError, DataError
from engine.study.label_scores import QUERY, RANDOM, LabelScores, read_scores
from experiments import active
from experiments.lib import active_figures, keeping
from experiments.lib.active_figures import SAW, read_study
from experiments.lib.active_kept import is_kept, keep, path_of, read_kept
from tests.engine.study.fake_labels import ASKED, write_label_study

CONFIG = keeping.EXPERIMENTS / "configs" / "active_32.yaml"
GAINS = {
    "policy": {QUERY: 0.8, RANDOM: 0.1, ENGINE: 0.3},
    "margin": {QUERY: 0.4, RANDOM: 0.1, ENGINE: 0.3},
    "saw": {QUERY: 0.1, RANDOM: 0.1, ENGINE: 0.9},
}


COUNT = 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Each kind's run of every start."""
    root = tmp_path_factory.mktemp("active")
    return {
        kind: write_label_study(root / kind, gain, replicates=COUNT, lesions=400)
        for kind, gain in GAINS.items()
    }


@pytest.fixture(scope="module")
def starts(runs: dict[str, list[Path]]) -> list[dict[str, LabelScores]]:
    """Every start's runs by kind."""
    return [{kind: scores(paths[number]) for kind, paths in runs.items()} for number in range(COUNT)]


@pytest.fixture
def folder(runs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all of them are kept."""
    monkeypatch.setattr(keeping, "RESULTS", tmp_path)
    place = tmp_path / active.NAME
    for kind, paths in runs.items():
        for number, path in enumerate(paths):
            keep(path_of(place, number, kind), read_run(path), config_of(number, kind), number, kind)
    return place


def scores(path: Path) -> LabelScores:
    found = read_scores(read_run(path))
    assert found is not None
    return found


def config_of(number: int, kind: str) -> Config:
    return build.load(CONFIG, [f"data.split.train_sets.use=[{number}]", *active.RUNS[kind]])


def test_contrasts_are_differences_of_the_runs_curves(starts: list[dict[str, LabelScores]]) -> None:
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


def test_the_same_generator_twice_is_no_gain(starts: list[dict[str, LabelScores]]) -> None:
    study = read_study([start | {"saw": start["policy"]} for start in starts], draws=100)
    found = next(one for one in study.contrasts if one.name.startswith(SAW))
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
    assert "the unlabelled images is not shown to gain" in study.sentence()


def test_nothing_is_claimed_before_all_planned_starts_are_scored(
    starts: list[dict[str, LabelScores]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active_figures, "_shown", lambda contrast: True)
    study = read_study(starts, draws=20)
    assert f"{COUNT} of 5 planned starts" in study.sentence() and " gained" not in study.sentence()
    monkeypatch.setattr(active_figures, "STARTS", COUNT)
    assert f"Over {COUNT} starts" in study.sentence() and study.sentence().count(" gained") == 2


def test_what_is_kept_has_the_figures_of_the_runs(folder: Path, starts: list[dict[str, LabelScores]]) -> None:
    kept, made = read_study(read_kept(folder, active.RUNS), draws=100), read_study(starts, draws=100)
    assert kept.design == made.design and kept.curves.keys() == made.curves.keys()
    for name, curve in made.curves.items():
        assert kept.curves[name].value_RP == pytest.approx(curve.value_RP, abs=1e-4)
        assert kept.curves[name].drawn_RBP == pytest.approx(curve.drawn_RBP, abs=1e-3)
        assert kept.curves[name].asked_P.tolist() == curve.asked_P.tolist()
    assert kept.worth[0] is not None and made.worth[0] is not None
    assert kept.worth[0].value == pytest.approx(made.worth[0].value, rel=0.01)


def test_what_is_kept_is_collected_as_table_json_and_picture(folder: Path) -> None:
    active.collect(folder)
    found = json.loads((folder / "result.json").read_text())
    assert found["starts"] == COUNT and np.shape(found["curves"][QUERY]["auc_by_start"]) == (COUNT, 2)
    text = (folder / "table.md").read_text()
    assert "SIMULATED LABELS" in text and f"{QUERY} minus {RANDOM}" in text and f"| {SAW} |" in text
    assert (folder / "curves.png").stat().st_size > 10_000


def test_a_start_without_one_of_its_runs_is_left_out(folder: Path) -> None:
    path_of(folder, 2, "saw").unlink()
    assert len(read_kept(folder, active.RUNS)) == 2


def test_a_kept_run_is_played_again_by_no_config_and_refused_to_another(folder: Path) -> None:
    path, config = path_of(folder, 1, "margin"), config_of(1, "margin")
    assert is_kept(path, config) and not is_kept(path_of(folder, 7, "margin"), config)
    with pytest.raises(ConfigError, match=r"study_1_margin\.json: was made with another config: .*query"):
        is_kept(path, config_of(1, "policy"))


def test_starts_of_two_configs_make_no_study(folder: Path, runs: dict[str, list[Path]]) -> None:
    other = config_of(2, "policy").model_copy(update={"seed": 5})
    keep(path_of(folder, 2, "policy"), read_run(runs["policy"][2]), other, 2, "policy")
    with pytest.raises(ConfigError, match="start 2, policy: was made with another config: seed"):
        read_kept(folder, active.RUNS)


def test_runs_of_a_start_have_the_same_lesions(folder: Path, runs: dict[str, list[Path]]) -> None:
    keep(path_of(folder, 2, "saw"), read_run(runs["saw"][1]), config_of(2, "saw"), 2, "saw")
    with pytest.raises(DataError, match="start 2: its runs have different lesions"):
        read_kept(folder, active.RUNS)


def test_starts_are_scored_one_run_after_the_other_and_by_the_frozen_engine(
    runs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, played = tmp_path / "runs", []
    output.mkdir()

    def play(config: Config, name: str) -> None:
        played.append(name)
        kind = next(kind for kind in active.RUNS if f"-{kind}-" in name)
        (output / name).symlink_to(runs[kind][1])

    monkeypatch.setattr(active, "played", play)
    monkeypatch.setattr(active, "require_engine", lambda *arguments, **more: None)
    overrides = [f"output={output}"]
    kept_before = path_of(tmp_path, 1, "margin")
    keep(kept_before, read_run(runs["margin"][1]), config_of(1, "margin"), 1, "margin")
    files = active.score(CONFIG, 1, overrides, tmp_path, active.FROZEN)
    assert played == ["active_32-policy-1", "active_32-saw-1"]
    assert files == [path_of(tmp_path, 1, kind) for kind in active.RUNS] and all(map(Path.is_file, files))
    assert active.score(CONFIG, 1, overrides, tmp_path, active.FROZEN) == files and len(played) == 2
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="the starts are scored with the engine of commit 0000000"):
        active.score(CONFIG, 1, overrides, tmp_path, "0000000")


def test_nothing_to_collect_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no start is scored; run develop or run first"):
        active.collect(tmp_path)


def test_policies_and_runs_are_configs_of_the_study() -> None:
    tried = {name: build.load(CONFIG, [*active.DEVELOPING, *more]) for name, more in active.POLICIES.items()}
    assert {config.data.split.seal for config in tried.values()} == {"test"}
    assert tried["margin"].policy.query == {"name": "margin"}, "whatever was chosen for the study"
    assert len({json.dumps(config.policy.query) for config in tried.values()}) == len(active.POLICIES)
    kinds = {kind: build.load(CONFIG, more) for kind, more in active.RUNS.items()}
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
