"""Builds any timm or torchvision classifier by name, with or without pre-trained weights."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import timm
import torch
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.artifacts.json_text import parse_json
from engine.classifier.foreign_weights import resized, without_prefixes
from engine.classifier.inputs import IMAGENET_MEAN, IMAGENET_STD
from engine.classifier.stems import Stem, adapt_stem
from engine.config.local_weights import as_path
from engine.errors import ConfigError, DataError

HEADER = "hardcase"
"""The header's only key: safetensors writes several in a random order, and the same weights would differ in bytes."""

SMALL_IMAGE = 64
"""Largest image side, pixels, for which the stem is adapted unless the config says otherwise."""

OFFLINE = (
    "with HF_HUB_OFFLINE=1 or no network only weights already in the cache are found. Download them once on a "
    "machine with a network, or give classifier.pretrained the path of a safetensors file"
)


def build_model(
    name: str,
    n_classes: int,
    image_size: int,
    pretrained: bool | str = False,
    small_stem: bool | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build a classifier that maps float (N, 3, image_size, image_size) to logits (N, n_classes).

    Args:
        name: any timm model (``resnet18``, ``vgg16``, ``convnext_atto.d2_in1k``) or torchvision classifier.
        pretrained: True: the library's weights; a path: a safetensors file; the head is re-made where it differs.
        small_stem: adapt the stem to small images; None: when image_size <= 64 and the model has such a stem.
        seed: of the initial weights; torch's global generator is left as it was.

    Raises:
        ConfigError: unknown name (lists close matches), a size the model refuses, or a stem it does not have.
        DataError: the pre-trained weights cannot be had or do not fit.
    """
    stem = choose_stem(image_size, pretrained, small_stem)
    model = bare_model(name, n_classes, image_size, stem, seed, required=small_stem is True)
    if pretrained is True:
        load_matching(
            model, _library_weights(name, image_size), f"the library's weights of {name}", image_size
        )
    elif isinstance(pretrained, str):
        load_matching(model, read_weights(Path(pretrained)), pretrained, image_size)
    return model


def choose_stem(image_size: int, pretrained: bool | str, small_stem: bool | None) -> Stem:
    """Return the stem's kind: pre-trained weights keep their shapes and lose strides only.

    Weights that hardcase wrote itself keep the stem they were made with.
    """
    header = read_header(Path(pretrained)) if isinstance(pretrained, str) else None
    if header is not None:
        return cast(Stem, header["stem"])
    small = image_size <= SMALL_IMAGE if small_stem is None else small_stem
    if not small:
        return "library"
    return "small" if pretrained is False else "unstrided"


def bare_model(
    name: str, n_classes: int, image_size: int, stem: Stem, seed: int = 0, required: bool = False
) -> nn.Module:
    """Build without weights; ``required``: refuse a model that has no stem to adapt (else it is left as it is)."""
    check_model_name(name)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            model = _create(name, n_classes, image_size)
            adapted = stem == "library" or adapt_stem(model, image_size, n_classes, stem)
            model.eval()(torch.zeros(1, 3, image_size, image_size))
    except (AssertionError, RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"model: {name} does not work on {image_size} px images ({str(error)[:120]}); "
            "choose another model or data.image_size"
        ) from error
    if required and not adapted:
        raise ConfigError(
            f"small_stem: true, but {name} has no stem that can be adapted to small images; "
            "set it to null or false, or choose a resnet, vgg, efficientnet, mobilenet or densenet"
        )
    return model.train()


def normalisation(name: str, pretrained: bool | str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std by channel: those the pre-trained weights expect, else ImageNet's."""
    header = read_header(Path(pretrained)) if isinstance(pretrained, str) else None
    if header is not None:
        return tuple(header["mean"]), tuple(header["std"])
    config = timm.get_pretrained_cfg(name) if pretrained is not False and timm.is_model(name) else None
    if config is None or not config.mean:
        return IMAGENET_MEAN, IMAGENET_STD
    return tuple(map(float, config.mean)), tuple(map(float, config.std))


def known_models() -> list[str]:
    """Return every accepted name: timm's and torchvision's classifiers."""
    return sorted({*timm.list_models(), *torchvision.models.list_models(module=torchvision.models)})


def check_model_name(name: str) -> None:
    """Raise ConfigError with close matches unless timm or torchvision knows ``name``."""
    if timm.is_model(name) or name in torchvision.models.list_models(module=torchvision.models):
        return
    names = known_models()
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "for example resnet18, vgg16, efficientnet_b0"
    raise ConfigError(f"model: {name!r} is none of the {len(names)} timm and torchvision models; {hint}")


def read_header(path: Path) -> dict[str, Any] | None:
    """Return what hardcase wrote into a safetensors file's header; None where another program wrote the file."""
    path = as_path(str(path)) or path
    if not path.is_file():
        state = "are a folder" if path.is_dir() else "do not exist"
        raise DataError(f"classifier weights {path} {state}; give the path of a safetensors file")
    try:
        with safe_open(path, framework="pt") as handle:
            text = (handle.metadata() or {}).get(HEADER)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"classifier weights {path} are no readable safetensors file ({error}); give one, for example "
            "a run's classifier.safetensors"
        ) from error
    if text is None:
        return None
    try:
        header = parse_json(text)
    except ValueError:
        header = None
    if not isinstance(header, dict) or not _is_normalisation(header):
        raise DataError(
            f"classifier weights {path} have a damaged header; give a run's classifier.safetensors"
        )
    return header


def _is_normalisation(header: Mapping[str, Any]) -> bool:
    """Whether a header holds the mean and the std of three channels."""
    values = (header.get("mean"), header.get("std"))
    return all(
        isinstance(v, list) and len(v) == 3 and all(isinstance(x, int | float) for x in v) for v in values
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file's tensors (DataError: missing or broken)."""
    read_header(path)
    return dict(load_file(as_path(str(path)) or path))


def load_matching(
    model: nn.Module, state: Mapping[str, Tensor], source: str, image_size: int | None = None
) -> None:
    """Load ``state``; only the classification head may be missing or of another shape (it stays re-made).

    Prefixes of wrappers are taken off the names. With ``image_size``, positions of a transformer are resampled to it where
    they do not fit.

    Raises:
        DataError: anything else does not fit; names the tensors with their shapes.
    """
    head = _head_names(model)
    names = frozenset(model.state_dict())
    bare = without_prefixes(state, names)
    fitting, wrong = _fitting(model, bare, head)
    if wrong and image_size is not None:
        fitting, wrong = _fitting(model, resized(model, bare, image_size), head)
    if wrong:
        named = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise DataError(
            f"{source} does not fit the model: {named}; "
            "choose the model (and data.image_size) the weights were made with"
        )
    model.load_state_dict(fitting, strict=False)


def _fitting(
    model: nn.Module, state: Mapping[str, Tensor], head: tuple[str, ...]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors that fit, and a word on each of the model's own that has none outside its head."""
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    wrong = [
        f"{k} is missing" if k not in state else f"{k} is {_shape(state[k])} instead of {_shape(own[k])}"
        for k in sorted(own)
        if k not in fitting and not k.startswith(head)
    ]
    return fitting, wrong


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def _create(name: str, n_classes: int, image_size: int) -> nn.Module:
    if timm.is_model(name):
        sized = _size_argument(name, image_size)
        return cast(nn.Module, timm.create_model(name, pretrained=False, num_classes=n_classes, **sized))
    extra: dict[str, Any] = {"image_size": image_size} if name.startswith("vit_") else {}
    if name in ("googlenet", "inception_v3"):
        extra = {"aux_logits": False, "init_weights": False}
    return cast(nn.Module, torchvision.models.get_model(name, weights=None, num_classes=n_classes, **extra))


def _size_argument(name: str, image_size: int) -> dict[str, int]:
    """Timm's transformers are built for one image size and must be told; its other models adapt by themselves."""
    config = timm.get_pretrained_cfg(name)
    return {"img_size": image_size} if config is not None and config.fixed_input_size else {}


def _library_weights(name: str, image_size: int) -> dict[str, Tensor]:
    """Fetch the published state dict (DataError: offline, or the library has none)."""
    try:
        if not timm.is_model(name):
            weights = torchvision.models.get_model_weights(name).DEFAULT
            return dict(weights.get_state_dict(progress=False, check_hash=True))
        sized = _size_argument(name, image_size)
        with torch.random.fork_rng(devices=[]):
            return dict(timm.create_model(name, pretrained=True, **sized).state_dict())
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:160]
        raise DataError(
            f"pretrained: true, but the weights of {name} could not be loaded ({reason}); {OFFLINE}"
        ) from error


def _head_names(model: nn.Module) -> tuple[str, ...]:
    """Return how the names of the classification heads' tensors begin: timm says it, else the last layer with weights."""
    config = getattr(model, "pretrained_cfg", None) or {}
    named = config.get("classifier") if isinstance(config, dict) else None
    heads = (named,) if isinstance(named, str) else tuple(named or ())
    if not heads:
        layers = [str(n) for n, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        heads = (layers[-1],)
    return tuple(f"{head}." for head in heads if head)
