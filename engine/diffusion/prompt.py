"""Prompts to cross-attention states, with the embedder's own text tower or Stable Diffusion's.

Shape legend: U prompts, P prompt tokens, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.config.safe_weights import SAFE_MODEL
from engine.diffusion.pretrained import load_part
from engine.types import IntArray

CHUNK = 32
"""Prompts encoded at a time; the last chunk is filled up, because float32 results depend on the batch size."""

EMPTY = ""
"""The prompt that stands for "no prompt" in guidance."""


@dataclass(frozen=True, kw_only=True)
class PromptEncoder:
    """A frozen CLIP text tower with its tokenizer; prompts are padded (or cut) to the tower's fixed length."""

    text_model: Any
    tokenizer: Any
    device: str = "cpu"

    @property
    def width(self) -> int:
        """Width W of the states."""
        return int(self.text_model.config.hidden_size)

    @property
    def length(self) -> int:
        """Tokens P a prompt, padding included."""
        return int(self.text_model.config.max_position_embeddings)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Return the last hidden states (U, P, W) of the prompts."""
        filled = [*prompts, *([EMPTY] * (-len(prompts) % CHUNK))]
        tokens = self.tokenizer(
            filled, padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        )["input_ids"]
        pieces = [self.text_model(ids.to(self.device)).last_hidden_state for ids in tokens.split(CHUNK)]
        return torch.cat(pieces)[: len(prompts)].float()

    def encode_unique(self, prompts: Sequence[str]) -> tuple[Tensor, IntArray]:
        """Return the states (U, P, W) of the different prompts, sorted, and each prompt's position among them."""
        unique = sorted(set(prompts))
        place = {text: index for index, text in enumerate(unique)}
        return self.encode(unique), np.array([place[text] for text in prompts], dtype=np.int64)


def load_prompt_encoder(clip: Path, pretrained: str | None, device: str = "cpu") -> PromptEncoder:
    """Open the text tower: of ``pretrained`` (Stable Diffusion layout) where given, else of the folder ``clip``.

    Args:
        clip: a CLIPModel with its tokenizer in the Hugging Face layout (the embedder stage's ``clip/``).
        pretrained: ``denoiser.pretrained``.
        device: torch device.

    Raises:
        ConfigError: ``pretrained`` holds no text_encoder or tokenizer.
    """
    from transformers import AutoTokenizer, CLIPModel, CLIPTextModel
    from transformers.utils import logging as transformers_logging

    if pretrained is None:
        transformers_logging.disable_progress_bar()
        text_model = CLIPModel.from_pretrained(
            clip, dtype=torch.float32, local_files_only=True, **SAFE_MODEL
        ).text_model
        tokenizer = AutoTokenizer.from_pretrained(clip, local_files_only=True, trust_remote_code=False)
    else:
        field = "denoiser.pretrained"
        text_model = load_part(CLIPTextModel, pretrained, "text_encoder", field, dtype=torch.float32)
        tokenizer = load_part(
            AutoTokenizer, pretrained, "tokenizer", field, weights=False, trust_remote_code=False
        )
    text_model = text_model.to(device).eval().requires_grad_(False)
    return PromptEncoder(text_model=text_model, tokenizer=tokenizer, device=device)
