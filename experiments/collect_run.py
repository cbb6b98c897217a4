"""Keeps a finished run's figures: experiments/results/<name>/result.json and the contact sheet.

usage: python -m experiments.collect_run RUN [--command "hardcase run ..."]

result.json holds the machine, date, commit, command, config, seeds, every (round, arm) with its intervals, the judge's
agreement with ungated samples, the VAE's and the denoiser's figures, and seconds by stage. Findings are written by hand
beside it, in README.md.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from engine.arms import SOURCES
from engine.artifacts import accept, judge, report_json
from engine.artifacts.generator_parts import read_denoiser, read_vae
from engine.artifacts.json_record import JsonRecord
from engine.artifacts.run_layout import arm_role
from engine.build import open_run
from engine.store import RunFolder
from experiments.lib.keeping import provenance, save, script

HEADLINE = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "ece")


def main() -> None:
    """Collect one run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--command", default=None, help="the command that made the run")
    arguments = parser.parse_args()
    folder = open_run(arguments.run)
    default = f"hardcase run experiments/configs/{folder.config.name}.yaml"
    target = save(folder.config.name, result(folder, arguments.command or default))
    sheet = folder.path / "figures" / "contact_sheet.png"
    if sheet.exists():
        shutil.copyfile(sheet, target / "contact_sheet.png")
    print(target)


def result(folder: RunFolder, command: str) -> dict[str, Any]:
    """Return everything worth keeping of one run."""
    report = report_json.read(folder.path).content()

    def foundation(stage: str) -> Path:
        return folder.stage(f"foundation/{stage}").path

    return {
        **provenance(command, folder.config),
        "protocol": report["protocol"],
        "split_digest": report["split_digest"],
        "counts": report["data"]["counts"],
        "champion": report["champion"],
        "rounds": [_entry(entry) for entry in report["rounds"]],
        "synthesis": _synthesis(folder),
        "vae": _without_losses(read_vae(foundation("vae"))),
        "denoiser": _without_losses(read_denoiser(foundation("denoiser"))),
        "judge": _without_losses(judge.read_facts(foundation("judge"))),
        "foundation_seconds": report["foundation_seconds"],
    }


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    parts = {
        part: {name: entry[part][name] for name in HEADLINE}
        | {"malignant": entry[part]["malignant"]}
        | {"sensitivity": {dx: c["sensitivity"] for dx, c in entry[part]["per_class"].items()}}
        for part in ("val", "test")
    }
    kept = (
        "round",
        "arm",
        "n_real",
        "n_generated",
        "n_accepted",
        "optimizer_steps",
        "p_value_vs_round0",
        "seconds",
    )
    return {**{name: entry[name] for name in kept}, **parts}


def _synthesis(folder: RunFolder) -> list[dict[str, Any]]:
    """The judge's agreement with ungated samples of each round, of hard and (where made) of random parents and the GAN."""
    rows = []
    for number in range(1, folder.config.loop.rounds + 1):
        for source in SOURCES:
            role = arm_role(number, source, "accept")
            if role in folder.roles:
                facts = accept.read(folder.stage(role).path).content()
                rows.append({"round": number, "parents": source, **facts})
    return rows


def _without_losses(facts: JsonRecord) -> dict[str, Any]:
    return {name: value for name, value in facts.content().items() if name != "losses"}


if __name__ == "__main__":
    script(main)
