"""The sections of the loop: ``classifier``, ``judge``, ``loop``, ``policy``, ``evaluation``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from engine.arms import ARMS, ENGINE
from engine.config.places import LOCAL, Folder
from engine.config.sections import (
    NORMALISED_BATCH,
    Fraction,
    OptimConfig,
    Rate,
    Section,
    Seed,
    Steps,
    class_name,
)

if TYPE_CHECKING:
    ArmName = str
else:
    ArmName = Literal[tuple(ARMS)]


PrimaryFigure = Literal[
    "malignant.auc",
    "log_loss",
    "malignant.sensitivity",
    "malignant.mean_sensitivity",
    "balanced_accuracy",
    "accuracy",
    "auc",
    "melanoma.sensitivity",
]
"""Figures that a study may be planned on; ``engine.evaluation.figures`` has their words and directions."""


class MixConfig(Section):
    """How the images that an arm adds to the classifier's own are mixed into its batches; the same in every arm."""

    share: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        None, description="added images per batch, 0.5: half; null: as many as there are"
    )
    finish_on_real: Annotated[int, Field(ge=0)] = Field(
        0, description="last optimizer steps of a fit, which see the classifier's own images alone"
    )
    split_batchnorm: bool = Field(
        False, description="normalise synthetic images by batch statistics of their own (AdvProp)"
    )


class ClassifierConfig(OptimConfig):
    """The classifier that is improved."""

    model: str = Field("resnet18", description="any timm or torchvision model name")
    pretrained: Annotated[bool | str, LOCAL] = Field(
        False, description="true: the library's weights; a path: a safetensors file"
    )
    steps: Steps = Field(1500, description="optimizer steps of round 0")
    round_steps: Steps = Field(600, description="optimizer steps of every later round and arm")
    round_init: Literal["continue", "scratch"] = Field(
        "continue", description="later rounds go on or start anew"
    )
    batch_size: Annotated[int, NORMALISED_BATCH, Field(ge=2)] = Field(
        64, description="images per step, over all workers"
    )
    lr: Rate = Field(1e-3, description="peak learning rate of round 0")
    round_lr: Rate | None = Field(None, description="peak learning rate of later rounds; null: a third of lr")
    augment: Literal["none", "flips", "classical"] = Field(
        "classical", description="augmentation in every arm but plain"
    )
    plain_augment: Literal["none", "flips", "classical"] = Field(
        "flips", description="augmentation in arm plain"
    )
    balance: Fraction = Field(
        0.5, description="0: images drawn as frequent as they are; 1: classes equally often"
    )
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.05, description="share of the target spread over all classes"
    )
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.99, description="decay of the averaged weights; 0: none"
    )
    small_stem: bool | None = Field(
        None, description="3x3 stride-1 stem for small images; null: when image_size <= 64"
    )
    mix: MixConfig | None = Field(
        None, description="how added images are mixed into batches; null: drawn as any other image"
    )

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:
        """Read ``real_augment``, as ``plain_augment`` was called while the arm was called ``real``."""
        if isinstance(values, dict) and "real_augment" in values and "plain_augment" not in values:
            values = dict(values)
            values["plain_augment"] = values.pop("real_augment")
        return values


class JudgeConfig(OptimConfig):
    """The independent judge: another architecture, fitted on train lesions out of fold."""

    model: str = Field("regnetx_002", description="any timm or torchvision model but the classifier's")
    pretrained: Annotated[bool | str, LOCAL] = Field(
        False, description="true: the library's weights; a path: a safetensors file"
    )
    folds: Annotated[int, Field(ge=2, le=10)] = Field(3, description="lesion-grouped folds over train")
    steps: Steps = Field(600, description="optimizer steps per fold")
    batch_size: Annotated[int, NORMALISED_BATCH, Field(ge=2)] = Field(64, description="images per step")
    balance: Fraction = Field(
        1.0, description="0: images drawn as frequent as they are; 1: classes equally often"
    )
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.99, description="decay of the averaged weights; 0: none"
    )
    augment: Literal["none", "flips", "classical"] = Field("classical", description="augmentation")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.05, description="share of the target spread over all classes"
    )
    small_stem: bool | None = Field(None, description="as classifier.small_stem")


class LoopConfig(Section):
    """Rounds, arms, and where hard cases come from."""

    seed: Seed = Field(
        0, description="seed of classifiers, mining and synthesis; the top seed is the foundation's"
    )
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = Field(
        None,
        description="seeds of the classifiers: every arm is trained once per seed on the same pools, figures are means over "
        "them; the first one's mistakes are mined; null: seed alone",
    )
    rounds: Annotated[int, Field(ge=1, le=100)] = Field(2, description="rounds after round 0")
    budget: Annotated[int, Field(ge=1)] = Field(
        200,
        description="synthetic images per round, before the gates; with candidates the most that are kept",
    )
    candidates: Annotated[float, Field(ge=1.0, le=100.0)] = Field(
        1.0,
        description="images to generate per image of the budget; above 1, policy.selection keeps the best of those that "
        "pass the gates, at most the budget",
    )
    max_synthetic_ratio: Annotated[float, Field(gt=0.0)] = Field(
        3.0, description="most accepted images per real one, a class"
    )
    max_synthetic: Annotated[int, Field(ge=1)] | None = Field(
        None, description="most accepted images in all rounds together; null: max_synthetic_ratio alone"
    )
    arms: Annotated[list[ArmName], Field(min_length=1)] = Field(
        ["real", "random", "hard"], description="comparison arms to train"
    )
    compare: Literal["every_round", "last_round"] = Field(
        "every_round", description="when the arms other than hard are trained"
    )
    generator_saw: Literal["train", "own", "unlabelled"] = Field(
        "train",
        description="what the generator parts learned from: all of train, the classifier's own images, or these and the "
        "unlabelled ones, which have no diagnosis in their prompt",
    )
    labels_per_round: Annotated[int, Field(ge=1)] = Field(
        50, description="labels that an arm of its own labels (queried, queried_random) asks for per round"
    )
    labels_from: Literal["readers", "oracle"] = Field(
        "readers",
        description="who answers in rounds: readers, for whom the run waits; oracle: hidden labels (SIMULATED LABELS)",
    )
    mine_from: Literal["mine", "crossfit", "test"] = Field(
        "mine", description="where hard cases are sought; test is LEAKY"
    )
    crossfit_folds: Annotated[int, Field(ge=2, le=20)] = Field(3, description="folds of mine_from: crossfit")
    neighbours: Annotated[int, Field(ge=1, le=64)] = Field(
        5, description="train neighbours retrieved per hard case"
    )
    neighbours_level: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="embedder level by which neighbours are retrieved, 1 the lowest (texture, colour), the last the whole "
        "shape; null: all levels fused",
    )

    @property
    def classifier_seeds(self) -> tuple[int, ...]:
        """The seeds that every arm is trained with; the first one's classifier is mined, published and exported."""
        return (self.seed,) if self.seeds is None else tuple(self.seeds)

    @property
    def made_per_round(self) -> int:
        """Images that one arm generates in a round: the budget, or that many candidates per image of it."""
        return round(self.budget * self.candidates)

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: list[int] | None) -> list[int] | None:
        if seeds is not None and len(set(seeds)) != len(seeds):
            raise ValueError(f"a seed is named twice: {', '.join(map(str, seeds))}; name each once")
        return seeds

    @field_validator("arms")
    @classmethod
    def _arms(cls, arms: list[str]) -> list[str]:
        if len(set(arms)) != len(arms):
            raise ValueError(f"an arm is named twice: {', '.join(arms)}")
        if ENGINE not in arms:
            raise ValueError("arms must contain hard, the engine's own; add it")
        return arms


class PolicyConfig(Section):
    """The seven policies, each ``{name: ..., parameter: ...}``; `hardcase config explain policy.mining` lists them."""

    mining: dict[str, Any] = Field({"name": "misclassified"}, description="which cases are hard")
    budget: dict[str, Any] = Field(
        {"name": "class_balanced"}, description="how many images each hard case gets"
    )
    mixing: dict[str, Any] = Field(
        {"name": "interpolate"}, description="which embeddings condition each sample"
    )
    acceptance: dict[str, Any] = Field({"name": "default"}, description="which synthetic images may train")
    selection: dict[str, Any] = Field(
        {"name": "random"}, description="which candidates that passed the gates are kept"
    )
    query: dict[str, Any] = Field(
        {"name": "margin"}, description="which unlabelled images a reader is asked about"
    )
    stopping: dict[str, Any] = Field({"name": "max_rounds"}, description="go on, stop, roll back")

    @field_validator(
        "mining", "budget", "mixing", "acceptance", "selection", "query", "stopping", mode="before"
    )
    @classmethod
    def _spec(cls, spec: Any) -> Any:
        if isinstance(spec, str):
            raise ValueError(f"a policy is a mapping; write {{name: {spec}}}")
        return spec


class EvaluationConfig(Section):
    """How figures and intervals are made."""

    features: Literal["clip", "judge", "inception"] = Field(
        "clip",
        description="what fidelity figures look at: the run's CLIP, the judge, or Inception from a local file",
    )
    inception: Folder | None = Field(
        None, description="file of torchvision's inception_v3 weights, for features: inception"
    )
    likelihood: Annotated[int, Field(ge=0)] = Field(
        0,
        description="val images whose bits per dimension are measured, for models of pixels (vae.kind: identity)",
    )
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = Field(
        1000, description="lesion-clustered bootstrap draws"
    )
    specificity: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.90, description="specificity the operating point has on val"
    )
    melanoma: str | None = Field(
        "mel", description="class with an operating point of its own; null, or not in the data: none"
    )
    melanoma_sensitivity: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.95, description="sensitivity that melanoma's operating point has on val"
    )
    primary: Annotated[list[PrimaryFigure], Field(min_length=1, max_length=3)] = Field(
        ["malignant.auc", "log_loss"],
        description="test figures that the answer and the claims of a study rest on: the primary one, then co-primary ones",
    )
    champion: Literal["balanced_accuracy", "auc", "macro_f1", "accuracy"] = Field(
        "balanced_accuracy", description="val figure that picks the champion and that stopping policies watch"
    )

    @field_validator("primary")
    @classmethod
    def _primary(cls, figures: list[PrimaryFigure]) -> list[PrimaryFigure]:
        if len(set(figures)) != len(figures):
            raise ValueError(f"a figure is named twice: {', '.join(figures)}; name each once")
        return figures

    @field_validator("melanoma", mode="before")
    @classmethod
    def _melanoma(cls, name: Any) -> Any:
        return class_name(name)

    @model_validator(mode="after")
    def _inception(self) -> EvaluationConfig:
        if self.features == "inception" and self.inception is None:
            raise ValueError("features: inception needs evaluation.inception, the file of its weights")
        return self
