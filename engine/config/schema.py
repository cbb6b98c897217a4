"""The config tree: every key a user may set, its bounds, its default and one line on what it does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Steps = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0.0)]
Widths = Annotated[list[Annotated[int, Field(ge=8)]], Field(min_length=1)]

ARMS = ("real", "classical", "mined", "retrieved", "random", "hard", "all_real")
ArmName = Literal["real", "classical", "mined", "retrieved", "random", "hard", "all_real"]


class Section(BaseModel):
    """A part of the tree: unknown keys are refused, values never silently converted between kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ColumnsConfig(Section):
    """Column names of ``format: table``; image and label are required there."""

    image: str | None = Field(
        None, description="column holding the image path, relative to the table's folder"
    )
    label: str | None = Field(None, description="column holding the diagnosis")
    lesion: str | None = Field(
        None, description="column holding the lesion id; none: every image is its own lesion"
    )
    patient: str | None = Field(
        None, description="column holding the patient id; when given, splits go by patient"
    )
    age: str | None = Field(None, description="column holding the age in years")
    sex: str | None = Field(None, description="column holding the sex")
    site: str | None = Field(None, description="column holding the body site")


class SplitConfig(Section):
    """Shares of lesions a part; they must sum to at most 1, what is left over is not used."""

    train: Fraction = Field(
        0.60, description="share of groups the classifier and every generator part learn from"
    )
    mine: Fraction = Field(
        0.15, description="share of groups in which hard cases are sought; 0 with crossfit"
    )
    val: Fraction = Field(
        0.10, description="share of groups that fits temperature and operating points and picks"
    )
    test: Fraction = Field(0.15, description="share of groups that is recorded and never decides")
    merge_duplicates: bool = Field(
        True, description="join near-duplicate images into one group before splitting"
    )
    official: bool = Field(
        False, description="keep the data set's own train/val/test parts where it has them"
    )

    @model_validator(mode="after")
    def _sum(self) -> SplitConfig:
        total = self.train + self.mine + self.val + self.test
        if total > 1.0 + 1e-9:
            raise ValueError(f"fractions sum to {total:g}, more than 1; lower train, mine, val or test")
        for name in ("train", "val", "test"):
            if getattr(self, name) <= 0.0:
                raise ValueError(
                    f"{name} must be above 0: every run needs lesions to train on, decide on and report"
                )
        return self


class PhantomConfig(Section):
    """Size and difficulty of the procedural data set (``format: phantom``)."""

    lesions: Annotated[int, Field(ge=14)] = Field(400, description="number of lesions")
    views: Annotated[int, Field(ge=1, le=8)] = Field(2, description="most photographs of one lesion")
    difficulty: Fraction = Field(0.5, description="0: classes far apart; 1: classes overlap heavily")
    imbalance: Fraction = Field(0.5, description="0: classes equally frequent; 1: HAM10000's proportions")


class DataConfig(Section):
    """Where images come from and how they are cut."""

    format: Literal["ham10000", "isic", "medmnist", "folder", "table", "torchvision", "phantom"] = Field(
        "phantom", description="layout of the data; `hardcase init DIR` recognises it"
    )
    root: str | None = Field(None, description="folder (or file) the data lies in; not used by phantom")
    image_size: Annotated[int, Field(ge=16, le=1024)] = Field(
        64, description="side of the square images, pixels"
    )
    fit: Literal["crop", "stretch"] = Field(
        "crop", description="crop: short side to image_size, centre crop; stretch: distort to a square"
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        None, description="use about this many images: whole lesions, stratified"
    )
    on_bad_image: Literal["fail", "skip"] = Field(
        "fail", description="fail: stop at a broken image; skip: drop and count it"
    )
    mask: Literal["file", "otsu", "none"] = Field(
        "file", description="lesion mask: the file's (Otsu where absent), Otsu, none"
    )
    crop: Literal["none", "bbox"] = Field(
        "none", description="Eq. 1's lesion cut to its bounding box before embedding, or not"
    )
    malignant: list[str] = Field(
        ["mel", "bcc", "akiec"], description="classes counted as malignant or premalignant"
    )
    columns: ColumnsConfig = Field(ColumnsConfig(), description="column names for format: table")
    map_labels: dict[str, str | None] = Field(
        {}, description="rename classes as read ({AK: akiec, UNK: null}); null drops the images"
    )
    dataset: Literal["mnist", "cifar10"] | None = Field(
        None, description="which torchvision set (format: torchvision)"
    )
    phantom: PhantomConfig = Field(PhantomConfig(), description="the procedural data set (format: phantom)")
    split: SplitConfig = Field(SplitConfig(), description="shares of train, mine, val and test")
    workers: Annotated[int, Field(ge=0)] = Field(0, description="processes that decode images; 0: one a core")

    @model_validator(mode="after")
    def _root(self) -> DataConfig:
        if self.format != "phantom" and not self.root:
            raise ValueError(f"root is required for format: {self.format}; give data.root=FOLDER")
        if self.format == "torchvision" and self.dataset is None:
            raise ValueError(
                "dataset is required for format: torchvision; give data.dataset=mnist or cifar10"
            )
        if self.format == "table" and not (self.columns.image and self.columns.label):
            raise ValueError("columns.image and columns.label are required for format: table")
        return self


class OptimConfig(Section):
    """How a part is trained: AdamW with a one-cycle learning rate unless said otherwise."""

    steps: Steps = Field(500, description="optimizer steps")
    batch_size: Steps = Field(32, description="images a step, over all workers")
    lr: Rate = Field(1e-3, description="peak learning rate")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(0.01, description="decoupled weight decay")
    lr_schedule: Literal["one_cycle", "cosine", "constant"] = Field(
        "one_cycle", description="learning-rate schedule"
    )
    grad_clip: Annotated[float, Field(gt=0.0)] | None = Field(
        1.0, description="largest gradient norm; null: no clipping"
    )
    checkpoint_every: Steps = Field(200, description="steps between checkpoints a killed run resumes from")


class EmbedderConfig(OptimConfig):
    """CLIP: pre-trained, or a small one trained on train images and their metadata captions."""

    pretrained: str | None = Field(
        None, description="hub id or folder of a CLIP model; null: train a small one"
    )
    levels: Annotated[int, Field(ge=1, le=24)] = Field(
        5, description="evenly spaced transformer layers (Kim et al.: 5)"
    )
    fuse: Literal["mean", "concat"] = Field(
        "mean", description="levels averaged into one token (the paper) or kept as tokens"
    )
    tokens: Literal["cls", "patches"] = Field(
        "cls", description="the class token of a level, or the mean of its patches"
    )
    steps: Steps = Field(400, description="optimizer steps of the small CLIP; not used with pretrained")
    width: Annotated[int, Field(ge=16)] = Field(96, description="width of the small CLIP")
    layers: Annotated[int, Field(ge=1)] = Field(
        6, description="transformer layers of the small CLIP's image tower"
    )
    patch: Annotated[int, Field(ge=2)] = Field(8, description="patch side of the small CLIP, pixels")
    text_layers: Annotated[int, Field(ge=1)] = Field(
        2, description="transformer layers of the small CLIP's text tower"
    )

    @model_validator(mode="after")
    def _levels(self) -> EmbedderConfig:
        if self.pretrained is None and self.levels > self.layers:
            raise ValueError(
                f"levels ({self.levels}) exceeds layers ({self.layers}); lower levels or raise layers"
            )
        return self


class VaeLossConfig(Section):
    """Weights of the VAE loss (Kim et al.: KL + L1 + L2 + SSIM)."""

    kl: Annotated[float, Field(ge=0.0)] = Field(
        1e-6, description="weight of the KL divergence to N(0, I), a latent element"
    )
    l1: Annotated[float, Field(ge=0.0)] = Field(1.0, description="weight of the mean absolute error")
    l2: Annotated[float, Field(ge=0.0)] = Field(1.0, description="weight of the mean squared error")
    ssim: Annotated[float, Field(ge=0.0)] = Field(0.2, description="weight of 1 - SSIM")


class VaeConfig(OptimConfig):
    """The autoencoder whose latents are diffused."""

    pretrained: str | None = Field(
        None, description="hub id or folder of an AutoencoderKL; null: train from scratch"
    )
    kind: Literal["kl", "identity"] = Field("kl", description="identity: diffuse pixels, no autoencoder")
    latent_channels: Annotated[int, Field(ge=1, le=64)] = Field(
        8, description="latent channels (the paper: 8 instead of 4)"
    )
    downsample: Literal[1, 2, 4, 8] = Field(4, description="pixels a latent cell, one side")
    widths: Widths = Field([16, 32, 64], description="channels a resolution level, finest first")
    layers_per_block: Annotated[int, Field(ge=1)] = Field(1, description="residual blocks a level")
    steps: Steps = Field(1500, description="optimizer steps")
    lr: Rate = Field(3e-3, description="peak learning rate")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(0.0, description="decoupled weight decay")
    loss: VaeLossConfig = Field(VaeLossConfig(), description="weights of the loss terms")
    colour_jitter: Fraction = Field(
        0.3,
        description="saturation and tint of training images varied by this much, so that hue survives; 0: not",
    )
    sample_posterior: bool = Field(True, description="decode a posterior sample while training, not its mean")

    @model_validator(mode="after")
    def _widths(self) -> VaeConfig:
        if self.kind == "kl" and self.pretrained is None and 2 ** (len(self.widths) - 1) != self.downsample:
            raise ValueError(
                f"widths has {len(self.widths)} levels, which downsample by {2 ** (len(self.widths) - 1)}, "
                f"but downsample is {self.downsample}"
            )
        return self


class DenoiserConfig(OptimConfig):
    """The U-Net with the Eq. 2 adapter in every transformer block."""

    pretrained: str | None = Field(
        None, description="hub id or folder of a UNet2DConditionModel; null: from scratch"
    )
    beta: Annotated[float, Field(ge=0.0)] = Field(
        1.0, description="adapter strength (Eq. 2); 0: the un-adapted U-Net"
    )
    loss: Literal["l1", "l2"] = Field("l2", description="l2: L_simple (Ho et al.); l1: the paper")
    prediction: Literal["epsilon", "sample", "v"] = Field("v", description="what the network predicts; v learns soonest")
    schedule: Literal["linear", "scaled_linear", "cosine"] = Field(
        "scaled_linear", description="noise schedule over 1000 steps"
    )
    min_snr_gamma: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="Min-SNR loss weighting (Hang et al. 2023); null: unweighted"
    )
    widths: Widths = Field([64, 128, 128], description="channels a resolution level, finest first")
    layers_per_block: Annotated[int, Field(ge=1)] = Field(1, description="residual blocks a level")
    head_dim: Annotated[int, Field(ge=8)] = Field(32, description="width of an attention head")
    attention_side: Annotated[int, Field(ge=1)] = Field(
        8, description="largest feature-map side with transformer blocks; 16 doubles the cost at 64 px"
    )
    steps: Steps = Field(4000, description="optimizer steps")
    batch_size: Steps = Field(48, description="latents a step, over all workers")
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.999, description="decay of the averaged weights; 0: none"
    )
    drop_prompt: Fraction = Field(0.1, description="share of steps without prompt, for guidance")
    drop_lesion: Fraction = Field(0.1, description="share of steps without lesion embedding, for guidance")
    drop_all: Fraction = Field(0.1, description="share of steps without either, for guidance")
    balance: Fraction = Field(
        0.5, description="0: images drawn as frequent as they are; 1: classes equally often"
    )
    flips: bool = Field(True, description="train on flipped latents too (encoded from flipped images)")
    guidance_tokens: Literal["own", "neighbour", "mixed"] = Field(
        "mixed",
        description="lesion embedding while training: the image's own, a same-class neighbour's, or either",
    )

    @model_validator(mode="after")
    def _drops(self) -> DenoiserConfig:
        total = self.drop_prompt + self.drop_lesion + self.drop_all
        if total > 1.0 + 1e-9:
            raise ValueError(
                f"drop_prompt, drop_lesion and drop_all sum to {total:g}, more than 1; lower one of them"
            )
        return self


class SynthesisConfig(Section):
    """How hard cases become images."""

    generator: Literal["diffusion"] = Field("diffusion", description="what makes the images")
    sampler: Literal["dpmpp", "ddim", "ddpm", "unipc"] = Field(
        "dpmpp", description="dpmpp and unipc need 10-20 steps"
    )
    steps: Annotated[int, Field(ge=1, le=1000)] = Field(16, description="denoiser steps a sample")
    strength: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="1: from noise; below: edit the parent image, noised to this share of the way"
    )
    guidance_scale: Annotated[float, Field(ge=1.0)] = Field(
        2.0, description="classifier-free guidance; 1: none"
    )
    lesion_guidance_scale: Annotated[float, Field(ge=1.0)] | None = Field(
        None, description="own scale for the lesion embedding; null: as guidance_scale"
    )
    guidance_interval: tuple[Fraction, Fraction] = Field(
        (0.0, 1.0),
        strict=False,
        description="share of the noise range (0 clean, 1 noise) in which guidance acts",
    )
    beta: Annotated[float, Field(ge=0.0)] | None = Field(
        None, description="adapter strength while sampling; null: denoiser.beta"
    )
    adversarial_scale: Annotated[float, Field(ge=0.0, le=0.0)] = Field(
        0.0, description="adversarial guidance; only 0 (off) in this version"
    )
    batch_size: Steps = Field(32, description="samples a batch; fixed, because float32 results depend on it")

    @model_validator(mode="after")
    def _interval(self) -> SynthesisConfig:
        low, high = self.guidance_interval
        if low >= high:
            raise ValueError(f"guidance_interval [{low:g}, {high:g}] must rise; 0 is clean, 1 is noise")
        if self.sampler in ("dpmpp", "unipc") and self.steps < 2:
            raise ValueError(f"steps must be at least 2 for the second-order sampler {self.sampler}")
        return self


class ClassifierConfig(OptimConfig):
    """The classifier that is improved."""

    model: str = Field("resnet18", description="any timm or torchvision model name")
    pretrained: bool | str = Field(
        False, description="true: the library's weights; a path: a safetensors file"
    )
    steps: Steps = Field(1500, description="optimizer steps of round 0")
    round_steps: Steps = Field(600, description="optimizer steps of every later round and arm")
    round_init: Literal["continue", "scratch"] = Field(
        "continue", description="later rounds go on or start anew"
    )
    batch_size: Steps = Field(64, description="images a step, over all workers")
    lr: Rate = Field(1e-3, description="peak learning rate of round 0")
    round_lr: Rate | None = Field(None, description="peak learning rate of later rounds; null: a third of lr")
    augment: Literal["none", "flips", "classical"] = Field(
        "classical", description="augmentation in every arm but plain real"
    )
    real_augment: Literal["none", "flips", "classical"] = Field(
        "flips", description="augmentation in round 0 and arm real"
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


class JudgeConfig(OptimConfig):
    """The independent judge: another architecture, fitted on train lesions out of fold."""

    model: str = Field(
        "regnetx_002", description="any timm or torchvision model but the classifier's"
    )
    pretrained: bool | str = Field(
        False, description="true: the library's weights; a path: a safetensors file"
    )
    folds: Annotated[int, Field(ge=2, le=10)] = Field(3, description="lesion-grouped folds over train")
    steps: Steps = Field(600, description="optimizer steps a fold")
    batch_size: Steps = Field(64, description="images a step")
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

    seed: int = Field(
        0, description="seed of classifiers, mining and synthesis; the top seed is the foundation's"
    )
    rounds: Annotated[int, Field(ge=1, le=100)] = Field(2, description="rounds after round 0")
    budget: Annotated[int, Field(ge=1)] = Field(
        200, description="synthetic images to generate a round, before the gates"
    )
    max_synthetic_ratio: Annotated[float, Field(gt=0.0)] = Field(
        3.0, description="most accepted images a real one, a class"
    )
    arms: Annotated[list[ArmName], Field(min_length=1)] = Field(
        ["real", "hard"], description="comparison arms to train"
    )
    compare: Literal["every_round", "last_round"] = Field(
        "every_round", description="when the arms other than hard are trained"
    )
    generator_saw: Literal["train", "own"] = Field(
        "train", description="what the generator parts learned from"
    )
    mine_from: Literal["mine", "crossfit", "test"] = Field(
        "mine", description="where hard cases are sought; test is LEAKY"
    )
    crossfit_folds: Annotated[int, Field(ge=2, le=20)] = Field(3, description="folds of mine_from: crossfit")
    neighbours: Annotated[int, Field(ge=1, le=64)] = Field(
        5, description="train neighbours retrieved a hard case"
    )

    @field_validator("arms")
    @classmethod
    def _arms(cls, arms: list[str]) -> list[str]:
        if len(set(arms)) != len(arms):
            raise ValueError(f"an arm is named twice: {', '.join(arms)}")
        if "hard" not in arms:
            raise ValueError("arms must contain hard, the engine's own; add it")
        return arms


class PolicyConfig(Section):
    """The five policies, each ``{name: ..., parameter: ...}``; `hardcase config explain policy.mining` lists them."""

    mining: dict[str, Any] = Field({"name": "misclassified"}, description="which cases are hard")
    budget: dict[str, Any] = Field(
        {"name": "class_balanced"}, description="how many images each hard case gets"
    )
    mixing: dict[str, Any] = Field(
        {"name": "interpolate"}, description="which embeddings condition each sample"
    )
    acceptance: dict[str, Any] = Field({"name": "default"}, description="which synthetic images may train")
    stopping: dict[str, Any] = Field({"name": "max_rounds"}, description="go on, stop, roll back")


class EvaluationConfig(Section):
    """How figures and intervals are made."""

    features: str = Field("clip", description="features of fidelity and distance figures: the run's clip")
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = Field(
        1000, description="lesion-clustered bootstrap draws"
    )
    specificity: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.90, description="specificity the operating point has on val"
    )
    champion: Literal["balanced_accuracy", "auc", "macro_f1", "accuracy"] = Field(
        "balanced_accuracy", description="val figure that picks the champion and that stopping policies watch"
    )


class BackendConfig(Section):
    """Where stages run."""

    kind: Literal["local", "ray"] = Field("local", description="in this process, or as Ray tasks")
    address: str | None = Field(
        None, description="Ray head (ray://host:10001 or host:6379); null: start Ray here"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="where tensors live; auto: a GPU if there is one"
    )
    threads: Annotated[int, Field(ge=1)] = Field(
        2, description="torch threads a stage; results differ between 1 and 2"
    )
    train_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="Ray Train workers a training; 0: in the stage's own task"
    )
    map_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="actors a map over images; 0: in the stage's own task"
    )
    gpus_per_worker: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="GPUs a task, train worker or map actor asks for"
    )
    precision: Literal["float32", "bf16"] = Field("float32", description="autocast precision on a GPU")


class TrackingConfig(Section):
    """Where rounds are logged."""

    kind: Literal["mlflow", "none"] = Field("mlflow", description="mlflow or none")
    uri: str | None = Field(
        None, description="tracking server; null: MLFLOW_TRACKING_URI, else mlflow.db beside output"
    )
    experiment: str | None = Field(None, description="experiment name; null: the config's name")


class Config(Section):
    """The whole tree of one run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        "run", description="run folder under output"
    )
    seed: int = Field(0, description="seed of the split and the foundation (VAE, embedder, denoiser, judge)")
    output: str = Field("runs", description="folder for runs and the stage cache")
    data: DataConfig = Field(DataConfig(), description="where images come from")
    embedder: EmbedderConfig = Field(EmbedderConfig(), description="CLIP multi-level embeddings")
    vae: VaeConfig = Field(VaeConfig(), description="the autoencoder")
    denoiser: DenoiserConfig = Field(DenoiserConfig(), description="the diffusion model")
    synthesis: SynthesisConfig = Field(SynthesisConfig(), description="sampling")
    classifier: ClassifierConfig = Field(ClassifierConfig(), description="the classifier that is improved")
    judge: JudgeConfig = Field(JudgeConfig(), description="the independent judge")
    loop: LoopConfig = Field(LoopConfig(), description="rounds and arms")
    policy: PolicyConfig = Field(PolicyConfig(), description="the five policies")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="figures and intervals")
    backend: BackendConfig = Field(BackendConfig(), description="where stages run")
    tracking: TrackingConfig = Field(TrackingConfig(), description="where rounds are logged")
    search_space: dict[str, Any] = Field({}, description="for tune: dotted key -> values or range")

    @model_validator(mode="after")
    def _across(self) -> Config:
        problems = []
        if self.loop.mine_from == "mine" and self.data.split.mine <= 0.0:
            problems.append(
                "data.split.mine is 0 but loop.mine_from is mine; raise it or use mine_from: crossfit"
            )
        if "all_real" in self.loop.arms and self.loop.mine_from != "mine":
            problems.append(
                "loop.arms: all_real needs loop.mine_from: mine (there is no mine split to spend otherwise)"
            )
        if self.judge.model == self.classifier.model:
            problems.append(
                f"judge.model is the classifier's ({self.judge.model}); an independent judge needs another"
            )
        if self.vae.kind == "identity" and self.vae.downsample != 1:
            problems.append("vae.downsample must be 1 for vae.kind: identity")
        if self.data.image_size % (self.vae.downsample * 2 ** (len(self.denoiser.widths) - 1)):
            problems.append(
                f"data.image_size ({self.data.image_size}) must be a multiple of vae.downsample x 2^(denoiser levels - 1) "
                f"= {self.vae.downsample * 2 ** (len(self.denoiser.widths) - 1)}"
            )
        if self.embedder.pretrained is None and self.data.image_size % self.embedder.patch:
            problems.append(
                f"data.image_size ({self.data.image_size}) must be a multiple of embedder.patch ({self.embedder.patch})"
            )
        if self.backend.kind == "local" and self.backend.train_workers > 1:
            problems.append("backend.train_workers > 1 needs backend.kind: ray")
        if problems:
            raise ValueError("; ".join(problems))
        return self
