"""Which pre-trained weights a config names, and which of them are not on this machine."""

from __future__ import annotations

from pathlib import Path

from engine.config import Config
from engine.config.local_weights import as_path

FOLDERS = (
    ("embedder.pretrained", "config.json"),
    ("vae.pretrained", "config.json"),
    ("denoiser.pretrained", "config.json"),
)
"""Parts in the Hugging Face layout, and a file that each of them has."""


def missing_weights(config: Config) -> list[tuple[str, str]]:
    """Return (key, why) for each part whose weights per run would download; paths are ``build.model_problems``' part."""
    found = []
    for key, marker in FOLDERS:
        source = getattr(config, key.partition(".")[0]).pretrained
        if source is not None and as_path(source) is None and not _in_hub_cache(source, marker):
            found.append((key, f"{source} is neither a folder nor in the Hugging Face cache; {_remedy()}"))
    for key in ("classifier", "judge"):
        section = getattr(config, key)
        if section.pretrained is True and not _library_weights_here(section.model):
            found.append((f"{key}.pretrained", f"weights of {section.model} are in no cache; {_remedy()}"))
    return found


def _remedy() -> str:
    return "a run downloads them, or give the path of a copy"


def _in_hub_cache(repository: str, file: str) -> bool:
    """Whether the Hugging Face cache holds ``file`` of a repository (in it or in its usual subfolders)."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        places = (file, f"vae/{file}", f"unet/{file}")
        return any(isinstance(try_to_load_from_cache(repository, place), str) for place in places)
    except HFValidationError:
        return False


def _library_weights_here(model: str) -> bool:
    """Whether timm's or torchvision's published weights of a model were downloaded before."""
    import timm

    if timm.is_model(model):
        published = timm.get_pretrained_cfg(model)
        if published is None:
            return True
        repository = published.hf_hub_id
        if repository:
            name = repository if "/" in repository else f"timm/{model}"
            return _in_hub_cache(name, "model.safetensors") or _in_hub_cache(name, "pytorch_model.bin")
        return not published.url or _in_torch_cache(str(published.url))
    import torchvision

    if model not in torchvision.models.list_models():
        return True
    weights = torchvision.models.get_model_weights(model).DEFAULT
    return _in_torch_cache(str(weights.url))


def _in_torch_cache(url: str) -> bool:
    import torch

    return (Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]).is_file()
