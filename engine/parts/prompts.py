"""Opens the prompt encoder of a denoiser: its own text tower, or the embedder's."""

from __future__ import annotations

from pathlib import Path

from engine.artifacts import embedder as embedder_file
from engine.diffusion.prompt import PromptEncoder, load_prompt_encoder
from engine.parts.embed import text_folder


def open_prompts(embedder: Path, pretrained: str | None, device: str) -> PromptEncoder:
    """Return the text tower of ``denoiser.pretrained`` where given, else of the embedder stage's folder.

    Raises:
        DataError: neither has a text tower.
    """
    clip = embedder / embedder_file.MODEL if pretrained else text_folder(embedder)
    return load_prompt_encoder(clip, pretrained, device)
