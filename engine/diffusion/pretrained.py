"""Loads one part of a Stable Diffusion checkpoint, and re-fits it to other channels keeping all it can."""

from __future__ import annotations

from typing import Any

from engine.config import BigModelConfig, VaeConfig
from engine.config.local_weights import as_path
from engine.config.safe_weights import unsafe_reason
from engine.diffusion.attention import choose_attention
from engine.diffusion.compiling import compile_if_possible
from engine.errors import ConfigError
from engine.training.layout import lay_out
from engine.training.plan import TrainEnv

REMADE = "_hardcase_remade"
PLAIN_LOADING = {"low_cpu_mem_usage": False}
"""For diffusers models: weights are filled into an ordinary model whether or not accelerate is installed, unwarned."""


def load_part(
    kind: Any, pretrained: str, part: str, field: str, *, weights: bool = True, **options: Any
) -> Any:
    """Return ``kind.from_pretrained`` of ``part``: a sub-folder ``part`` where there is one, else the top.

    Args:
        kind: a diffusers or transformers class with ``from_pretrained``.
        pretrained: hub id or local folder.
        part: name in the Stable Diffusion layout ("vae", "unet", "text_encoder", "tokenizer").
        field: dotted config key, for the message.
        weights: whether ``kind`` has weights, which must be safetensors (a tokenizer has none).
        options: passed on.

    Raises:
        ConfigError: nothing loadable there, or it could run code (pickled weights, ``auto_map``).
    """
    if weights:
        options = {**options, "use_safetensors": True}
    folder = as_path(pretrained)
    if folder is not None:
        place = folder / part if (folder / part).is_dir() else folder
        reason = unsafe_reason(place)
        if reason:
            raise ConfigError(f"{field}: {place} {reason}")
        attempts = [folder / part] if (folder / part).is_dir() else [folder]
        calls: list[tuple[str, dict[str, Any]]] = [
            (str(path), {"local_files_only": True}) for path in attempts
        ]
    else:
        calls = [(pretrained, {"subfolder": part}), (pretrained, {})]
    problem = ""
    for name, extra in calls:
        try:
            return kind.from_pretrained(name, **extra, **options)
        except Exception as error:  # of whatever a config of other people's making asks diffusers for
            problem = problem or " ".join(str(error).split())[:200]
    raise ConfigError(
        f"{field}: no {part} could be loaded from {pretrained!r} ({problem}); "
        "give a hub id (needs the network once) or a folder in the Hugging Face layout, or null"
    )


def prepare(model: Any, config: BigModelConfig, env: TrainEnv) -> None:
    """Make a network ready for a training as stages, plans and tests train it; its weights keep their values.

    A VAE's convolutions are laid out as its images are, a denoiser attends as is fastest in ``env``, and what the config
    asks for is switched on: gradient checkpointing, torch.compile.

    Args:
        model: an AutoencoderKL with a VaeConfig, else a Denoiser.
        config: its section.
        env: the process that trains it.
    """
    if isinstance(config, VaeConfig):
        lay_out(model, env.device)
        network = model
    else:
        choose_attention(model, env)
        network = model.unet
    if config.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    if config.compile:
        compile_if_possible(network, f"{'vae' if isinstance(config, VaeConfig) else 'denoiser'}.compile")


def refit(source: Any, **changes: Any) -> Any:
    """Return a model of ``source``'s config with ``changes``; every tensor whose shape is unchanged keeps its values.

    The others are made anew from torch's global generator (seed it around the call); ``remade`` names them.
    """
    if all(getattr(source.config, name) == value for name, value in changes.items()):
        return source
    fields = {name: value for name, value in source.config.items() if not name.startswith("_")}
    model = type(source).from_config(fields | changes)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    kept = {name: value for name, value in source.state_dict().items() if shapes.get(name) == value.shape}
    model.load_state_dict(kept, strict=False)
    model.__dict__[REMADE] = sorted(shapes.keys() - kept.keys())
    return model


def remade(model: Any) -> list[str]:
    """Return the names of the tensors that ``refit`` made anew (none for a model it did not touch)."""
    return list(model.__dict__.get(REMADE, ()))
