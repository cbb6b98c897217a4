"""The config tree: every key a user may set, its bounds, its default and one line on what it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from engine.arms import ARMS, Arm
from engine.config.data_sections import DataConfig
from engine.config.execution_sections import BackendConfig, TrackingConfig
from engine.config.generator_sections import (
    DenoiserConfig,
    EmbedderConfig,
    GanConfig,
    VaeConfig,
)
from engine.config.loop_sections import (
    ClassifierConfig,
    EvaluationConfig,
    JudgeConfig,
    LoopConfig,
    PolicyConfig,
)
from engine.config.places import Folder
from engine.config.sections import Section, Seed
from engine.config.synthesis_section import SynthesisConfig
from engine.config.tune_section import TuneConfig

STAGES = "stages"
"""The folder of the stage cache, beside the run folders."""


class Config(Section):
    """The whole tree of one run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        "run", description="run folder under output"
    )
    seed: Seed = Field(0, description="seed of the split and the foundation (VAE, embedder, denoiser, judge)")
    output: Folder = Field("runs", description="folder for runs and the stage cache, or s3://BUCKET/PREFIX")
    data: DataConfig = Field(DataConfig(), description="where images come from")
    embedder: EmbedderConfig = Field(EmbedderConfig(), description="CLIP multi-level embeddings")
    vae: VaeConfig = Field(VaeConfig(), description="the autoencoder")
    denoiser: DenoiserConfig = Field(DenoiserConfig(), description="the diffusion model")
    gan: GanConfig = Field(GanConfig(), description="the GAN of synthesis.generator: dcgan")
    synthesis: SynthesisConfig = Field(SynthesisConfig(), description="sampling")
    classifier: ClassifierConfig = Field(ClassifierConfig(), description="the classifier that is improved")
    judge: JudgeConfig = Field(JudgeConfig(), description="the independent judge")
    loop: LoopConfig = Field(LoopConfig(), description="rounds and arms")
    policy: PolicyConfig = Field(PolicyConfig(), description="the seven policies")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="figures and intervals")
    backend: BackendConfig = Field(BackendConfig(), description="where stages run")
    tracking: TrackingConfig = Field(TrackingConfig(), description="where rounds are logged")
    search_space: dict[str, Any] = Field(
        {},
        description="for tune: dotted key -> [values], {uniform: [low, high]}, {loguniform: ...} or {int: ...}",
    )
    tune: TuneConfig = Field(TuneConfig(), description="how `hardcase tune` searches search_space")

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if name == STAGES:
            raise ValueError(f"{name} is the folder of the stage cache under output; give another name")
        return name

    @model_validator(mode="after")
    def _across(self) -> Config:
        problems = [*self._loop_problems(), *self._size_problems(), *self._distill_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _loop_problems(self) -> Iterator[str]:
        """What the arms and the mined part need of other sections."""
        arms = [ARMS[name] for name in self.loop.arms]
        mine_from, split = self.loop.mine_from, self.data.split
        if mine_from == "mine" and split.mine <= 0.0:
            yield "data.split.mine is 0 but loop.mine_from is mine; raise it or use mine_from: crossfit"
        yield from self._label_problems(arms)
        if mine_from == "test" and split.seal is not None:
            yield "loop.mine_from: test has nothing to mine where data.split.seal leaves test out; drop one of them"
        if any(arm.adds == "mine split" for arm in arms) and mine_from != "mine":
            yield "loop.arms: all_real needs loop.mine_from: mine (there is no mine split to spend otherwise)"
        if any(arm.generator == self.synthesis.generator for arm in arms):
            yield "loop.arms: dcgan compares a GAN with synthesis.generator, which is dcgan itself; drop one of them"
        if any(arm.scratch for arm in arms) and self.classifier.round_init == "continue":
            yield (
                "loop.arms: synthetic would go on from weights trained on real images; "
                "set classifier.round_init: scratch"
            )
        level, levels = self.loop.neighbours_level, self.embedder.levels
        if level is not None and level > levels:
            yield f"loop.neighbours_level: {level} is no level; embedder.levels is {levels}"
        if self.judge.model == self.classifier.model:
            yield f"judge.model is the classifier's ({self.judge.model}); an independent judge needs another"
        mix, continues = self.classifier.mix, self.classifier.round_init == "continue"
        shortest = self.classifier.round_steps if continues else self.classifier.steps
        if mix is not None and mix.finish_on_real >= shortest:
            yield (
                f"classifier.mix.finish_on_real ({mix.finish_on_real}) leaves no step for added images; "
                f"later rounds have {shortest}"
            )
        if mix is not None and mix.split_batchnorm and self.backend.most_train_workers > 1:
            yield "classifier.mix.split_batchnorm needs backend.train_workers 0 or 1 (or use several without it)"
        if self.backend.kind == "local" and self.backend.most_train_workers > 1:
            yield "backend.train_workers > 1 needs backend.kind: ray"
        if self.backend.shard_optimizer and self.backend.most_train_workers < 2:
            yield "backend.shard_optimizer shares out among train workers; give backend.train_workers 2 or more, or drop it"
        if self.backend.shard_optimizer and self.backend.precision == "fp16":
            yield "backend.shard_optimizer does not go with precision fp16, whose scale all gradients decide; give bf16"
        yield from self._batch_problems()

    def _distill_problems(self) -> Iterator[str]:
        """What a student cannot do: it has one way of sampling, and no place for other guidance on it."""
        if self.denoiser.distill is None:
            return
        section = self.synthesis
        if section.generator != "diffusion":
            yield f"denoiser.distill: synthesis.generator {section.generator} samples no denoiser; drop one of them"
        for name, used in (
            ("classifier_scale", section.classifier_scale > 0),
            ("adversarial_scale", section.adversarial_scale > 0),
            ("skin_share", section.skin_share > 0),
            ("beta", section.beta is not None),
        ):
            if used:
                yield f"synthesis.{name} acts on the denoiser, not on its student; drop it, or denoiser.distill"

    def _label_problems(self, arms: Sequence[Arm]) -> Iterator[str]:
        """What arms that buy labels, and hidden labels, need of other sections."""
        split = self.data.split
        if (
            split.hide_labels is not None
            and split.train_sets is not None
            and self.loop.generator_saw == "train"
        ):
            yield (
                "data.split.hide_labels with train_sets needs loop.generator_saw: own or unlabelled; "
                "under train it would see the labels of other sets"
            )
        for arm in arms:
            if arm.labels and arm.labels not in self.loop.arms:
                yield f"loop.arms: {arm.name} trains on the labels that {arm.labels} asks for; add {arm.labels}"
        hidden = split.hide_labels is not None
        if any(arm.asks for arm in arms) and not hidden and self.data.unlabelled != "keep":
            yield (
                "loop.arms: queried asks about unlabelled images; set data.unlabelled: keep where there are some, "
                "or data.split.hide_labels for a study"
            )
        if self.loop.labels_from == "oracle" and not hidden:
            yield "loop.labels_from: oracle uncovers hidden labels, and data.split.hide_labels hides none; set it"

    def _batch_problems(self) -> Iterator[str]:
        """Batches of which a worker would get no image, or that teach a small CLIP nothing."""
        workers = self.backend.most_train_workers
        for name in ("embedder", "vae", "denoiser", "gan", "classifier", "judge"):
            size = getattr(self, name).batch_size
            if size < workers:
                yield (
                    f"{name}.batch_size ({size}) leaves a worker without an image; raise it to backend.train_workers "
                    f"({workers}) or more, or lower those"
                )
        if self.embedder.pretrained is None and self.embedder.batch_size == 1:
            yield (
                "embedder.batch_size is 1, but the small CLIP learns to tell the images of a batch apart; give 2 or more"
            )

    def _size_problems(self) -> Iterator[str]:
        """Image sizes that a part cannot halve as often as it must."""
        if self.vae.kind == "identity" and self.vae.downsample != 1:
            yield "vae.downsample must be 1 for vae.kind: identity"
        if self.evaluation.likelihood and (
            self.vae.kind != "identity" or self.synthesis.generator != "diffusion"
        ):
            yield "evaluation.likelihood needs a diffusion model of pixels: vae.kind: identity, or set it to 0"
        halvings = (
            0 if self.denoiser.pretrained else len(self.denoiser.widths) - 1
        )  # its own levels take any side
        multiple = self.vae.downsample * 2**halvings
        if self.data.image_size % multiple:
            levels = "" if self.denoiser.pretrained else " x 2^(denoiser levels - 1)"
            yield f"data.image_size ({self.data.image_size}) must be a multiple of vae.downsample{levels} = {multiple}"
        if self.embedder.pretrained is None and self.data.image_size % self.embedder.patch:
            yield (
                f"data.image_size ({self.data.image_size}) must be a multiple of embedder.patch ({self.embedder.patch})"
            )
