"""Run folders of a study with simulated predictions: arms that truly help, hurt or do nothing, over several replicates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.config import Config, dump_yaml
from engine.evaluation.operating_points import specificity_thresholds
from engine.evaluation.scoring import ScoredSplit, malignant_score, score_split
from engine.evaluation.subgroups import subgroup_figures
from engine.types import strings

CLASSES = ("bcc", "bkl", "mel", "nv")
MALIGNANT = ("mel", "bcc")
ARMS = ("real", "classical", "mined", "retrieved", "random", "hard")
SKILL = 1.2
SECONDS = {"classifier": 60.0, "predict": 4.0, "evaluate": 1.0}


def write_study(
    root: Path,
    *,
    replicates: int = 6,
    gain: Mapping[str, float] | None = None,
    inflate: Mapping[str, float] | None = None,
    protocol: str = "safe",
    folds: bool = False,
    arms: Sequence[str] = ARMS,
    lesions: int = 900,
    seed: int = 0,
    primary: Sequence[str] = ("malignant.sensitivity",),
    classifier_seeds: int = 1,
    accepted: int = 120,
    data: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write one run folder a replicate and return them.

    Args:
        root: where to.
        replicates: training sets that share val and test, or folds.
        gain: what is added to the skill of an arm (the others have SKILL).
        inflate: what is added to an arm's malignant logits on test alone: specificity falls, sensitivity rises.
        protocol: of report.json.
        folds: cross-validation instead of one shared test part.
        arms: arms trained in the last round.
        lesions: lesions of the whole data set.
        seed: of everything drawn.
        primary: evaluation.primary of their configs.
        classifier_seeds: classifiers of each arm, the further ones in folders of their own.
        accepted: synthetic images of hard and random; with 0 all arms have one pool.
        data: further keys of section data of their configs.
    """
    rng = np.random.default_rng(seed)
    table = _lesions(lesions, rng)
    looks = _looks(table, rng)
    paths = []
    for number in range(replicates):
        path = root / f"run_{number}"
        path.mkdir(parents=True)
        split = table.assign(
            split=_folds(table, number, replicates) if folds else _shared(table, number, replicates)
        )
        split = split[split["split"] != ""]
        split.to_parquet(path / "split.parquet", index=False)
        entries = []
        common = rng.normal(0, 0.05)
        for arm in arms:
            skill = SKILL + common + rng.normal(0, 0.03) + (gain or {}).get(arm, 0.0)
            prob = _predict(split, skill, looks[split.index], (inflate or {}).get(arm, 0.0), rng)
            folder = path / "rounds" / "0001" / ("." if arm == "hard" else f"arms/{arm}")
            folder.mkdir(parents=True, exist_ok=True)
            columns = {f"p_{dx}": prob[:, c] for c, dx in enumerate(CLASSES)}
            split[["image_id", "split", "dx"]].assign(**columns).to_parquet(folder / "predictions.parquet")
            entries.append(entry(arm, split, prob, accepted))
            for further in range(1, classifier_seeds):
                _write_seed(folder / f"seed_{further}", split, skill, looks[split.index], rng)
        _write_synthetic(path / "rounds" / "0001")
        write_json(
            path,
            protocol,
            entries,
            arms,
            {
                "data": data or {},
                "loop": {"seed": number} if not folds else {},
                "evaluation": {"primary": list(primary)},
            },
        )
        paths.append(path)
    return paths  # fmt: skip


def write_json(
    path: Path,
    protocol: str,
    entries: Sequence[Mapping[str, Any]],
    arms: Sequence[str],
    changes: Mapping[str, Mapping[str, Any]],
) -> None:
    tree: dict[str, dict[str, Any]] = {
        "data": {"malignant": list(MALIGNANT), **changes.get("data", {})},
        "loop": {"rounds": 1, "arms": list(arms), **changes.get("loop", {})},
        "evaluation": {"bootstrap": 300, **changes.get("evaluation", {})},
    }
    (path / "config.yaml").write_text(dump_yaml(Config(name=path.name, **tree)))  # type: ignore[arg-type]
    (path / "stages.json").write_text("{}")
    report = {
        "schema_version": 2, "name": path.name, "protocol": protocol, "split_digest": "5f3a" * 8,
        "config_digest": "90ab" * 4, "data": {"format": "phantom", "n_lesions": 900, "grouped_by": "lesion"},
        "stopping": {"action": "stop", "reason": "round 1 of 1 is done"}, "champion": None,
        "foundation_seconds": {"vae": 300.0, "denoiser": 600.0}, "rounds": list(entries),
    }  # fmt: skip
    (path / "report.json").write_text(json.dumps(report, allow_nan=False))


def _write_seed(
    folder: Path, split: pd.DataFrame, skill: float, looks: np.ndarray, rng: np.random.Generator
) -> None:
    """Predictions of one further classifier seed: the same skill, other errors."""
    folder.mkdir()
    prob = _predict(split, skill + rng.normal(0, 0.03), looks, 0.0, rng)
    columns = {f"p_{dx}": prob[:, c] for c, dx in enumerate(CLASSES)}
    split[["image_id", "split", "dx"]].assign(**columns).to_parquet(folder / "predictions.parquet")


def entry(arm: str, split: pd.DataFrame, prob: np.ndarray, accepted: int = 120) -> dict[str, Any]:
    """report.json's object of one arm, with figures of val and test."""
    columns = [CLASSES.index(dx) for dx in MALIGNANT]
    label = np.array([CLASSES.index(dx) for dx in split["dx"]])
    val = (split["split"] == "val").to_numpy()
    score, truth = malignant_score(prob, columns), np.isin(label, columns)
    threshold = float(specificity_thresholds(np.ones((1, val.sum())), score[val], truth[val], 0.9)[0])
    figures = {}
    for part in ("val", "test"):
        rows = (split["split"] == part).to_numpy()
        scored = ScoredSplit(
            prob_NC=prob[rows],
            label_N=label[rows],
            lesion_id=strings(split["lesion_id"][rows].tolist()),
            group_N=strings(split["lesion_id"][rows].tolist()),
            classes=CLASSES,
            malignant=MALIGNANT,
            threshold=threshold,
        )
        figures[part] = score_split(scored, draws=20, rng=np.random.default_rng(0))
        if part == "test":
            figures[part] |= _groups(scored, figures[part])
    made = {"mine": 0.2, "condition": 1.0, "synthesize": 92.5, "accept": 6.0}
    return {
        "round": 1, "arm": arm, "generator_saw": "own", **figures, "n_real": int((split["split"] == "train").sum()),
        "n_generated": 200 if arm in ("hard", "random") else 0,
        "n_accepted": accepted if arm in ("hard", "random") else 0,
        "acceptance_rate": accepted / 200 if arm in ("hard", "random") else None, "optimizer_steps": 900,
        "seconds": SECONDS | (made if arm in ("hard", "random") else {}), "p_value_vs_round0": 0.2,
        "digests": {"classifier": "c1" * 8, "pool": f"pool of {arm}"},
        "pool": {"arm": arm, "added": {"mel": 0 if arm == "real" else accepted}},
    }  # fmt: skip


def _groups(scored: ScoredSplit, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Subgroups by a made-up sex, and the figures of the whole part in the place of challenging lesions and the rest."""
    sex = strings([("female", "male")[int(lesion[1:]) % 2] for lesion in scored.lesion_id])
    columns = {"sex": sex, "skin_type": strings([""] * len(sex))}
    part = {key: figures[key] for key in ("n", "n_lesions", "accuracy", "balanced_accuracy", "malignant")}
    groups = subgroup_figures([scored], columns, draws=20, rng=np.random.default_rng(0))
    return {"subgroups": groups, "challenging": part, "rest": part}


def _write_synthetic(folder: Path) -> None:
    """Ten images: six accepted, four rejected by the judge, one copy."""
    accepted = [True] * 6 + [False] * 4
    names = [f"s{number}" for number in range(10)]
    frame = {
        "sample_id": names,
        "dx": ["mel", "bcc"] * 5,
        "file": [f"synthetic/{name}.png" for name in names],
        "accepted": accepted,
        "reasons": ["" if a else "judge: 0.1" for a in accepted],
        "judge_p": 0.5,
        "nearest_train_distance": 0.1,
    }
    pd.DataFrame({"parent_image_id": "I00000_0", **frame}).to_parquet(folder / "synthetic.parquet")
    accept = {
        "memorized": {"count": 1, "rate": 0.1, "threshold": 0.01, "percentile": 1},
        "per_class": {dx: {"generated": 5, "accepted": 3} for dx in ("mel", "bcc")},
    }
    (folder / "accept.json").write_text(json.dumps(accept))


def _lesions(count: int, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for lesion in range(count):
        dx = CLASSES[rng.choice(4, p=(0.15, 0.2, 0.2, 0.45))]
        rows += [(f"I{lesion:05d}_{v}", f"L{lesion:05d}", dx) for v in range(int(rng.integers(1, 4)))]
    return pd.DataFrame(rows, columns=["image_id", "lesion_id", "dx"])


def _shared(table: pd.DataFrame, number: int, replicates: int) -> np.ndarray:
    """Val is a fifth, test two fifths, the rest disjoint training sets."""
    lesion = table["lesion_id"].str[1:].astype(int)
    place, own = lesion % 10, (lesion // 10) % replicates
    return np.select([place < 2, place < 6, own == number], ["val", "test", "train"], "")


def _folds(table: pd.DataFrame, number: int, folds: int) -> np.ndarray:
    """Test is one fold, val the next, train the rest."""
    fold = table["lesion_id"].str[1:].astype(int) % folds
    return np.select([fold == number, fold == (number + 1) % folds], ["test", "val"], "train")


def _looks(table: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """What a lesion and its photograph look like to every arm alike: most of what makes a case hard."""
    lesion = np.unique(table["lesion_id"], return_inverse=True)[1]
    shared = rng.normal(0, 0.7, (lesion.max() + 1, len(CLASSES)))[lesion]
    return np.asarray(shared + rng.normal(0, 0.4, shared.shape))


def _predict(
    split: pd.DataFrame, skill: float, looks: np.ndarray, inflate: float, rng: np.random.Generator
) -> np.ndarray:
    label = np.array([CLASSES.index(dx) for dx in split["dx"]])
    logits = looks + rng.normal(0, 0.15, looks.shape) + skill * np.eye(len(CLASSES))[label]
    shift = np.isin(CLASSES, MALIGNANT)[None] & (split["split"] == "test").to_numpy()[:, None]
    logits = 1.5 * (logits + inflate * shift)
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))
