"""Makes weights of other programs fit a model: names without their wrappers' prefixes, positions for its image size."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections import Counter, OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

COMPILED = "_orig_mod."
"""What torch.compile puts before the names of a module, at any depth."""


def without_prefixes(state: Mapping[str, Tensor], names: frozenset[str]) -> dict[str, Tensor]:
    """Return tensors under a model's own names, where a wrapper put something before all of them.

    ``module.`` is DistributedDataParallel's, ``_orig_mod.`` torch.compile's, ``model.`` or ``backbone.`` a trainer's. Of all
    beginnings the one is taken off under which most of ``names`` are found; what does not begin with it is left as it is.
    """
    bare = {name.replace(COMPILED, ""): tensor for name, tensor in state.items()}
    found: Counter[str] = Counter()
    for key in bare:
        parts = key.split(".")
        for depth in range(len(parts)):
            if ".".join(parts[depth:]) in names:
                found[".".join([*parts[:depth], ""]) if depth else ""] += 1
    prefix = max(sorted(found), key=lambda start: found[start], default="")
    return {
        key.removeprefix(prefix): tensor for key, tensor in bare.items() if key.startswith(prefix)
    } or bare


def resized(model: nn.Module, state: Mapping[str, Tensor], image_size: int) -> dict[str, Tensor]:
    """Return a transformer's weights with position embeddings resampled to the model's image size.

    By the library's own rule: timm's filter of the model's family (position embeddings, tables of relative positions,
    patch projections; it also renames what the authors published under other names), torchvision's for its ViT. What no rule
    covers comes back as it is.
    """
    if isinstance(model, VisionTransformer):
        with contextlib.suppress(ValueError, KeyError):
            return dict(interpolate_embeddings(image_size, model.patch_size, OrderedDict(state), "bicubic"))
        return dict(state)
    rule = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if rule is None:
        return dict(state)
    with (
        contextlib.suppress(Exception),  # of weights of another family; the caller names what is wrong
        warnings.catch_warnings(action="ignore"),  # of timm's own interpolation
        torch.no_grad(),
    ):
        return dict(rule(dict(state), model))
    return dict(state)
