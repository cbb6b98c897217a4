"""The bench: the finished stages of a run, tried again with other settings in a scratch place."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console

from engine import build
from engine.artifacts import accept, conditioning, decoded_images, features, fidelity, synthesized, synthetic
from engine.artifacts.generator_parts import read_likelihood
from engine.artifacts.synthesized import SynthesisFacts
from engine.build import open_run
from engine.commands.finished_run import local
from engine.config import Config, DistillConfig, SynthesisConfig, VaeConfig, parts_sampled
from engine.diffusion.synthesis import weights_digest
from engine.errors import ConfigError
from engine.execution.progress import RichListener
from engine.parts.context import StageContext
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.features import FeatureChoice, extract
from engine.pipeline.foundation import lay_data, lay_foundation
from engine.stages import accept as accept_stage
from engine.stages import condition as condition_stage
from engine.stages import distill as distill_stage
from engine.stages import features as features_stage
from engine.stages import fidelity as fidelity_stage
from engine.stages import preview as preview_stage
from engine.stages import synthesize as synthesize_stage
from engine.stages import vae as vae_stage
from engine.stages.base import P, Stage
from engine.store import RunFolder
from engine.store.files import write_json
from engine.types import strings
from experiments.lib.keeping import read_result

MinedFrom = Literal["mine", "crossfit", "test"]
MADE = "made.json"
"""Note beside kept images: what they were made of, in how many seconds, by which call."""


def build_foundation(config: Config) -> Path:
    """Train (or find in the cache) every foundation stage of a config without playing a round; return the run folder."""
    wiring = build.wire(config, listener=RichListener(Console()), track=False)
    pipeline = wiring.loop().pipeline
    lay_data(pipeline)
    lay_foundation(pipeline)
    pipeline.record_finished(all_of_them=True)
    wiring.close()
    return wiring.folder.path


def run_of(source: Path, overrides: Sequence[str]) -> Path:
    """Return the run folder ``source``, or that of a config's foundation, trained now (or found in the cache).

    Raises:
        ConfigError: settings were given for a run folder, which has its own.
    """
    if source.is_file():
        return build_foundation(build.load(source, overrides))
    if overrides:
        raise ConfigError(
            f"{source} is a run folder and keeps its settings: {', '.join(overrides)} needs a config"
        )
    return source


@dataclass
class Bench:
    """The finished stages of a run, and a scratch folder in which stages are run again with other settings."""

    run: RunFolder
    scratch: Path
    made: int = 0
    parts: dict[str, Path] = field(default_factory=dict)
    call: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Noted beside what is kept: seconds of different calls are not compared, machines are noisy."""

    @classmethod
    def open(cls, run: Path, scratch: Path) -> Bench:
        """Open a run whose foundation is finished; whatever lies in ``scratch`` goes."""
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        folder = open_run(run)
        names = ("images", "split", "embedder", "index", "latents", "judge", "features", "likelihood")
        config = folder.config
        names += parts_sampled(config.synthesis.generator, config.denoiser)
        parts = {
            name: folder.stage(f"foundation/{name}").path
            for name in names
            if f"foundation/{name}" in folder.roles
        }
        return cls(folder, scratch, 0, parts)

    @property
    def config(self) -> Config:
        """The run's config."""
        return self.run.config

    @property
    def likelihood(self) -> dict[str, Any] | None:
        """The run's bits per dimension (stage ``likelihood``), None where they were not asked for."""
        place = self.parts.get("likelihood")
        return read_likelihood(place).to_json() if place else None

    @property
    def dataset(self) -> Dataset:
        """Its images and split."""
        return open_dataset(self.parts["images"], self.parts["split"])

    def stage(self, stage: Stage[P], params: P, inputs: Mapping[str, Path], seed: int = 0) -> Path:
        """Run one stage in this process into a new folder of the scratch place; return the folder.

        ``inputs`` are added to the run's finished parts.
        """
        self.made += 1
        return build.run_stage_here(
            local(self.config),
            stage,
            params,
            out=self.scratch / f"{self.made:03d}-{stage.name}",
            inputs={**self.parts, **inputs},
            seed=seed,
            progress=lambda _key, *mark: progress_line(*mark),
        )

    def train_vae(self, **changes: Any) -> Path:
        """Train an autoencoder with some of the run's settings changed; return the stage's folder."""
        section = VaeConfig.model_validate({**self.config.vae.model_dump(), **changes})
        return self.stage(vae_stage.STAGE, vae_stage.Params(vae=section), {}, self.config.seed)

    def condition(
        self, counts: Mapping[str, int], mine_from: MinedFrom = "crossfit", seed: int = 0, **changes: Any
    ) -> Path:
        """Draw random parents to ``counts`` per class (of train with crossfit) and mix as the run does."""
        params = condition_stage.Params.on_request(self.config, counts, mine_from)
        return self.stage(condition_stage.STAGE, params.model_copy(update=changes), {}, seed)

    def distill(self, **changes: Any) -> tuple[Path, DistillConfig]:
        """Train a student of the run's denoiser; return the stage's folder and how it was taught."""
        section = DistillConfig.model_validate(changes)
        denoiser = self.config.denoiser.model_copy(update={"distill": section})
        config = self.config.model_copy(update={"denoiser": denoiser})
        params = distill_stage.Params.of(config)
        return self.stage(distill_stage.STAGE, params, {}, self.config.seed), section

    def synthesize(
        self,
        condition: Path,
        extra: Mapping[str, Path] | None = None,
        *,
        student: tuple[Path, DistillConfig] | None = None,
        **synthesis: Any,
    ) -> tuple[Path, float, dict[str, Any]]:
        """Synthesize from a conditioning with the run's settings changed; return folder, seconds, synthesis.json.

        ``student``: what ``distill`` returned, to sample it in the denoiser's place.
        """
        params = synthesize_stage.Params.of(self.config)
        if student is not None:
            extra = {**(extra or {}), "distill": student[0]}
            denoiser = params.denoiser.model_copy(update={"distill": student[1]})
            params = params.model_copy(update={"denoiser": denoiser})
        section = SynthesisConfig.model_validate({**params.synthesis.model_dump(), **synthesis})
        params = params.model_copy(update={"synthesis": section})
        start = time.perf_counter()
        out = self.stage(synthesize_stage.STAGE, params, {**(extra or {}), "condition": condition})
        return out, time.perf_counter() - start, synthesized.read_facts(out).to_json()

    def synthesize_kept(
        self, condition: Path, place: Path, **synthesis: Any
    ) -> tuple[Path, float, dict[str, Any]]:
        """Synthesize into ``place``, or return what lies there of the same conditioning, weights and settings."""
        text = hashlib.sha256(json.dumps(synthesis, sort_keys=True).encode())
        for file in (conditioning.SCHEMA.path(condition), conditioning.LEVELS.path(condition)):
            text.update(file.read_bytes())
        text.update(weights_digest(self.parts["denoiser"]).encode())
        note = place / MADE
        kept: dict[str, Any] = read_result(note) if note.exists() else {"digest": None}
        if kept["digest"] == text.hexdigest():
            return place, float(kept["seconds"]), synthesized.read_facts(place).to_json()
        made, seconds, info = self.synthesize(condition, **synthesis)
        write_json(made / MADE, {"digest": text.hexdigest(), "seconds": seconds, "call": self.call})
        coming = place.with_name(
            f"{place.name}.{self.call}"
        )  # whole or not at all: another process may sample too
        shutil.copytree(made, coming)
        shutil.rmtree(place, ignore_errors=True)
        coming.rename(place)
        return place, seconds, info

    def sheet(self, condition: Path, made: Path) -> Path:
        """Return the contact sheet real | VAE reconstruction | synthetic of synthesized images."""
        params = preview_stage.Params.of(self.config)
        folder = self.stage(preview_stage.STAGE, params, {"condition": condition, "synthesize": made})
        return folder / "contact_sheet.png"

    def cut(self, condition: Path, size: int) -> list[Path]:
        """Return conditionings of ``size`` samples each, the last one with what is left."""
        frame = conditioning.SCHEMA.read(condition)
        levels = conditioning.read_levels(condition)
        pieces = []
        for start in range(0, len(frame), size):
            pieces.append(self.scratch / f"{condition.name}-{start:05d}")
            conditioning.SCHEMA.write(frame[start : start + size], pieces[-1])
            conditioning.LEVELS.write(levels[start : start + size], pieces[-1])
        return pieces

    def join(self, made: Sequence[Path]) -> Path:
        """Return one synthesized folder of the images of several, in their order."""
        self.made += 1
        out = self.scratch / f"{self.made:03d}-joined"
        synthesized.write(np.concatenate([synthesized.read(folder) for folder in made]), out)
        shutil.copyfile(SynthesisFacts.path(made[0]), SynthesisFacts.path(out))
        return out

    def fidelity(
        self, condition: Path, made: Path, features: str = "judge", draws: int = 500
    ) -> dict[str, Any]:
        """Return fidelity.json of synthesized images on the given features."""
        params = fidelity_stage.Params.of(self._measuring(features, draws))
        inputs = {
            "features": self.real_features(features),
            "condition": condition,
            "synthesize": made,
        }
        return fidelity.read(self.stage(fidelity_stage.STAGE, params, inputs)).to_json()

    def _measuring(self, features: str, draws: int | None = None) -> Config:
        """Return the run's config with other features, and other bootstrap draws where given."""
        changes: dict[str, Any] = {"features": features, "inception": None}
        changes |= {} if draws is None else {"bootstrap": draws}
        evaluation = self.config.evaluation.model_copy(update=changes)
        return self.config.model_copy(update={"evaluation": evaluation})

    @property
    def context(self) -> StageContext:
        """A context over the finished parts for a piece of a stage: maps in this process, trains nothing."""
        return StageContext(
            out=self.scratch,
            inputs=self.parts,
            seed=0,
            threads=self.config.backend.threads,
            device="cpu",
            precision="float32",
            checkpoint=self.scratch,
            progress=lambda *_: None,
            map=lambda worker, chunks, _what: map(worker.load(), chunks),
            launch=lambda _fit: None,
        )

    def view(self, name: str, images: Path, count: int) -> np.ndarray[Any, Any]:
        """Return features (count, F) of a file of images: ``judge``, ``clip``, or ``pixels`` (16 x 16, mean taken away)."""
        if name == "pixels":
            return small_pixels(decoded_images.open_file(images)[:count])
        choice = FeatureChoice(features=name, inception=None)
        tokens = self.config.embedder.tokens
        return extract(self.context, choice, tokens, images, np.arange(count), "features")

    def real_view(self, name: str) -> np.ndarray[Any, Any]:
        """Return such features of the real images, in the dataset's order."""
        if name == "pixels":
            dataset = self.dataset
            return small_pixels(dataset.images_NHWC[dataset.rows])
        return features.read(self.real_features(name))

    def real_features(self, name: str) -> Path:
        """Return the folder of stage ``features``, run once."""
        out = self.scratch / f"features-{name}"
        if not out.exists():
            params = features_stage.Params.of(self._measuring(name))
            self.stage(features_stage.STAGE, params, {}).rename(out)
        return out

    def features(self, images: Path, count: int) -> np.ndarray[Any, Any]:
        """Return the judge's features (count, F) of a file of images."""
        return self.view("judge", images, count)

    def features_of(self, image_ids: list[str]) -> np.ndarray[Any, Any]:
        """Return the judge's features of real images."""
        return self.real_view("judge")[self.dataset.positions(strings(image_ids))]

    def swap(self, condition: Path) -> Path:
        """Return a conditioning in which every sample has the embedding of another lesion of its class, all else kept."""
        out = self.scratch / f"{condition.name}-swapped"
        shutil.copytree(condition, out)
        samples, levels = conditioning.read_samples(out), conditioning.read_levels(out)
        lesion = self.dataset.table.lesion_id[self.dataset.positions(samples.parent_image_id)]
        source = np.arange(len(samples))
        for dx in np.unique(samples.label_S):
            own = np.flatnonzero(samples.label_S == dx)
            for step in range(1, len(own)):
                source[own] = np.roll(own, step)
                if (lesion[source[own]] != lesion[own]).all():
                    break
        conditioning.LEVELS.write(levels[source], out)
        return out

    def accept(
        self, condition: Path, made: Path, guided: bool = False
    ) -> tuple[dict[str, Any], pd.DataFrame]:
        """Return accept.json and synthetic.parquet of synthesized images, every gate open but the judge looking."""
        room = dict.fromkeys(self.dataset.classes, 10**9)
        params = accept_stage.Params.of(self.config, room, policy={"name": "label_consistent"})
        params = params.model_copy(update={"guided": guided})
        out = self.stage(accept_stage.STAGE, params, {"condition": condition, "synthesize": made})
        return accept.read(out).to_json(), synthetic.read_frame(out)


def small_pixels(images_NHWC: Any) -> np.ndarray[Any, Any]:
    """Return images as 16 x 16 averages without their mean colour, (N, 768): hue and shape, no texture."""
    side = images_NHWC.shape[1] // 16
    small = (
        np.asarray(images_NHWC, dtype=np.float32)
        .reshape(len(images_NHWC), 16, side, 16, side, 3)
        .mean(axis=(2, 4))
    )
    rows: np.ndarray[Any, Any] = (small - small.mean(axis=(1, 2), keepdims=True)).reshape(len(small), -1)
    return rows


def progress_line(what: str, done: int, total: int) -> None:
    if done == total or done % max(1, total // 10) == 0:
        print(f"  {what} {done}/{total}", flush=True)
