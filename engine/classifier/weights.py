"""The classifier's file: one safetensors file whose header says everything needed to rebuild the model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.artifacts.whole_files import whole_file
from engine.classifier.model import (
    HEADER,
    bare_model,
    choose_stem,
    normalisation,
    read_header,
    read_weights,
)
from engine.classifier.stems import Stem
from engine.errors import DataError


@dataclass(frozen=True, kw_only=True)
class ClassifierMeta:
    """What a classifier is: ``classes`` are its logits' columns, ``mean`` and ``std`` its input normalisation."""

    model: str
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stem: Stem

    @property
    def small_stem(self) -> bool:
        """Whether the stem was adapted to small images."""
        return self.stem != "library"

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON object of the file's header."""
        return {**dataclasses.asdict(self), "small_stem": self.small_stem}


_META: Final = TypeAdapter(ClassifierMeta)


def describe(
    model: str, classes: tuple[str, ...], image_size: int, pretrained: bool | str, small_stem: bool | None
) -> ClassifierMeta:
    """Return the meta of a model about to be built by ``build_model`` with the same arguments."""
    mean, std = normalisation(model, pretrained)
    stem = choose_stem(image_size, pretrained, small_stem)
    return ClassifierMeta(model=model, classes=classes, image_size=image_size, mean=mean, std=std, stem=stem)


def save_classifier(model: nn.Module, meta: ClassifierMeta, path: Path) -> None:
    """Write the weights and their header, atomically; the same weights give the same bytes."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata={HEADER: json.dumps(meta.to_json(), sort_keys=True)})


def read_meta(path: Path) -> ClassifierMeta:
    """Read the header alone (DataError: missing, broken, or not written by hardcase)."""
    header = read_header(path)
    if header is None:
        raise DataError(
            f"{path} is not a classifier written by hardcase; give a classifier.safetensors of a run"
        )
    try:
        return _META.validate_json(json.dumps(header), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: {where} of its header: {first['msg']}; give a classifier.safetensors of a run that this version reads"
        ) from None


def load_classifier(path: Path) -> tuple[nn.Module, ClassifierMeta]:
    """Rebuild the model from its file alone, on CPU, in eval mode.

    Raises:
        DataError: the file is missing, broken, or its tensors do not fit the model it names.
    """
    meta = read_meta(path)
    model = bare_model(meta.model, len(meta.classes), meta.image_size, meta.stem)
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise DataError(
            f"{path}: the weights do not fit {meta.model} as this timm builds it ({error})"
        ) from error
    return model.eval(), meta


class UnitInputClassifier(nn.Module):
    """A classifier whose input is RGB in [0, 1], (N, 3, H, W): the normalisation is inside. For export."""

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, model: nn.Module, meta: ClassifierMeta) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean_C", torch.tensor(meta.mean).view(1, 3, 1, 1))
        self.register_buffer("std_C", torch.tensor(meta.std).view(1, 3, 1, 1))

    def forward(self, unit_NCHW: Tensor) -> Tensor:
        """Return logits (N, C)."""
        logits: Tensor = self.model((unit_NCHW - self.mean_C) / self.std_C)
        return logits


def open_logits(path: Path, device: str) -> tuple[Callable[[Tensor], Tensor], tuple[str, ...]]:
    """Return a differentiable function from pixels (B, 3, H, W) in [-1, 1] to logits (B, C), and the C classes."""
    model, meta = load_classifier(path)
    network = UnitInputClassifier(model, meta).eval().requires_grad_(False).to(device)

    def logits(pixels_BCHW: Tensor) -> Tensor:
        result: Tensor = network((pixels_BCHW + 1.0) / 2.0)
        return result

    return logits, meta.classes
