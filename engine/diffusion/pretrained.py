"""Loads one part of a Stable Diffusion checkpoint from a hub id or a folder, with errors that name the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import ConfigError


def load_part(kind: Any, pretrained: str, part: str, field: str, **options: Any) -> Any:
    """Return ``kind.from_pretrained`` of ``part``: a sub-folder ``part`` where there is one, else the top.

    Args:
        kind: a diffusers or transformers class with ``from_pretrained``.
        pretrained: hub id or local folder.
        part: name in the Stable Diffusion layout ("vae", "unet", "text_encoder", "tokenizer").
        field: dotted config key, for the message.
        options: passed on.

    Raises:
        ConfigError: nothing loadable there.
    """
    folder = Path(pretrained)
    if folder.is_dir():
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
        except (OSError, ValueError) as error:
            problem = problem or " ".join(str(error).split())[:200]
    raise ConfigError(
        f"{field}: no {part} could be loaded from {pretrained!r} ({problem}); "
        "give a hub id (needs the network once) or a folder in the Hugging Face layout, or null"
    )
