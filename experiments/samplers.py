"""Compares every sampler on one trained denoiser: distance to real images by evaluations and seconds (Table A.2, measured).

usage: python -m experiments.samplers RUN [--count 512] [--name samplers/ham10000] [--only dpmpp ddim ...]
       python -m experiments.samplers CONFIG [key=value ...]      (trains the foundation first, for MNIST and CIFAR-10)

The same classes, conditioning and seeds for every sampler, class shares as in training, no guidance: what is sampled is the
model's own distribution. KID, precision and coverage against train images on the judge's features (a timm classifier trained
on train images), with the KID of unseen real images as the floor; judge agreement with the intended class; diversity as the
mean distance between samples of a class over that of real images. Each row is kept as soon as it is measured: a rerun goes
on.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from engine.artifacts import synthesized
from engine.artifacts.whole_files import write_text
from experiments.lib.bench import Bench, run_of
from experiments.lib.keeping import RESULTS, provenance, read_result, save, script, this_command

PLAN: dict[str, list[dict[str, Any]]] = {
    "dpmpp": [{"steps": n} for n in (8, 16, 32)],
    "dpmpp_sde": [{"steps": n} for n in (8, 16, 32)],
    "unipc": [{"steps": n} for n in (8, 16, 32)],
    "ddim": [{"steps": n} for n in (8, 16, 50)],
    "ddpm": [{"steps": n} for n in (16, 50, 100)],
    "euler_maruyama": [{"steps": n} for n in (50, 100)],
    "predictor_corrector": [{"steps": n} for n in (25, 50)],
    "probability_flow": [{"steps": 8}, {"steps": 16}, {"solver": "adaptive", "tolerance": 1e-2}],
    "annealed_langevin": [{"steps": n, "langevin_inner": 2} for n in (25, 50)],
}
FAMILY = {
    "ddpm": "DDPM", "ddim": "DDPM, deterministic", "dpmpp": "fast ODE solver", "unipc": "fast ODE solver",
    "dpmpp_sde": "fast SDE solver",
    "euler_maruyama": "SDE", "predictor_corrector": "SDE", "probability_flow": "SDE's ODE", "annealed_langevin": "NCSN",
}  # fmt: skip


def main() -> None:
    """Measure what is not measured yet, then draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="run folder or config")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--name", default=None)
    parser.add_argument("--only", nargs="+", default=sorted(PLAN))
    arguments = parser.parse_args()
    run = run_of(arguments.source, arguments.overrides)
    name = arguments.name or f"samplers/{run.name}"
    bench = Bench.open(run, run.parent / f".bench-{run.name}")
    kept = RESULTS / name / "result.json"
    rows = read_result(kept)["rows"] if kept.exists() else []
    condition = bench.condition(shares(bench, arguments.count))
    for sampler in arguments.only:
        for settings in PLAN[sampler]:
            if any(row["sampler"] == sampler and row["settings"] == settings for row in rows):
                continue
            print(sampler, settings, flush=True)
            rows.append(measure(bench, condition, sampler, settings))
            figures = {**provenance(this_command(), bench.config), "count": arguments.count, "rows": rows}
            folder = save(name, figures)
            draw(rows, folder / "samplers.png", run.name)
            write_text(folder / "table.md", "\n".join(table(rows, run.name, bench.likelihood)) + "\n")
    print(RESULTS / name)


def shares(bench: Bench, count: int) -> dict[str, int]:
    """Return the samples per class in the shares of train images, at least one each."""
    train = Counter(bench.dataset.table.dx[bench.dataset.where("train")].tolist())
    total = sum(train.values())
    return {dx: max(1, round(count * n / total)) for dx, n in sorted(train.items())}


def measure(bench: Bench, condition: Path, sampler: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return one row."""
    made, seconds, info = bench.synthesize(
        condition, sampler=sampler, guidance_scale=1.0, lesion_guidance_scale=None, **settings
    )
    accept, _ = bench.accept(condition, made)
    fidelity = bench.fidelity(condition, made)["overall"]
    return {
        "sampler": sampler,
        "family": FAMILY[sampler],
        "settings": settings,
        "nfe": info["nfe"],
        "seconds_per_image": seconds / len(synthesized.open_images(made)),
        "kid": fidelity["kid"],
        "kid_unseen": fidelity["kid_unseen"],
        "fid": fidelity["fid"],
        "inception_score": fidelity["inception_score"],
        "precision": fidelity["precision"],
        "recall": fidelity["recall"],
        "coverage": fidelity["coverage"],
        "agreement": accept["agreement"],
        "memorized": accept["memorized"]["rate"],
    }


def table(rows: list[dict[str, Any]], title: str, likelihood: dict[str, Any] | None) -> list[str]:
    """Return the thesis's Table A.2 with measured columns: each family at its lowest KID, the sampler named."""
    columns = ("KID x 1000", "precision", "recall", "coverage", "judge agrees, %", "NFE", "s an image")
    lines = [f"# {title}: families of samplers on one denoiser, each at its lowest KID", ""]
    lines += [
        "| family | sampler | " + " | ".join(columns) + " | likelihood |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for family in dict.fromkeys(FAMILY.values()):
        own = [row for row in rows if row["family"] == family and row["kid"]]
        if own:
            best = min(own, key=lambda row: float(row["kid"]["value"]))
            settings = ", ".join(f"{k} {v}" for k, v in best["settings"].items())
            cells = [
                f"{1000 * best['kid']['value']:.1f} ({1000 * best['kid']['low']:.1f} to {1000 * best['kid']['high']:.1f})"
            ]
            cells += [
                f"{best[name]['value']:.2f}" if best[name] else ""
                for name in ("precision", "recall", "coverage")
            ]
            cells += [
                f"{100 * best['agreement']:.0f}",
                f"{best['nfe']:g}",
                f"{best['seconds_per_image']:.2f}",
            ]
            bits = "" if family != "SDE's ODE" else _bits(likelihood)
            lines.append(
                f"| {family} | {best['sampler']} ({settings}) | " + " | ".join(cells) + f" | {bits} |"
            )
    return lines


def _bits(likelihood: dict[str, Any] | None) -> str:
    if likelihood is None:
        return "of latents alone"
    bits = likelihood["bits_per_dimension"]
    return f"{bits['value']:.2f} ({bits['low']:.2f} to {bits['high']:.2f}) bits a dimension, {likelihood['n']} val images"


def draw(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draw KID against NFE, one line per sampler."""
    rows = [row for row in rows if row["kid"]]  # too few samples have none
    if not rows:
        return
    figure, axis = plt.subplots(figsize=(7, 4.5))
    colours = plt.get_cmap("tab10")
    for index, sampler in enumerate(sorted({row["sampler"] for row in rows})):
        own = sorted((row for row in rows if row["sampler"] == sampler), key=lambda row: float(row["nfe"]))
        kid = [1000 * row["kid"]["value"] for row in own]
        spread = [[1000 * (row["kid"]["value"] - row["kid"]["low"]) for row in own],
                  [1000 * (row["kid"]["high"] - row["kid"]["value"]) for row in own]]  # fmt: skip
        axis.errorbar(
            [row["nfe"] for row in own],
            kid,
            yerr=spread,
            fmt="o-",
            capsize=2,
            color=colours(index),
            label=sampler,
        )
    axis.axhline(
        1000 * rows[0]["kid_unseen"]["value"], color="#888", linestyle=":", label="unseen real images"
    )
    axis.set_xscale("log")
    axis.set_xlabel("denoiser evaluations per sample (NFE)")
    axis.set_ylabel("KID x 1000 (judge features)")
    axis.set_title(title)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    script(main)
