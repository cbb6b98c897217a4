"""`hardcase synthesize`: new images of one class from a finished run's generator, each with its provenance."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from engine import build
from engine.arms import ENGINE
from engine.artifacts import decoded_images, lesions, own_output, synthetic
from engine.artifacts.csv_text import write_csv
from engine.artifacts.run_layout import foundation_role
from engine.artifacts.synthesized import PICTURES, STATES
from engine.commands.finished_run import choose, local
from engine.commands.output_folder import new_folder
from engine.config import Config, parts_sampled
from engine.errors import DataError
from engine.execution.profiling import collect
from engine.execution.progress import RichListener
from engine.stages import accept as accept_stage
from engine.stages import condition as condition_stage
from engine.stages import synthesize as synthesize_stage
from engine.stages.base import P, Stage
from engine.store import RunFolder, StageFolder

PARTS = ("images", "split", "embedder", "index", "judge")
PROVENANCE = (
    "image_id", "file", "dx", "parent_image_id", "parent_lesion_id", "neighbour_ids", "weights", "seed", "accepted",
    "reasons", "judge_p", "judge_predicted", "nearest_train_id", "nearest_train_distance", "mixing", "checkpoint",
)  # fmt: skip
PROFILE = "profile"
NOTICE = f"""{own_output.NOTICE} No patient has these lesions, but generated images can
reproduce training images: handle them as patient data and under the licence of the data they were made from.
provenance.csv names each image's parent, neighbours, seed, and what judge and nearest train image say of it.
"""


def synthesize(
    run: Path,
    dx: str,
    count: int,
    out: Path,
    console: Console,
    *,
    seed: int = 0,
    states: int = 0,
    profile: bool = False,
) -> pd.DataFrame:
    """Write ``count`` PNGs of class ``dx`` and provenance.csv into the new folder ``out``.

    Parents are train lesions of the class, drawn at random; neighbours, mixing and gates are those of the run's
    config; adversarial guidance, where the config has it, pushes against the last round's hard arm. Rejected images
    are kept and marked, with the reason. The same seed gives the same images. ``states`` draws so many looks on the
    way from noise to image into states.png, ``profile`` leaves tables and traces of what takes the time in ``profile``.

    Raises:
        DataError: no run folder, an unfinished foundation, an unknown class, or ``out`` is not empty.
    """
    folder = build.open_run(run)
    config = folder.config
    names = (*PARTS, *parts_sampled(config.synthesis.generator, config.denoiser))
    parts = {name: folder.stage(foundation_role(name)).path for name in names}
    classes = decoded_images.read(parts["images"]).classes
    if dx not in classes:
        raise DataError(f"--class: {dx} is none of the run's classes; choose from {', '.join(classes)}")
    with new_folder(out) as target, tempfile.TemporaryDirectory(prefix="hardcase-synthesize-") as place:
        tables = target / PROFILE if profile else None
        frame = Generator(folder, parts, Path(place), console, states, tables).make(dx, count, seed)
        if tables is not None:
            collect(tables)
        made = Path(place) / "synthesize"
        if states:
            shutil.copyfile(made / STATES, target / STATES)
        for name in frame["image_id"]:
            shutil.copyfile(made / PICTURES / f"{name}.png", target / f"{name}.png")
        write_csv(frame, target / "provenance.csv")
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
    profile: Path | None = None

    def make(self, dx: str, count: int, seed: int) -> pd.DataFrame:
        """Make the images; returns one row an image with the columns PROVENANCE."""
        config = local(self.run.config)
        counts = {dx: count}
        sampling = synthesize_stage.Params.of(config)
        section = sampling.synthesis.model_copy(update={"states": self.states})
        sampling = sampling.model_copy(update={"synthesis": section})
        made = dict(self.parts)
        if "classifier" in sampling.parts:
            made["classifier"] = choose(self.run.path, arm=ENGINE).folder
        self._stage(
            config, condition_stage.STAGE, condition_stage.Params.on_request(config, counts), made, seed
        )
        self._stage(config, synthesize_stage.STAGE, sampling, made, seed)
        self._stage(config, accept_stage.STAGE, accept_stage.Params.of(config, room=counts), made, seed)
        return self._provenance(made, str(config.policy.mixing["name"]))

    def _stage(self, config: Config, stage: Stage[P], params: P, made: dict[str, Path], seed: int) -> None:
        """Run one stage on what is made so far and add its folder."""
        listener, key = RichListener(self.console), ""
        start = time.perf_counter()
        listener.stage_started(stage.name, key)
        out = build.run_stage_here(
            config,
            stage,
            params,
            out=self.scratch / stage.name,
            inputs=made,
            seed=seed,
            progress=listener.progress,
            profile=self.profile,
        )
        made[stage.name] = out
        seconds = time.perf_counter() - start
        listener.stage_finished(
            StageFolder(name=stage.name, key=key, path=out, seconds=seconds, cached=False)
        )

    def _provenance(self, made: Mapping[str, Path], mixing: str) -> pd.DataFrame:
        frame = synthetic.read_frame(made["accept"])
        lesion = lesions.read_lesion_of(made["images"])
        frame = frame.assign(
            image_id=frame["sample_id"],
            file=[f"{name}.png" for name in frame["sample_id"]],
            parent_lesion_id=[lesion[name] for name in frame["parent_image_id"]],
            neighbour_ids=[" ".join(filter(None, ids)) for ids in frame["neighbour_ids"]],
            weights=[" ".join(f"{w:.6g}" for w in row) for row in frame["weights"]],
            mixing=mixing,
        )
        return frame[list(PROVENANCE)]
