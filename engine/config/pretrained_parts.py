"""Whether a pre-trained VAE or U-Net fits the engine, read from its config.json alone, before hours are spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.artifacts.json_text import parse_json
from engine.config.local_weights import as_path

if TYPE_CHECKING:
    from engine.config import Config

Facts = Mapping[str, Any]
"""The object of a part's config.json; a key that is absent is not judged."""

KNOWN_DOWNSAMPLES: Final = (1, 2, 4, 8)
LIKE_STABLE_DIFFUSION: Final = "give a U-Net in the layout of Stable Diffusion 1 or 2, or null"
NEEDS: Final[Mapping[str, tuple[str | None, ...]]] = {
    "addition_embed_type": (None, "text"),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
}
"""Keys of a U-Net's config that ask for conditions, and the values that need nothing besides the prompt."""


def parts_problems(config: Config) -> list[str]:
    """Return one message for each way in which ``vae.pretrained`` or ``denoiser.pretrained`` cannot work here.

    Folders and copies in the Hugging Face cache are looked at; what is not on this machine is checked when it is loaded.
    """
    problems: list[str] = []
    if config.vae.kind == "kl" and config.vae.pretrained is not None:
        facts = read_facts(config.vae.pretrained, "vae")
        problems += vae_problems(facts, config.vae.pretrained, config.vae.downsample)
    if config.denoiser.pretrained is not None:
        given = config.denoiser.pretrained
        width = read_facts(given, "text_encoder", top=False).get("hidden_size")
        problems += [*unet_problems(read_facts(given, "unet"), given, width), *_prompt_problems(given)]
    return problems


def vae_problems(facts: Facts, given: str, downsample: int) -> Iterator[str]:
    """Yield what keeps a VAE from being used with ``vae.downsample``; ``given`` is the value of ``vae.pretrained``."""
    remedy = "give an AutoencoderKL of RGB images, or null"
    kind = facts.get("_class_name", "AutoencoderKL")
    if kind != "AutoencoderKL":
        yield f"vae.pretrained: {given!r} is a {kind}; {remedy}"
        return
    for side in ("in_channels", "out_channels"):
        if facts.get(side, 3) != 3:
            yield f"vae.pretrained: {given!r} has {side} {facts[side]}; {remedy}"
    if "block_out_channels" not in facts:
        return
    factor = 2 ** (len(facts["block_out_channels"]) - 1)
    if factor not in KNOWN_DOWNSAMPLES:
        known = ", ".join(map(str, KNOWN_DOWNSAMPLES))
        yield f"vae.pretrained: {given!r} downsamples by {factor}; give one that downsamples by {known}, or null"
    elif factor != downsample:
        yield (
            f"vae.downsample is {downsample}, but {given!r} downsamples by {factor}; set vae.downsample={factor}"
        )


def unet_problems(facts: Facts, given: str, prompt_width: int | None) -> Iterator[str]:
    """Yield what keeps a U-Net from being trained on latents, prompts and lesions alone.

    Latent channels and image sides may differ: new convolutions are made for the first, the second follow from the run.

    Args:
        facts: of the U-Net.
        given: the value of ``denoiser.pretrained``.
        prompt_width: width of its text encoder's states; None where unknown.
    """
    kind = facts.get("_class_name", "UNet2DConditionModel")
    if kind != "UNet2DConditionModel":
        yield f"denoiser.pretrained: {given!r} is a {kind}; {LIKE_STABLE_DIFFUSION}"
        return
    needs = [f"{key} {facts[key]!r}" for key, fine in NEEDS.items() if facts.get(key) not in fine]
    if needs:
        yield (
            f"denoiser.pretrained: {given!r} needs conditions besides the prompt ({', '.join(needs)}), "
            f"as SDXL and upscalers do; {LIKE_STABLE_DIFFUSION}"
        )
        return
    if not _has_transformer_blocks(facts):
        yield (
            f"denoiser.pretrained: {given!r} has no transformer block, so no place for the lesion's adapter; "
            f"{LIKE_STABLE_DIFFUSION}"
        )
    width = facts.get("cross_attention_dim", prompt_width)
    if prompt_width is not None and width != prompt_width:
        yield (
            f"denoiser.pretrained: {given!r} expects prompts of width {width}, its text encoder gives {prompt_width}; "
            "use a checkpoint whose unet and text_encoder belong together"
        )


def read_facts(given: str, part: str, *, top: bool = True) -> Facts:
    """Return the config.json of ``part`` of a folder or of a hub id's copy in the cache; {} where there is none.

    ``top``: whether the top folder itself may be the part, as where a VAE alone was saved.
    """
    folder = as_path(given)
    places = [f"{part}/config.json", *(["config.json"] if top else [])]
    files = [folder / place for place in places] if folder is not None else _in_hub_cache(given, places)
    for file in files:
        try:
            facts = parse_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return facts if isinstance(facts, dict) else {}
    return {}


def _prompt_problems(given: str) -> Iterator[str]:
    """A local U-Net needs its text encoder and tokenizer beside it: its prompts are theirs."""
    folder = as_path(given)
    if folder is None or not (folder / "unet" / "config.json").is_file():
        return
    for part, file in (("text_encoder", "text_encoder/config.json"), ("tokenizer", "tokenizer")):
        if not (folder / file).exists():
            yield f"denoiser.pretrained: {given} has no {file}; give the folder of a whole checkpoint, {part} included"


def _has_transformer_blocks(facts: Facts) -> bool:
    names = [*facts.get("down_block_types", ["CrossAttn"]), facts.get("mid_block_type") or ""]
    return any("CrossAttn" in str(name) and "Simple" not in str(name) for name in names)


def _in_hub_cache(repository: str, places: list[str]) -> list[Path]:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(repository, place) for place in places]
    except HFValidationError:
        return []
    return [Path(file) for file in found if isinstance(file, str)]
