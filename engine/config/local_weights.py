"""Pre-trained weights a config names by a path on this machine: told from hub ids, and checked before a run starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.config.safe_weights import unsafe_reason

if TYPE_CHECKING:
    from engine.config import Config

PATH_STARTS: Final = ("/", ".", "~")
FOLDER_PARTS: Final = {
    "embedder": ("a CLIP model", ""),
    "vae": ("an AutoencoderKL", "vae"),
    "denoiser": ("a UNet2DConditionModel", "unet"),
}
"""Sections whose ``pretrained`` is a hub id or a folder in the Hugging Face layout: what it holds, in which sub-folder."""


def as_path(pretrained: str) -> Path | None:
    """Return the path that a ``pretrained`` value is, ``~`` expanded; None for a hub id.

    A value that starts with / . or ~ is a path, and so is one that exists.
    """
    path = Path(os.path.expanduser(pretrained))  # noqa: PTH111  (the method raises for an unknown ~user)
    return path if pretrained.startswith(PATH_STARTS) or path.exists() else None


def weights_problems(config: Config) -> list[str]:
    """Return a message for each part of the generator whose local weights are not there; hub ids are downloaded."""
    problems: list[str] = []
    for section, (what, part) in FOLDER_PARTS.items():
        given = getattr(config, section).pretrained
        path = None if given is None else as_path(given)
        state = "" if path is None else _folder_problem(path, part)
        if state:
            problems.append(
                f"{section}.pretrained: {given} {state}; give the folder of {what} in the Hugging Face layout, "
                "a hub id, or null"
            )
        elif path is not None:
            problems += [f"{section}.pretrained: {given} {reason}" for reason in unsafe_reasons(path, part)]
    return problems


def unsafe_reasons(path: Path, part: str) -> list[str]:
    """Return why a local folder, or a part of it that is read, is refused (none: it cannot run code)."""
    parts = (part, "text_encoder", "tokenizer") if part == "unet" else (part,)
    places = [path / name for name in parts if name and (path / name).is_dir()]
    reasons = [unsafe_reason(place) for place in places or [path]]
    return [reason for reason in reasons if reason]


def _folder_problem(path: Path, part: str) -> str:
    """Return what keeps a folder from being opened, "" where nothing does; ``part`` is looked at where it is there."""
    if not path.is_dir():
        return "is a file, not a folder" if path.exists() else "does not exist"
    place = path / part if (path / part).is_dir() else path
    return "" if (place / "config.json").is_file() else f"has no {(place / 'config.json').relative_to(path)}"
