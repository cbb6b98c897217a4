"""Two runs that differ in their labels alone: what is made again, what is not, and what the pools hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine import build
from engine.artifacts import accept, pool, synthetic
from engine.parts.soft_labels import SoftLabels
from engine.store import RunFolder
from tests.integration.tiny import SOFT, labels_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(output: Path, soft_run: Path) -> dict[str, RunFolder]:
    """Two rounds, hard cases mined out of fold, with hard labels and soft; ``softer`` (one round) flattens more."""
    softer = labels_config(str(output), "labels_softer", rounds=1, **SOFT | {"label_temperature": 3.0})
    return {
        "hard": build.run(labels_config(str(output), "labels_hard"))[0],
        "soft": RunFolder.open(soft_run),
        "softer": build.run(softer)[0],
    }


def probabilities(run: RunFolder, number: int, arm: str) -> np.ndarray:
    table = run.arm_folder(number, arm) / "predictions.parquet"
    return np.asarray(pd.read_parquet(table).filter(like="p_").to_numpy())


def test_another_label_makes_no_image_of_the_first_round_again(runs: dict[str, RunFolder]) -> None:
    for role in ("hard/crossfit", "hard/synthesize", "random/synthesize", "hard/accept"):
        keys = {run.stage(f"rounds/0001/{role}").key for run in runs.values()}
        assert len(keys) == 1, role
    assert len({runs[name].stage("rounds/0002/hard/crossfit").key for name in ("hard", "soft")}) == 2
    assert len({run.stage("rounds/0001/hard/classifier").key for run in runs.values()}) == 3


def test_labels_change_the_arms_that_have_soft_ones_and_no_other(runs: dict[str, RunFolder]) -> None:
    for arm in ("real", "classical"):
        assert (probabilities(runs["hard"], 1, arm) == probabilities(runs["soft"], 1, arm)).all()
    for arm in ("random", "hard"):
        for one, other in (("hard", "soft"), ("soft", "softer")):
            assert (probabilities(runs[one], 1, arm) != probabilities(runs[other], 1, arm)).any()
    for run in runs.values():
        assert (probabilities(run, 1, "distilled") != probabilities(run, 1, "classical")).any()


def test_a_pool_s_labels_are_those_of_the_published_judgement(runs: dict[str, RunFolder]) -> None:
    run = runs["soft"]
    found = pool.read(run.stage("rounds/0002/hard/pool").path)
    facts = pool.read_facts(run.stage("rounds/0002/hard/pool").path)
    how = SoftLabels(temperature=1.5, share=0.25, weight=0.5)
    expected = []
    for number in (1, 2):
        folder = run.path / "rounds" / f"{number:04d}"
        table = synthetic.read(folder)
        table = table.take(table.accepted_S)
        classes = accept.read(folder).classes
        assert classes == facts.classes
        label_S = np.array([classes.index(str(dx)) for dx in table.samples.label_S])
        expected.append(how.labels(synthetic.read_judge_prob(folder, len(classes))[: len(table)], label_S))
    assert found.label_NC is not None and found.weight_N is not None
    assert found.label_NC[found.soft_N].tolist() == np.concatenate(expected).tolist()
    assert (found.origin[found.soft_N] == "synthetic").all()
    assert found.weight_N.tolist() == np.where(found.soft_N, 0.5, 1.0).tolist()
    assert set(pool.read(runs["hard"].stage("rounds/0002/hard/pool").path).soft_N) == {False}
