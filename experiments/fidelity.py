"""Measures samples: the default sampling against the paper's, conditioning, the adapter, and copies of train images.

usage: python -m experiments.fidelity RUN|CONFIG [key=value ...] [--count 1000] [--more 0] [--twins 0]
           [--only conditioning beta beta_unguided speed] [--name fidelity] [--ahead] [--with steps=20 ...]

speed: the run's preset against our reading of the paper's (DDIM, 150 steps, separate guidance passes for prompt and lesion,
batch 8) on the same weights, parents and seeds, in turns. KID to train images on the judge's features; the difference is
paired; all train images count, weighted to the samples' class shares. The paper's images take long, so the difference is
also read with a control variate: a twin, the run's preset with a deterministic solver, whose images are nearly DDIM's (same
noise, same equation). That makes twin minus paper precise, and ours minus twin needs only cheap images.
conditioning: pairs of samples from one seed, the first conditioned on a mine lesion, the second on another lesion of its
class; the share of pairs in which the first is nearer to the lesion, in the features of the judge, which had no part in
generation. Copies: the share of samples nearer to a train image than the 5th percentile of distances between two photographs
of one lesion, beside the same share of unseen real lesions. beta: the adapter on against off, KID by class, as the run
samples. beta_unguided: the same without guidance, the model's own distribution. Each part is kept as soon as it is measured.
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import pairwise_distances

from engine.artifacts import synthesized
from engine.artifacts.conditioning import read_samples
from engine.config.loading import apply_override
from engine.evaluation.fidelity.figures import class_weights, kid_difference
from experiments.lib.bench import Bench, run_of
from experiments.lib.fidelity_plot import draw
from experiments.lib.fidelity_speed import sample_ahead, speed
from experiments.lib.keeping import RESULTS, interval, provenance, read_result, save, script, this_command
from experiments.lib.sample_sets import made_set, real_set

DRAWS = 1000
PARTS = ("conditioning", "beta", "beta_unguided", "speed")
VIEWS = ("judge", "clip", "pixels")
"""Features in which copies are looked for: pixels are images of 16 x 16, their mean taken away."""


def main() -> None:
    """Measure the parts asked for that are not measured yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="run folder, or config whose foundation is trained first")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--more", type=int, default=0, help="speed: images of a second draw of parents")
    parser.add_argument("--twins", type=int, default=0, help="speed: draws without the paper's preset")
    parser.add_argument("--only", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--name", default="fidelity")
    parser.add_argument(
        "--with", dest="changes", nargs="+", default=[], metavar="KEY=VALUE", help="speed: synthesis settings"
    )
    parser.add_argument(
        "--ahead",
        action="store_true",
        help="speed: only sample, from the last piece on, beside another process",
    )
    arguments = parser.parse_args()
    run = run_of(arguments.source, arguments.overrides)
    bench = Bench.open(run, run.parent / f".bench-{run.name}{'-ahead' if arguments.ahead else ''}")
    kept = RESULTS / arguments.name / "result.json"
    before = read_result(kept) if kept.exists() else {}
    parts, made = before.get("parts", {}), before.get("made", {})
    changes: dict[str, Any] = {}
    for change in arguments.changes:
        apply_override(changes, change)
    draws = {"more": arguments.more, "twins": arguments.twins, "changes": changes}
    if arguments.ahead:
        sample_ahead(bench, arguments.count, **draws)
        return
    for name in arguments.only:
        if name not in parts:
            measure = {
                "conditioning": conditioning,
                "beta": beta,
                "beta_unguided": partial(beta, guidance_scale=1.0),
                "speed": partial(speed, **draws),
            }[name]
            parts[name] = measure(bench, arguments.count)
            origin = provenance(this_command(), bench.config)
            made[name] = {key: origin[key] for key in ("command", "date", "commit", "machine")}
            save(arguments.name, {**origin, "bootstrap": DRAWS, "made": made, "parts": parts})
            draw(parts, kept.parent / "fidelity.png")
    print(kept.parent)


def conditioning(bench: Bench, count: int) -> dict[str, Any]:
    """Are samples nearer to the lesion they were conditioned on than samples conditioned on another of its class?"""
    dataset = bench.dataset
    mine = dataset.table.take(dataset.where("mine"))
    lesions = Counter(dict(zip(mine.lesion_id.tolist(), mine.dx.tolist(), strict=True)).values())
    share = -(-count // len(dataset.classes))
    counts = {dx: min(share, n) for dx, n in sorted(lesions.items()) if n > 1}
    condition = bench.condition(counts, mine_from="mine", mixing={"name": "self"})
    made, _, _ = bench.synthesize(condition)
    swapped = bench.swap(condition)
    other, _, _ = bench.synthesize(swapped)
    samples = read_samples(condition)
    parent = bench.features_of(samples.parent_image_id.tolist())
    own, foreign = (bench.features(synthesized.IMAGES.path(m), len(samples)) for m in (made, other))
    nearer = distance(own, parent) < distance(foreign, parent)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(nearer), (DRAWS, len(nearer)))
    per_class = {str(dx): float(nearer[samples.label_S == dx].mean()) for dx in np.unique(samples.label_S)}
    return {
        "n_pairs": len(nearer),
        "nearer_to_own_lesion": interval(nearer[rows].mean(axis=1), nearer.mean()),
        "per_class": per_class,
        "copies": copies(bench, synthesized.IMAGES.path(made), samples.label_S),
    }


def distance(a_NF: Any, b_NF: Any) -> Any:
    """Return the distance of unit vectors row by row."""
    return np.linalg.norm(unit(a_NF) - unit(b_NF), axis=1)


def copies(bench: Bench, images: Path, dx_S: Any) -> dict[str, Any]:
    """Return, in several features, the share of samples nearer to a train image than 95 % of photographs of one lesion are.

    Beside it stands the share of unseen real lesions (mine, at the samples' class shares): they are no copies, so that what
    they reach is what the features cannot tell apart.
    """
    table = bench.dataset.table
    train, mine = (np.flatnonzero(table.split == part) for part in ("train", "mine"))
    pairs = [
        (rows[a], rows[b])
        for rows in (train[table.lesion_id[train] == lesion] for lesion in np.unique(table.lesion_id[train]))
        for a, b in zip(*np.triu_indices(len(rows), 1), strict=True)
    ]
    found: dict[str, Any] = {"percentile": 5, "pairs_of_one_lesion": len(pairs)}
    rng = np.random.default_rng(0)
    for view in VIEWS:
        real = unit(bench.real_view(view))
        first, second = (real[list(rows)] for rows in zip(*pairs, strict=True))
        threshold = float(np.percentile(np.linalg.norm(first - second, axis=1), 5))
        samples = near_train(unit(bench.view(view, images, len(dx_S))), real[train]) < threshold
        unseen = near_train(real[mine], real[train]) < threshold
        weight = class_weights(table.dx[mine], dx_S)
        chosen = rng.choice(len(mine), (DRAWS, len(dx_S)), p=weight)
        drawn = samples[rng.integers(0, len(samples), (DRAWS, len(samples)))].mean(axis=1)
        found[view] = {
            "samples": interval(drawn, samples.mean()),
            "unseen_real": interval(unseen[chosen].mean(axis=1), float(weight @ unseen)),
            "samples_minus_unseen": interval(
                drawn - unseen[chosen].mean(axis=1), samples.mean() - weight @ unseen
            ),
        }
    return found


def near_train(samples_SF: Any, train_NF: Any) -> Any:
    """Return the distance of each sample to the nearest train image, (S,)."""
    return pairwise_distances(samples_SF, train_NF).min(axis=1)


def unit(features_NF: Any) -> Any:
    """Return rows of unit length: Euclidean distances then order as cosine distances do."""
    return features_NF / np.linalg.norm(features_NF, axis=1, keepdims=True)


def beta(bench: Bench, count: int, **synthesis: Any) -> dict[str, Any]:
    """Compare the adapter on (beta of the run) and off, class by class, at the same seeds; ``synthesis`` holds for both."""
    classes = bench.dataset.classes
    condition = bench.condition(dict.fromkeys(classes, -(-count // len(classes))))
    sets, found = {}, {}
    for name, settings in (("off", {"beta": 0.0}), ("on", {})):
        made, _, _ = bench.synthesize(condition, **synthesis, **settings)
        fidelity = bench.fidelity(condition, made)
        sets[name] = made_set(bench, condition, made)
        found[name] = {dx: figures["kid"] for dx, figures in fidelity["per_class"].items()}
        found[name]["all"] = fidelity["overall"]["kid"]
    rng = np.random.default_rng(0)
    train = real_set(bench)
    difference = {}
    for dx in classes:
        own = [sets[n].take(sets[n].dx == dx) for n in ("off", "on")]
        difference[dx] = kid_difference(train.take(train.dx == dx), *own, DRAWS, rng)
    shares = class_weights(train.dx, sets["on"].dx)
    difference["all"] = kid_difference(train, sets["off"], sets["on"], DRAWS, rng, shares)
    return {"kid": found, "kid_on_minus_off": difference}


if __name__ == "__main__":
    script(main)
