"""`hardcase synthesize`: new images of one class from a finished run's generator, each with its provenance."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from engine import build
from engine.artifacts import own_output
from engine.commands.finished_run import choose, local
from engine.commands.output_folder import new_folder
from engine.config import GENERATOR_PARTS, Config
from engine.errors import DataError
from engine.execution.backend import run_here
from engine.execution.progress import RichListener
from engine.store import RunFolder, StageFolder
from engine.store.files import read_json

PARTS = ("images", "split", "embedder", "index", "judge")
ROUND = 0
"""Synthesis on request belongs to no round."""
PROVENANCE = (
    "image_id", "file", "dx", "parent_image_id", "parent_lesion_id", "neighbour_ids", "weights", "seed", "accepted",
    "reasons", "judge_p", "judge_predicted", "nearest_train_id", "nearest_train_distance", "mixing", "checkpoint",
)  # fmt: skip
NOTICE = f"""{own_output.NOTICE} No patient has these lesions, but generated images can
reproduce training images: handle them as patient data and under the licence of the data they were made from.
provenance.csv names each image's parent, neighbours, seed, and what judge and nearest train image say of it.
"""


def synthesize(
    run: Path, dx: str, count: int, out: Path, console: Console, *, seed: int = 0, states: int = 0
) -> pd.DataFrame:
    """Write ``count`` PNGs of class ``dx`` and provenance.csv into the new folder ``out``.

    Parents are train lesions of the class, drawn at random; neighbours, mixing and gates are those of the run's
    config; adversarial guidance, where the config has it, pushes against the last round's hard arm. Rejected images
    are kept and marked, with the reason. The same seed gives the same images. ``states`` draws so many looks on the
    way from noise to image into states.png.

    Raises:
        DataError: no run folder, an unfinished foundation, an unknown class, or ``out`` is not empty.
    """
    folder = build.open_run(run)
    generator = folder.config.synthesis.generator
    parts = {name: folder.stage(f"foundation/{name}").path for name in (*PARTS, *GENERATOR_PARTS[generator])}
    classes = read_json(parts["images"] / "data.json")["classes"]
    if dx not in classes:
        raise DataError(f"--class: {dx} is none of the run's classes; choose from {', '.join(classes)}")
    with new_folder(out) as target, tempfile.TemporaryDirectory(prefix="hardcase-synthesize-") as place:
        frame = Generator(folder, parts, Path(place), console, states).make(dx, count, seed)
        synthetic = Path(place) / "synthesize" / "synthetic"
        if states:
            shutil.copyfile(synthetic.parent / "states.png", target / "states.png")
        for name in frame["image_id"]:
            shutil.copyfile(synthetic / f"{name}.png", target / f"{name}.png")
        frame.to_csv(target / "provenance.csv", index=False, lineterminator="\n")
        (target / "NOTICE.txt").write_text(NOTICE, encoding="utf-8")
    accepted = int(frame["accepted"].sum())
    console.print(f"{len(frame)} images of {dx} in {out}; the run's gates would accept {accepted} of them")
    return frame


@dataclass(frozen=True)
class Generator:
    """Runs condition, synthesize and accept of a finished run in this process, into a folder that goes away."""

    run: RunFolder
    parts: Mapping[str, Path]
    scratch: Path
    console: Console
    states: int = 0

    def make(self, dx: str, count: int, seed: int) -> pd.DataFrame:
        """Make the images; returns one row an image with the columns PROVENANCE."""
        config = local(self.run.config)
        tree = config.model_dump(mode="json")
        shared = {
            "embedder": tree["embedder"],
            "data": {"crop": config.data.crop, "mask": config.data.mask},
        }
        condition = {
            **shared,
            "budget": tree["policy"]["budget"],
            "mixing": tree["policy"]["mixing"],
            "total": count,
            "neighbours": config.loop.neighbours,
            "mine_from": "crossfit",  # parents from train: a request must not show held-out lesions
            "round": ROUND,
            "source": "random",
            "counts": {dx: count},
            "sensitivity": {},
        }
        synthesis = {k: tree[k] for k in ("synthesis", "denoiser", "embedder", "vae")}
        synthesis["synthesis"] = {**synthesis["synthesis"], "states": self.states}
        gate = {**shared, "policy": tree["policy"]["acceptance"], "judge": tree["judge"], "room": {dx: count},
                "guided": config.synthesis.steers}  # fmt: skip
        made = dict(self.parts)
        if config.synthesis.generator == "diffusion" and config.synthesis.adversarial_scale > 0:
            made["classifier"] = choose(self.run.path, arm="hard").folder
        for stage, params in (("condition", condition), ("synthesize", synthesis), ("accept", gate)):
            made[stage] = self._stage(config, stage, params, made, seed)
        return self._provenance(made, str(tree["policy"]["mixing"]["name"]))

    def _stage(
        self, config: Config, stage: str, params: Mapping[str, Any], inputs: Mapping[str, Path], seed: int
    ) -> Path:
        out = self.scratch / stage
        out.mkdir()
        listener = RichListener(self.console)
        start = time.perf_counter()
        listener.stage_started(stage)
        checkpoint = self.scratch / "checkpoint"
        call = build.stage_call(
            config, stage, out=out, inputs=inputs, params=params, seed=seed, checkpoint=checkpoint
        )
        run_here(call, listener.progress)
        seconds = time.perf_counter() - start
        listener.stage_finished(StageFolder(name=stage, key="", path=out, seconds=seconds, cached=False))
        return out

    def _provenance(self, made: Mapping[str, Path], mixing: str) -> pd.DataFrame:
        frame = pd.read_parquet(made["accept"] / "synthetic.parquet")
        table = pd.read_parquet(made["images"] / "table.parquet", columns=["image_id", "lesion_id"])
        lesion = dict(zip(table["image_id"], table["lesion_id"], strict=True))
        frame = frame.assign(
            image_id=frame["sample_id"],
            file=[f"{name}.png" for name in frame["sample_id"]],
            parent_lesion_id=[lesion[name] for name in frame["parent_image_id"]],
            neighbour_ids=[" ".join(filter(None, ids)) for ids in frame["neighbour_ids"]],
            weights=[" ".join(f"{w:.6g}" for w in row) for row in frame["weights"]],
            mixing=mixing,
        )
        return frame[list(PROVENANCE)]
