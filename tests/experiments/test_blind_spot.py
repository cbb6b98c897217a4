"""The controls of a planted blind spot: figures worked out by hand, verdicts, files, and two small whole runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from engine import build
from engine.arms import START
from engine.config import BlindSpotConfig
from engine.errors import ConfigError
from engine.history import Fit
from engine.parts.dataset import open_dataset
from engine.pipeline import arms, hard_cases
from engine.pipeline.foundation import lay_data
from engine.store.files import read_json, write_json
from experiments import blind_spot
from experiments.lib import controls
from experiments.lib.keeping import EXPERIMENTS, public_config
from experiments.lib.subtype_figures import FIGURES, found, hidden_lesions
from tests.integration.tiny import tiny_tree

CONFIG = EXPERIMENTS / "configs" / "blind_spot_32.yaml"


def kept(seed: int, control: str = "positive", gain: float = 0.1, **changes: Any) -> dict[str, Any]:
    """What ``run`` keeps of a seed: 6 of 20 mined lesions are of the subtype, 10 of the 100 they were mined from."""
    counts = {"generated": 40, "generated_subtype": 16, "accepted": 20, "accepted_subtype": 8}
    arms = {"real": 0.5, "random": 0.5 + 0.001 * seed, "hard": 0.5 + 0.001 * seed + gain}
    return {
        "control": control, "seed": seed, "seconds": 1.0, "date": "2026-11-29", "commit": "c", "machine": "m",
        "config": {"name": "small"}, "lesions": {"train": 3, "test": 7},
        "found": {"hard": {"all": 20, "class": 8, "subtype": 6}, "data": {"all": 100, "class": 40, "subtype": 10}},
        "made": {"hard": counts, "random": {**counts, "accepted_subtype": 2 + seed % 2}},
        "figures": {arm: dict.fromkeys(FIGURES, value) for arm, value in arms.items()},
        **changes,
    }  # fmt: skip


def test_enrichment_is_share_among_the_mined_over_share_in_the_data() -> None:
    assert controls.enrichment(kept(0), "all") == pytest.approx((6 / 20) / (10 / 100))
    assert controls.enrichment(kept(0), "class") == pytest.approx((6 / 8) / (10 / 40))
    nothing = {"hard": {"all": 0, "class": 0, "subtype": 0}, "data": {"all": 100, "class": 40, "subtype": 10}}
    assert controls.enrichment(kept(0, found=nothing), "all") == 0.0


def test_share_of_images_with_a_hidden_parent() -> None:
    assert controls.share(kept(0), "hard", "accepted") == pytest.approx(0.4)
    assert controls.share(kept(1), "random", "accepted") == pytest.approx(0.15)
    none = dict.fromkeys(("generated", "generated_subtype", "accepted", "accepted_subtype"), 0)
    assert controls.share(kept(0, made={"hard": none}), "hard", "accepted") == 0.0


def test_intervals_over_seeds_follow_students_t() -> None:
    found = controls.over_seeds(np.array([1.0, 2.0, 3.0]))
    half = 4.302652729911275 / np.sqrt(3)  # t(0.975, 2) times s / sqrt(3), s = 1
    assert (found["value"], found["above"]) == (pytest.approx(2.0), 3)
    assert (found["low"], found["high"]) == (pytest.approx(2.0 - half), pytest.approx(2.0 + half))
    wide = 6.205346816570705 / np.sqrt(3)  # t(0.9875, 2)
    assert found["adjusted"]["high"] == pytest.approx(2.0 + wide)
    assert (found["bootstrap"]["low"], found["bootstrap"]["high"]) == (1.0, 3.0)


def test_a_gain_with_more_of_the_subtype_is_a_positive_control_that_came_out_right() -> None:
    found = controls.summary([kept(seed) for seed in range(10)])
    assert found["made"]["accepted"]["hard minus random"]["value"] == pytest.approx(0.4 - (0.1 + 0.15) / 2)
    assert found["hard_minus"]["random"]["malignant.auc"]["value"] == pytest.approx(0.1)
    same = controls.summary([kept(seed, "negative", 0.01 * (-1) ** seed) for seed in range(10)])
    answer = controls.verdict(found, same)
    assert answer["positive"] == {"found": True, "made more": True, "won": True, "right": True, "seeds": 10}
    assert answer["negative"] == {"right": True, "seeds": 10}
    assert answer["sentence"] == (
        "The positive control came out right (10 seeds) and the negative control came out right (10 seeds)."
    )


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"gain": -0.1}, "won"),
        ({"found": {"hard": {"all": 20, "class": 8, "subtype": 2}, "data": kept(0)["found"]["data"]}}, "found"),
        ({"made": {arm: kept(0)["made"]["random"] for arm in ("hard", "random")}}, "made more"),
    ],
)  # fmt: skip
def test_each_link_of_the_positive_control_can_break(changes: dict[str, Any], lost: str) -> None:
    answer = controls.verdict(controls.summary([kept(seed, **changes) for seed in range(10)]), None)
    checks = answer["positive"]
    assert [name for name in ("found", "made more", "won") if not checks[name]] == [lost]
    assert not checks["right"]
    assert "positive control came out wrong (10 seeds); preliminary" in answer["sentence"]


def test_a_gain_without_a_blind_spot_breaks_the_negative_control() -> None:
    answer = controls.verdict(None, controls.summary([kept(seed, "negative") for seed in range(10)]))
    assert not answer["negative"]["right"]


def test_collect_counts_no_seed_for_development_and_one_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no two seeds of a control; run them first"):
        blind_spot.collect(tmp_path)
    for control, gain in (("positive", 0.1), ("negative", 0.0)):
        for seed in (0, 1, 100):
            write_json(tmp_path / f"{control}_{seed:03d}.json", kept(seed, control, gain))
    blind_spot.collect(tmp_path)
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["seeds"] == {"positive": [0, 1], "negative": [0, 1]}
    assert found["verdict"]["sentence"].endswith("; preliminary.")
    assert (tmp_path / "controls.png").stat().st_size > 10_000
    table = (tmp_path / "table.md").read_text()
    assert found["verdict"]["sentence"] in table
    assert "| random | +10.0 (+10.0 to +10.0; 2) |" in table
    write_json(tmp_path / "positive_002.json", kept(2, config={"name": "small", "seed": 7}))
    with pytest.raises(ConfigError, match="positive control, seed 2: was made with another config: seed"):
        blind_spot.collect(tmp_path)


def test_the_negative_control_differs_in_its_blind_spot_alone() -> None:
    positive, negative = (blind_spot.of_seed(CONFIG, [], control, 4) for control in blind_spot.CONTROLS)
    assert (positive.seed, positive.loop.seed, positive.name) == (4, 4, "blind_spot_32-positive-4")
    assert negative.data.phantom.blind_spot is None
    trees = [public_config(config) for config in (positive, negative)]
    for tree in trees:
        tree["name"] = tree["data"]["phantom"]["blind_spot"] = None
    assert trees[0] == trees[1]


def test_a_config_without_a_blind_spot_or_an_arm_to_compare_with_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"loop\.arms lacks random, which `hard` is compared with; add it"):
        blind_spot.planted(CONFIG, ["loop.arms=[real, hard]"])
    with pytest.raises(ConfigError, match=r"blind_spot_32\.yaml: data\.phantom\.blind_spot is null; set it"):
        blind_spot.planted(CONFIG, ["data.phantom.blind_spot=null"])


def test_a_kept_seed_is_not_run_again_and_not_mixed_with_another_config(tmp_path: Path) -> None:
    path = tmp_path / "positive_003.json"
    write_json(path, {"config": public_config(blind_spot.planted(CONFIG, [])[0])})
    before = path.read_bytes()
    assert blind_spot.run(CONFIG, [], "positive", 3, tmp_path) == path
    assert path.read_bytes() == before
    with pytest.raises(ConfigError, match=r"positive_003\.json: was made with another config: loop\.budget"):
        blind_spot.run(CONFIG, ["loop.budget=3"], "positive", 3, tmp_path)


def small(output: Path, path: Path) -> Path:
    """Write the smallest config that shows a blind spot: 140 easy phantoms of 16 px, half of the melanomas hidden."""
    spot = {"share": 0.5, "difficulty": 0.9}
    tree = tiny_tree(
        str(output),
        name="blind_spot",
        data={
            "phantom": {"lesions": 140, "views": 1, "imbalance": 0.0, "difficulty": 0.0, "blind_spot": spot},
            "split": {"train": 0.3, "mine": 0.4, "val": 0.1, "test": 0.2},
        },
        classifier={"model": "test_resnet", "small_stem": False, "steps": 80, "batch_size": 32, "lr": 3e-3},
        loop={"rounds": 1, "budget": 40, "arms": ["real", "random", "hard"]},
        policy={"mining": {"name": "misclassified"}},
    )
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@pytest.mark.slow
def test_hard_finds_the_planted_subtype_and_makes_more_of_it(output: Path, tmp_path: Path) -> None:
    path = small(output, tmp_path / "small.yaml")
    found = read_json(blind_spot.run(path, [], "positive", 0, tmp_path))
    assert controls.enrichment(found, "all") > 1.0
    data = found["found"]["data"]
    assert controls.share(found, "hard", "accepted") > data["subtype"] / data["all"]
    assert found["made"]["random"]["accepted"] == found["made"]["hard"]["accepted"] == 40
    assert set(found["figures"]["hard"]) == set(FIGURES)
    assert found["seeds"] == {"foundation": 0, "loop": 0}


@pytest.mark.slow
def test_without_the_blind_spot_there_is_none_to_find(output: Path, tmp_path: Path) -> None:
    config = blind_spot.of_seed(small(output, tmp_path / "small.yaml"), [], "negative", 0)
    wiring = build.wire(config, track=False)
    pipeline = wiring.loop(page=False).pipeline
    lay_data(pipeline)
    pool = arms.pool(pipeline, 0, START, {}, {})
    task = Fit(round=0, arm=START, pool=pool, steps=config.classifier.steps, fits=[0])
    classifier = arms.fit(pipeline, task, 0, None)
    hard_cases.mine(pipeline, 1, classifier, arms.predict(pipeline, 0, START, classifier), [])
    dataset = open_dataset(*(pipeline.stages[name].path for name in ("images", "split")))
    hidden = hidden_lesions(dataset.table.image_id, config, BlindSpotConfig(share=0.5, difficulty=0.9))
    counts = {"found": found(wiring.folder, dataset, hidden)}
    assert counts["found"]["data"]["subtype"] > 0
    assert controls.enrichment(counts, "all") <= 1.0
