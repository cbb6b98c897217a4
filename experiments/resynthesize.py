"""Makes a run's samples again with the VAE and denoiser its folder has now: does the judge recognise them more often?

usage: python -m experiments.resynthesize RUN [--name resynthesize]

Every conditioning of the run (hard and random parents of each round) is synthesized again with the same parents, neighbours,
prompts and noise seeds. The run's own images are the other half of each pair. The judge looks at both before any gate.
For a generator that was trained again beside a finished run; with the run's own weights the differences are 0.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from engine.arms import SOURCES
from engine.artifacts import conditioning
from engine.artifacts.run_layout import arm_role
from engine.evaluation.fidelity.figures import cluster_weights
from experiments.lib.bench import Bench
from experiments.lib.keeping import interval, provenance, save, script, this_command

DRAWS = 2000


def main() -> None:
    """Synthesize again, judge both, save figures and the contact sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", default="resynthesize")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench.open(arguments.run, Path(place) / "bench")
        rows = []
        sheet = None
        for number in range(1, bench.config.loop.rounds + 1):
            for source in SOURCES:
                role = arm_role(number, source, "synthesize")
                if role in bench.run.roles:
                    condition = bench.run.stage(arm_role(number, source, "condition")).path
                    made, seconds, _ = bench.synthesize(condition)
                    sheet = sheet or bench.sheet(condition, made)
                    found = compare(bench, condition, bench.run.stage(role).path, made)
                    rows.append({"round": number, "parents": source, "seconds": round(seconds, 1), **found})
        folder = save(
            arguments.name, {**provenance(this_command(), bench.config), "draws": DRAWS, "rows": rows}
        )
        if sheet is not None:
            shutil.copyfile(sheet, folder / "contact_sheet.png")
    print(folder)


def compare(bench: Bench, condition: Path, before: Path, after: Path) -> dict[str, Any]:
    """Return the judge's agreement with the intended class before and after, and the paired change, groups resampled."""
    agrees, facts = {}, {}
    for name, made in (("before", before), ("after", after)):
        facts[name], frame = bench.accept(condition, made)
        agrees[name] = (frame["judge_predicted"] == frame["dx"]).to_numpy(dtype=float)
    parents = conditioning.read_column(condition, "parent_image_id")
    group = bench.dataset.group_N[bench.dataset.positions(parents)]
    weight_DS = cluster_weights(group, DRAWS, np.random.default_rng(0))
    drawn = {name: weight_DS @ values / weight_DS.sum(axis=1) for name, values in agrees.items()}
    mean = {name: float(values.mean()) for name, values in agrees.items()}
    dx = frame["dx"].to_numpy()
    return {
        "n": len(dx),
        "real_val": facts["after"]["expected_agreement"],
        **{name: interval(drawn[name], mean[name]) for name in agrees},
        "ratio": {name: facts[name]["agreement_ratio"] for name in agrees},
        "change": interval(drawn["after"] - drawn["before"], mean["after"] - mean["before"]),
        "per_class": {
            str(c): {"n": int((dx == c).sum()), **{k: float(v[dx == c].mean()) for k, v in agrees.items()}}
            for c in np.unique(dx)
        },
        "memorized": {name: facts[name]["memorized"]["rate"] for name in agrees},
    }


if __name__ == "__main__":
    script(main)
