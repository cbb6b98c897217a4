"""The sections of the generator: ``embedder``, ``vae``, ``denoiser``, ``synthesis``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from engine.config.places import Place
from engine.config.sections import Fraction, OptimConfig, Rate, Section, Steps, Widths


class BigModelConfig(OptimConfig):
    """What large models on a GPU need besides."""

    moments_in_8_bit: ClassVar[bool] = True

    accumulate: Steps = Field(
        1, description="pieces a worker's share of the batch is passed through in, to save memory"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations again instead of keeping them"
    )
    compile: bool = Field(
        False, description="torch.compile: faster after minutes of compiling; needs a C++ compiler"
    )


class EmbedderConfig(OptimConfig):
    """CLIP: pre-trained, or a small one trained on train images and their metadata captions."""

    pretrained: Place | None = Field(
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


class VaeConfig(BigModelConfig):
    """The autoencoder whose latents are diffused."""

    pretrained: Place | None = Field(
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
    start: Literal["linear", "random"] = Field(
        "linear",
        description="of a VAE from scratch; linear: the encoder starts as the principal components of train patches "
        "(where the last width is at least 2 latent_channels + 2), which learns about ten times sooner",
    )
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


class DistillConfig(Section):
    """A student of the denoiser that samples in few evaluations: the sampler, its steps and its guidance are learned in."""

    steps: Annotated[int, Field(ge=1, le=16)] = Field(
        4, description="evaluations the student takes per image"
    )
    teacher_steps: Annotated[int, Field(ge=1, le=32)] = Field(
        3, description="guided steps of the denoiser that one evaluation of the student stands for"
    )
    fresh: Fraction = Field(
        1.0,
        description="share of the noise that is drawn anew at each level: fresh noise mends errors of a briefly trained "
        "denoiser; 0: samples follow the denoiser's deterministic path",
    )
    train_steps: Steps = Field(1000, description="optimizer steps; each costs several of the denoiser's")
    lr: Rate = Field(3e-4, description="peak learning rate; the student starts as the denoiser")


class DenoiserConfig(BigModelConfig):
    """The U-Net with the Eq. 2 adapter in every transformer block."""

    pretrained: Place | None = Field(
        None, description="hub id or folder of a UNet2DConditionModel; null: from scratch"
    )
    train: Literal["all", "adapter", "lora"] = Field(
        "all",
        description="what learns: all weights; adapter: the lesion adapters beside a frozen pre-trained U-Net; lora: these "
        "and low-rank additions to its attention, merged at the end",
    )
    lora_rank: Annotated[int, Field(ge=1)] = Field(16, description="rank of the additions of train: lora")
    beta: Annotated[float, Field(ge=0.0)] = Field(
        1.0, description="adapter strength (Eq. 2); 0: the un-adapted U-Net"
    )
    loss: Literal["l1", "l2"] = Field("l2", description="l2: L_simple (Ho et al.); l1: the paper")
    prediction: Literal["epsilon", "sample", "v"] = Field(
        "v", description="what the network predicts; v learns soonest"
    )
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
    validations: Annotated[int, Field(ge=0)] = Field(
        8,
        description="looks at the loss of held-out train lesions while training; the best weights are kept; 0: the last",
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

    distill: DistillConfig | None = Field(
        None,
        description="teach a student that samples in few evaluations, {steps: 4}; null: sample the denoiser",
    )

    @model_validator(mode="after")
    def _drops(self) -> DenoiserConfig:
        total = self.drop_prompt + self.drop_lesion + self.drop_all
        if total > 1.0 + 1e-9:
            raise ValueError(
                f"drop_prompt, drop_lesion and drop_all sum to {total:g}, more than 1; lower one of them"
            )
        return self

    @model_validator(mode="after")
    def _frozen_weights(self) -> DenoiserConfig:
        if self.train != "all" and self.pretrained is None:
            raise ValueError(
                f"train: {self.train} leaves a U-Net as it is that has learned nothing; give denoiser.pretrained, or "
                "denoiser.train=all"
            )
        return self


class GanConfig(OptimConfig):
    """The conditional DCGAN of ``synthesis.generator: dcgan``."""

    latent: Annotated[int, Field(ge=1)] = Field(64, description="width of the noise it starts from")
    width: Annotated[int, Field(ge=8)] = Field(
        48, description="channels at the finest level; doubled a level, up to 8 x"
    )
    steps: Steps = Field(4000, description="optimizer steps; generator and discriminator learn in each")
    batch_size: Steps = Field(64, description="real images per step, over all workers")
    lr: Rate = Field(3e-4, description="learning rate")
    lr_schedule: Literal["one_cycle", "cosine", "constant"] = Field(
        "constant", description="learning-rate schedule"
    )
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(0.0, description="decoupled weight decay")
    grad_clip: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="largest gradient norm; null: no clipping"
    )
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.998, description="decay of the averaged generator; 0: none"
    )
    balance: Fraction = Field(
        0.5, description="0: images drawn as frequent as they are; 1: classes equally often"
    )
