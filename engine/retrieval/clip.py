"""CLIP on disk: makes the small one, opens a pre-trained one, and saves either in Hugging Face layout."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
)
from transformers.activations import QuickGELUActivation
from transformers.models.clip.modeling_clip import CLIPMLP

from engine.artifacts.json_text import parse_json
from engine.config import EmbedderConfig
from engine.config.local_weights import as_path
from engine.config.safe_weights import SAFE_MODEL, unsafe_reason
from engine.errors import DataError

CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
"""RGB mean CLIP was trained with (Radford et al. 2021); used where a checkpoint has no preprocessor_config.json."""
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)

QUICK_GELU: Final = 1.702
_HEAD_WIDTH = 32
_PREPROCESSOR = "preprocessor_config.json"


def small_clip(config: EmbedderConfig, image_size: int, tokenizer: Any, seed: int) -> CLIPModel:
    """Return a CLIPModel of the configured size with random weights that depend on ``seed`` alone."""
    tower = {
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "num_attention_heads": heads(config.width),
        "projection_dim": config.width,
        "hidden_act": "gelu",
    }
    vision = CLIPVisionConfig(
        **tower, num_hidden_layers=config.layers, image_size=image_size, patch_size=config.patch
    )
    text = CLIPTextConfig(
        **tower,
        num_hidden_layers=config.text_layers,
        vocab_size=len(tokenizer),
        max_position_embeddings=tokenizer.model_max_length,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    whole = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=config.width
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIPModel(whole)


def heads(width: int) -> int:
    """Return how many attention heads a tower of this width has: about 32 channels each, and a divisor of it."""
    return next(count for count in range(max(1, width // _HEAD_WIDTH), 0, -1) if width % count == 0)


def save_clip(folder: Path, model: Any, tokenizer: Any | None, image_size: int) -> None:
    """Write a model, its tokenizer (None: an image tower alone) and its preprocessing into ``folder``."""
    with quiet():
        model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    write_preprocessing(folder, image_size, CLIP_MEAN, CLIP_STD)


def copy_pretrained(source: str, folder: Path) -> dict[str, Any]:
    """Copy a pre-trained CLIP (hub id or local folder) into ``folder``; weights become safetensors.

    A checkpoint with an image tower alone (CLIPVisionModel) is copied without text.

    Returns:
        ``{"layers": transformer layers of the image tower, "width": its width, "text": whether it has a text tower}``

    Raises:
        DataError: not found, not reachable, broken, or no CLIP; names ``embedder.pretrained``.
    """
    folder_given = as_path(source)
    reason = "" if folder_given is None else unsafe_reason(folder_given)
    if reason:
        raise DataError(f"embedder.pretrained: {source} {reason}")
    source = str(folder_given or source)
    with quiet(), _readable(source):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    if config.model_type not in ("clip", "clip_vision_model"):
        raise DataError(
            f"embedder.pretrained: {source} holds a {config.model_type} model; give a CLIPModel or CLIPVisionModel"
        )
    if getattr(config, "auto_map", None):
        raise DataError(
            f"embedder.pretrained: {source} asks to run Python code of its own (auto_map); give another model"
        )
    text = config.model_type == "clip"
    with quiet(), _readable(source):
        model, report = (CLIPModel if text else CLIPVisionModel).from_pretrained(
            source, output_loading_info=True, dtype=torch.float32, **SAFE_MODEL
        )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False) if text else None
    if report["missing_keys"]:
        raise DataError(
            f"embedder.pretrained: {source} lacks {len(report['missing_keys'])} weights, among them "
            f"{min(report['missing_keys'])}; download it again or give another checkpoint"
        )
    if tokenizer is not None and len(tokenizer) <= len(tokenizer.all_special_ids):
        raise DataError(
            f"embedder.pretrained: {source} holds no tokenizer (tokenizer.json, or vocab.json and merges.txt); "
            "add the model's tokenizer files to it"
        )
    vision = config.vision_config if text else config
    mean, std = _published_preprocessing(source)
    with quiet():
        model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    write_preprocessing(folder, vision.image_size, mean, std)
    return {"layers": vision.num_hidden_layers, "width": vision.hidden_size, "text": text}


def open_vision(
    folder: Path, device: str, dtype: torch.dtype = torch.float32
) -> tuple[CLIPVisionModel, tuple[float, ...], tuple[float, ...]]:
    """Return the image tower saved in ``folder`` for inference, its weights as ``dtype``, and the RGB mean and std it takes.

    Raises:
        DataError: the folder is missing or broken.
    """
    with quiet(), _readable(str(folder)):
        model = CLIPVisionModel.from_pretrained(folder, dtype=torch.float32, **SAFE_MODEL)
        mean, std = _read_preprocessing(folder / _PREPROCESSOR)
    model.eval().requires_grad_(False)
    fold_quick_gelu(model)
    return model.to(device, dtype), mean, std


@torch.no_grad()
def fold_quick_gelu(model: nn.Module) -> None:
    """Let a tower compute the activation x sigmoid(1.702 x) in one pass over memory; for inference, as weights change.

    With s = 1.702, x sigmoid(s x) = silu(s x) / s: the layer before is scaled by s, the layer behind by 1 / s.
    """
    for block in model.modules():
        if isinstance(block, CLIPMLP) and isinstance(block.activation_fn, QuickGELUActivation):
            block.fc1.weight.mul_(QUICK_GELU)
            block.fc1.bias.mul_(QUICK_GELU)
            block.fc2.weight.div_(QUICK_GELU)
            block.activation_fn = nn.SiLU(inplace=True)


def write_preprocessing(
    folder: Path, image_size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Write preprocessor_config.json as CLIPImageProcessor reads it."""
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": image_size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": image_size, "width": image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
    }
    (folder / _PREPROCESSOR).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' reports on unused weights and its progress bars; errors are raised as ever."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


@contextlib.contextmanager
def _readable(source: str) -> Iterator[None]:
    """Turn every way a checkpoint can be unreadable into one error that says what to do."""
    try:
        yield
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"embedder.pretrained: cannot open {source} ({reason[0][:200]}); give the folder of a downloaded CLIP "
            "(config.json, model.safetensors, tokenizer files), go online once so that the hub caches it, "
            "or leave it empty to train a small one"
        ) from error


def _published_preprocessing(source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of the checkpoint's own preprocessor_config.json, CLIP's where it has none."""
    from transformers.utils import cached_file

    path = cached_file(source, _PREPROCESSOR, _raise_exceptions_for_missing_entries=False)
    return _read_preprocessing(Path(path)) if path else (CLIP_MEAN, CLIP_STD)


def _read_preprocessing(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    settings = parse_json(path.read_text(encoding="utf-8"))
    return tuple(settings.get("image_mean", CLIP_MEAN)), tuple(settings.get("image_std", CLIP_STD))
