"""Measures the run's preset against the paper's, in seconds and in distance to real images (part speed of fidelity).

Both presets, and a twin (a fast solver of DDIM's equation: from the same noise nearly the same images), sample the same
parents, in turns, because machines are noisy. Seconds count only in turns in which one call made all three. Finished
pieces lie beside the run; a rerun goes on. Every class has the same number of samples, as in a run's class-balanced budget.
The difference is also read class by class, and at the train images' class shares: what holds for the mix need not hold for
its parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.artifacts import conditioning
from engine.config import SynthesisConfig
from engine.evaluation.fidelity.figures import ImageSet, class_weights, kid_difference
from engine.types import strings
from experiments.lib.bench import MADE, Bench
from experiments.lib.keeping import read_result
from experiments.lib.sample_sets import made_set, real_set

DRAWS = 1000
MANY_DRAWS = 10_000
"""For the one interval that is held against a bound: its end should not depend on the bootstrap's own chance."""
PIECE = 96
"""Samples after which the two presets change turns."""
PAPER = {"sampler": "ddim", "steps": 150, "batch_size": 8, "strength": 1.0, "guidance_interval": (0.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One piece of a draw of parents, sampled by each of ``names`` before the next turn begins."""

    number: int
    draw: int
    condition: Path
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is sampled: the synthesis settings of each preset, and the turns over the draws of parents.

    The first ``both`` draws have the paper's images too, further ones only those of the run's preset and the twin.
    """

    presets: Mapping[str, Mapping[str, Any]]
    draws: tuple[Path, ...]
    both: int
    turns: tuple[Turn, ...]


def speed(
    bench: Bench, count: int, more: int = 0, twins: int = 0, changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Compare the run's preset with the paper's; finished pieces lie beside the run, a rerun goes on.

    ``more`` images come from a second draw of parents: what the first draw left open is narrowed, its pieces are kept.
    ``twins`` is how many further draws of ``count`` the run's preset and the twin have without the paper's, which is slow.
    ``changes`` are settings of ``synthesis`` that the preset compared has instead of the run's.
    """
    plan = planned(bench, count, more, twins, changes)
    made: dict[str, list[list[Path]]] = {name: [[] for _ in plan.draws] for name in plan.presets}
    seconds: dict[str, list[float]] = {name: [] for name in plan.presets}
    nfe: dict[str, float] = {}
    timed = 0
    for turn in plan.turns:
        took, calls = {}, set()
        for name, (folder, spent, info) in sample(bench, plan, turn):
            made[name][turn.draw].append(folder)
            took[name] = spent
            calls.add(read_result(folder / MADE).get("call"))
            nfe[name] = info["nfe"]
        if took.keys() == plan.presets.keys() and len(calls) == 1 and None not in calls:
            timed += len(conditioning.read_samples(turn.condition))
            for name, spent in took.items():
                seconds[name].append(spent)
    sets: dict[str, ImageSet] = {}
    found: dict[str, Any] = {}
    for name, settings in plan.presets.items():
        joined = [bench.join(folders) for folders in made[name] if folders]
        pairs = list(zip(plan.draws, joined, strict=False))
        sets[name] = together([made_set(bench, condition, images) for condition, images in pairs])
        figures = [look(bench, condition, images) for condition, images in pairs[: plan.both]]
        share = [entry["n"] for entry in figures]
        found[name] = {
            "settings": settings,
            "nfe": nfe[name],
            "seconds": sum(seconds[name]),
            "images_per_second": timed / sum(seconds[name]) if timed else None,
            "kid": float(np.average([entry["kid"]["value"] for entry in figures], weights=share)),
            "agreement": float(np.average([entry["agreement"] for entry in figures], weights=share)),
            "by_draw_of_parents": figures,
        }
    return {
        "n": len(sets["paper"]),
        "n_timed": timed,
        **found,
        **compared(real_set(bench), sets, seconds, found["paper"]["kid"]),
    }


def sample_ahead(
    bench: Bench, count: int, more: int = 0, twins: int = 0, changes: Mapping[str, Any] | None = None
) -> None:
    """Sample the same turns from the last one on, measure nothing: a process on another core, beside ``speed``."""
    plan = planned(bench, count, more, twins, changes)
    for turn in reversed(plan.turns):
        for _ in sample(bench, plan, turn):
            pass


def planned(bench: Bench, count: int, more: int, twins: int, changes: Mapping[str, Any] | None) -> Plan:
    """Draw the parents, and lay out presets and turns (``speed`` says what the arguments mean)."""
    classes = bench.dataset.classes
    sizes = [count, *([more] if more else []), *([count] * twins)]
    draws = tuple(
        bench.condition(dict.fromkeys(classes, -(-size // len(classes))), seed=seed)
        for seed, size in enumerate(sizes)
    )
    scale = bench.config.synthesis.guidance_scale
    paper = {**PAPER, "guidance_scale": scale, "lesion_guidance_scale": scale}
    twin = {"sampler": "dpmpp", **differing(bench.config.synthesis, paper, ("strength", "guidance_interval"))}
    presets = {"paper": paper, "ours": dict(changes or {}), "twin": twin}
    both = len(draws) - twins
    pieces = [(draw, piece) for draw, condition in enumerate(draws) for piece in bench.cut(condition, PIECE)]
    turns = tuple(
        Turn(
            number=number,
            draw=draw,
            condition=piece,
            names=tuple(name for name in presets if name != "paper" or draw < both),
        )
        for number, (draw, piece) in enumerate(pieces)
    )
    return Plan(presets=presets, draws=draws, both=both, turns=turns)


def sample(bench: Bench, plan: Plan, turn: Turn) -> Iterator[tuple[str, tuple[Path, float, dict[str, Any]]]]:
    """Sample a turn's piece with one preset after the other (machines are noisy); finished pieces are read."""
    place = bench.run.path.parent / f".speed-{bench.run.path.name}"
    for name in turn.names:
        kept = place / f"{turn.number:03d}-{name}"
        yield name, bench.synthesize_kept(turn.condition, kept, **plan.presets[name])


def differing(ours: SynthesisConfig, paper: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return those of the paper's settings that the run has otherwise: the twin, DDIM's, must not differ in them."""
    return {name: paper[name] for name in names if getattr(ours, name) != paper[name]}


def compared(
    train: ImageSet, sets: Mapping[str, ImageSet], seconds: Mapping[str, list[float]], baseline: float
) -> dict[str, Any]:
    """Return how the run's preset and its twin differ from the paper's: seconds by piece; KID, directly and by the twin."""
    paper = sets["paper"]
    shares = class_weights(train.dx, paper.dx)
    same = np.arange(len(paper))
    kid = {
        "ours_minus_paper": (sets["ours"].take(same), None),
        "twin_minus_paper": (sets["twin"].take(same), None),
        "ours_minus_paper_by_twin": (sets["ours"], sets["twin"]),
    }
    found: dict[str, Any] = {"kid_at_train_shares": {}}
    for name, (images, twin) in kid.items():
        rng = np.random.default_rng(0)
        difference = kid_difference(train, paper, images, MANY_DRAWS, rng, shares, twin=twin)
        ends = {
            "upper_end": difference["high"],
            "basic_upper_end": 2 * difference["value"] - difference["low"],
        }
        over = {f"{end}_over_baseline": value / baseline for end, value in ends.items()}
        found[f"kid_{name}"] = {**difference, "n": len(images), "bootstrap": MANY_DRAWS, **over}
        weights = class_weights(images.dx, train.dx)
        found["kid_at_train_shares"][name] = kid_difference(
            train, paper, images, DRAWS, np.random.default_rng(0), twin=twin, weight_S=weights
        )
    found["kid_by_class"] = {
        dx: by_class(train.take(train.dx == dx), {name: one.take(one.dx == dx) for name, one in sets.items()})
        for dx in strings(sorted(set(paper.dx.tolist())))
    }
    for name in ("ours", "twin"):
        ratios = [p / o for p, o in zip(seconds["paper"], seconds[name], strict=True)]
        found[f"speed_ratio_{name}"] = {
            "value": sum(seconds["paper"]) / sum(seconds[name]) if ratios else None,
            "by_piece": sorted(ratios),
        }
    return found


def by_class(train: ImageSet, sets: Mapping[str, ImageSet]) -> dict[str, Any]:
    """Return how the run's preset and the twin differ from the paper's in one class, the former by way of the twin."""
    paper, ours, twin = (sets[name] for name in ("paper", "ours", "twin"))
    rng = np.random.default_rng(0)
    return {
        "n_train": len(train),
        "n_paper": len(paper),
        "n": len(ours),
        "ours_minus_paper_by_twin": kid_difference(train, paper, ours, DRAWS, rng, twin=twin),
        "twin_minus_paper": kid_difference(train, paper, twin.take(np.arange(len(paper))), DRAWS, rng),
    }


def look(bench: Bench, condition: Path, made: Path) -> dict[str, Any]:
    """Return how close the samples of one draw of parents are to train images, and how often the judge agrees."""
    overall = bench.fidelity(condition, made)["overall"]
    agreement = bench.accept(condition, made)[0]["agreement"]
    return {
        "n": overall["n_synthetic"],
        **{name: overall[name] for name in ("kid", "precision", "coverage")},
        "agreement": agreement,
    }


def together(sets: list[ImageSet]) -> ImageSet:
    """Return several sets as one."""
    return ImageSet(
        features_NF=np.concatenate([one.features_NF for one in sets]),
        dx=np.concatenate([one.dx for one in sets]),
        cluster=np.concatenate([one.cluster for one in sets]),
    )
