"""The cache key of every stage of every shipped config, and of variants that reach what no shipped config does."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine import build
from engine.config import Config, parse_config
from engine.execution.progress import QuietListener
from engine.loop import Loop
from engine.store import RunFolder
from engine.tracking.base import NullTracker
from policies import registry
from tests.paper_backend import VariedBackend

FILE = Path(__file__).with_name("cache_keys.json")
CONFIGS = {
    path.stem: path for path in sorted((Path(__file__).parents[2] / "experiments/configs").glob("*.yaml"))
}
REMEDY = (
    "a key changes only when a stage's version or what it reads is changed on purpose: "
    "run `python -m tests.golden.write` and say why in CHANGELOG.md"
)

MOST = [
    "plain", "real", "classical", "distilled", "mined", "retrieved", "random", "unguided", "dcgan", "hard", "all_real",
]  # fmt: skip
BUYERS = ["real", "hard", "queried", "queried_random", "hard_and_queried"]
SOURCES = ["real", "random", "dcgan", "hard"]
NO_MINE: dict[str, Any] = {"train": 0.5, "mine": 0.0, "val": 0.1, "test": 0.4}
SETS: dict[str, Any] = {**NO_MINE, "train_sets": {"count": 3, "images": 8, "use": [0, 1]}}
SCRATCH = {"round_init": "scratch"}
MIX = {"share": 0.25, "finish_on_real": 5, "split_batchnorm": True}

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "defaults": {},
    "arms_every_round": {"loop": {"arms": MOST}},
    "arms_last_round": {"loop": {"arms": MOST, "rounds": 3, "compare": "last_round"}},
    "scratch_every_round": {"loop": {"arms": [*MOST, "synthetic"]}, "classifier": SCRATCH},
    "scratch_last_round": {
        "loop": {"arms": [*MOST, "synthetic"], "rounds": 3, "compare": "last_round"},
        "classifier": SCRATCH,
    },
    "crossfit": {
        "loop": {"mine_from": "crossfit", "crossfit_folds": 4, "rounds": 3},
        "data": {"split": NO_MINE},
    },
    "crossfit_mixed": {
        "loop": {"mine_from": "crossfit", "arms": ["real", "classical", "random", "hard"]},
        "data": {"split": NO_MINE},
        "classifier": {"mix": MIX},
    },
    "student": {"denoiser": {"distill": {"steps": 2}}, "synthesis": {"strength": 0.5}},
    "mined_from_test": {"loop": {"mine_from": "test"}},
    "sets_generator_saw_own": {
        "loop": {"arms": [*SOURCES, "retrieved"], "mine_from": "crossfit", "generator_saw": "own"},
        "data": {"split": SETS},
    },
    "sets_generator_saw_train": {
        "loop": {"arms": [*SOURCES, "retrieved"], "mine_from": "crossfit", "generator_saw": "train"},
        "data": {"split": SETS},
    },
    "generator_dcgan": {"synthesis": {"generator": "dcgan"}, "loop": {"arms": ["real", "random", "hard"]}},
    "generator_classical": {"synthesis": {"generator": "classical"}, "loop": {"arms": SOURCES}},
    "generator_retrieved": {
        "synthesis": {"generator": "retrieved"},
        "policy": {"acceptance": {"name": "label_consistent"}},
    },
    "guided_by_classifier": {"synthesis": {"adversarial_scale": 2.0}, "loop": {"arms": SOURCES}},
    "guided_by_judge": {"synthesis": {"classifier_scale": 1.5}, "loop": {"arms": SOURCES}},
    "guided_by_both": {
        "synthesis": {"classifier_scale": 1.5, "adversarial_scale": 2.0},
        "loop": {"arms": SOURCES},
    },
    "pixels_with_likelihood": {
        "vae": {"kind": "identity", "downsample": 1},
        "evaluation": {"likelihood": 32},
    },
    "mix": {"classifier": {"mix": MIX}, "loop": {"arms": ["real", "classical", "random", "hard"]}},
    "max_synthetic": {"loop": {"arms": SOURCES, "rounds": 3, "max_synthetic": 9, "max_synthetic_ratio": 1.5}},
    "mining_bald": {"policy": {"mining": {"name": "bald"}}},
    "mining_committee": {"policy": {"mining": {"name": "committee"}}},
    "other_policies": {
        "policy": {
            "mining": {"name": "medium_hard", "top_k": 50},
            "budget": {"name": "bandit"},
            "mixing": {"name": "k_center"},
            "acceptance": {"name": "in_distribution"},
        },
        "loop": {"rounds": 3},
    },
    "reviewed": {"policy": {"acceptance": {"name": "reviewed"}}, "loop": {"arms": SOURCES}},
    "stops_early": {
        "policy": {"stopping": {"name": "patience", "rounds": 1, "min_delta": 1.0}},
        "loop": {"arms": ["real", "random", "hard"], "rounds": 4, "compare": "last_round"},
    },
    "labels_bought": {
        "loop": {"arms": BUYERS, "rounds": 3, "labels_from": "oracle", "generator_saw": "unlabelled"},
        "data": {"split": {"hide_labels": 0.5}},
        "policy": {"query": {"name": "committee"}},
    },
    "limited": {"data": {"limit": 100}},
    "limited_files": {"data": {"format": "ham10000", "root": "ham10000", "limit": 100}, "seed": 3},
    "files": {
        "data": {"format": "ham10000", "root": "ham10000", "crop": "bbox", "mask": "otsu", "malignant": []},
        "seed": 3,
    },
    "folds_sealed": {"data": {"split": {"folds": {"count": 4, "use": 2}, "seal": "test"}}},
    "no_melanoma": {"evaluation": {"melanoma": None}},
    "features_judge": {"evaluation": {"features": "judge"}},
    "features_inception": {"evaluation": {"features": "inception", "inception": "inception.pth"}},
    "seeds": {"seed": 3, "loop": {"seed": 2}},
    "round_lr": {"classifier": {"round_lr": 1e-4}},
    "half_precision": {"backend": {"precision": "fp16", "threads": 1}},
}
"""Overrides of the schema's defaults, which are a run on phantoms."""


def named() -> list[str]:
    """Return the names of all shipped configs and variants."""
    return [*CONFIGS, *VARIANTS]


def keys_of(name: str, output: Path) -> dict[str, str]:
    """Play config or variant ``name`` without computing anything; returns {role: <stage>-<key>}, sorted.

    Runs may share ``output``: what the backend writes depends on a stage's key alone.
    """
    config = _config(name, output)
    folder = RunFolder.create(config)
    for _ in range(1 + config.loop.rounds * len(config.loop.arms)):
        report = _loop(config, folder).play()
        if report["stopping"]["action"] != "review":
            break
        _review(folder.path)
    return dict(sorted(folder.roles.items()))


def differences(pinned: Mapping[str, Mapping[str, str]], found: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a line for each role of each found config whose key is another than the pinned one."""
    return list(_differences(pinned, found))


def _differences(
    pinned: Mapping[str, Mapping[str, str]], found: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    for config, roles in found.items():
        before = pinned.get(config, {})
        for role in sorted(before.keys() | roles.keys()):
            old, new = before.get(role, "none"), roles.get(role, "none")
            if old != new:
                yield f"{config}: {role}: {old} was pinned, now {new}"


def _config(name: str, output: Path) -> Config:
    if name in CONFIGS:
        return build.load(CONFIGS[name], [f"name={name}", f"output={output}"])
    tree = {**VARIANTS[name], "name": name, "output": str(output)}
    return parse_config(tree, check_policy=registry.check)


def _loop(config: Config, folder: RunFolder) -> Loop:
    return Loop(
        config,
        runner=build.make_runner(config, folder.cache_root, VariedBackend(), "cpu", QuietListener()),
        folder=folder,
        tracker=NullTracker(),
        stopping=registry.make("stopping", config.policy.stopping),
        fingerprint="pinned",
    )


def _review(run: Path) -> None:
    """Fill in every review.csv of the run: accept and reject in turns, the last image left open."""
    for path in run.glob("rounds/**/review.csv"):
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        for number, row in enumerate(rows[:-1]):
            row["verdict"] = ("accept", "reject")[number % 2]
        with path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
