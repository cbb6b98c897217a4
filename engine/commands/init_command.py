"""`hardcase init DIR`: looks at a data folder and writes a commented config that fits it and this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image
from rich.console import Console

from engine.commands.layout import Layout, recognise
from engine.config import as_argument, parse_config
from engine.config.data_text import flow_value, one_line
from engine.config.known_keys import all_keys
from engine.config.loading import set_key
from engine.config.yaml_text import parse_yaml
from engine.errors import ConfigError
from engine.store import write_text

MALIGNANT: Final = ("mel", "bcc", "akiec", "scc", "melanoma", "malignant")
PROPOSED_NAMES: Final[Mapping[str, str | None]] = {"AK": "akiec", "SCC": "scc", "UNK": None, "unknown": None}
"""Names proposed for ISIC labels that are none of HAM10000's classes; the config says to check them."""
FEW_LESIONS: Final = 4
SIZES: Final = (128, 64, 32)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What sizes depend on."""

    cores: int
    gpu: bool

    @staticmethod
    def here() -> Machine:
        """Return this machine."""
        import torch

        return Machine(cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
                       gpu=torch.cuda.is_available())  # fmt: skip


def init(directory: Path, out: Path, console: Console, *, machine: Machine | None = None) -> Path:
    """Recognise the data in ``directory``, print what it holds, write a config to ``out`` and return ``out``.

    Raises:
        DataError: no layout is recognised, or the data is broken.
        ConfigError: ``out`` exists or cannot be written; nothing is written then.
    """
    _refuse_existing(out)
    layout = recognise(directory)
    text = render(layout, machine or Machine.here(), out)
    parse_config(parse_yaml(text, str(out)), source=str(out))
    _refuse_existing(out)
    try:
        write_text(out, text)
    except OSError as error:
        raise ConfigError(
            f"{out}: cannot be written ({error.strerror or error}); give another file"
        ) from None
    _report(layout, out, console)
    return out


def render(layout: Layout, machine: Machine, out: Path) -> str:
    """Return the config as YAML, each key under a comment with its meaning from the schema."""
    values = _values(layout, machine)
    counts = ", ".join(f"{dx} {count}" for dx, count in layout.counts.items())
    lines = [
        f"# Written by `hardcase init`: {layout.why}; {_size(layout)}.",
        f"# Images a class: {counts}.",
        f"# Look:  hardcase data describe {out}",
        f"# Cost:  hardcase run {out} --dry-run   (plan, sizes, hours here)",
        f"# Run:   hardcase run {out}",
        "# Every other key keeps its default: hardcase config explain [KEY]",
    ]
    lines += [f"# CHECK: {note}" for note in _notes(layout)]
    lines = [one_line(line) for line in lines]
    tree: dict[str, Any] = {}
    for key, value in values.items():
        set_key(tree, key, value)
    return "\n".join([*lines, "", *_lines(tree, ())]) + "\n"


def _values(layout: Layout, machine: Machine) -> dict[str, Any]:
    """Return the keys to write, in order; sizes follow the data and the machine."""
    table, size = layout.source.table, image_size(layout, machine)
    mapped = _label_map(layout)
    classes = sorted({name for label in layout.counts if (name := mapped.get(label, label)) is not None})
    has_masks = bool((table.mask_path != "").any())
    natural = layout.data["format"] == "torchvision"
    images = len(table)
    values: dict[str, Any] = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", Path(layout.data["root"]).stem).strip("-._") or "run",
        "seed": 0,
        "output": "runs",
    }
    values |= {f"data.{key}": value for key, value in layout.data.items() if key != "columns"}
    values |= {f"data.columns.{key}": value for key, value in layout.data.get("columns", {}).items()}
    values |= {"data.image_size": size, "data.limit": None, "data.on_bad_image": "fail"}
    values["data.mask"] = "file" if has_masks else ("none" if natural else "otsu")
    values["data.malignant"] = [name for name in MALIGNANT if name in classes]
    if mapped:
        values["data.map_labels"] = mapped
    values |= {f"data.split.{part}": share for part, share in
               (("train", 0.60), ("mine", 0.15), ("val", 0.10), ("test", 0.15))}  # fmt: skip
    if (table.split != "").any():
        values["data.split.official"] = False
    values |= {
        "classifier.model": "resnet18",
        "classifier.steps": 500 if images < 1000 else 1500,
        "vae.steps": 1500,
        "denoiser.steps": 2000 if images < 1000 else 4000,
        "loop.rounds": 2,
        "loop.budget": max(20, min(500, images // 20)),
        "loop.arms": ["real", "random", "hard"],
        "policy.mining": {"name": "misclassified"},
        "backend.kind": "local",
        "backend.threads": max(1, min(4, machine.cores)),
        "backend.precision": "bf16" if machine.gpu else "float32",
        "tracking.kind": "mlflow",
    }
    return values


def image_size(layout: Layout, machine: Machine) -> int:
    """Return 128 px on a GPU, 64 px otherwise, less where the first image is smaller than that; at least 32."""
    source = layout.source
    if source.frames is not None:
        side = min(source.frames[0].shape[:2])
    else:
        path = next((str(p) for p in source.table.path if p), "")
        try:
            with Image.open(path) as image:
                side = min(image.size)
        except OSError:
            side = SIZES[1]
    most = SIZES[0] if machine.gpu else SIZES[1]
    return next((size for size in SIZES if size <= min(side, most)), SIZES[-1])


def _label_map(layout: Layout) -> dict[str, str | None]:
    present = [label for label in layout.source.must_map if label in layout.counts]
    return {label: PROPOSED_NAMES.get(label, label.lower()) for label in present}


def _notes(layout: Layout) -> list[str]:
    """Return what a person should look at before running."""
    notes = []
    if layout.grouped_by == "image":
        notes.append(
            "the data names no lesions or patients, so one lesion may lie in two parts (GROUPS UNKNOWN)"
        )
    few = [dx for dx, lesions in _lesions(layout).items() if lesions < FEW_LESIONS]
    if few:
        notes.append(
            f"fewer than {FEW_LESIONS} lesions of {', '.join(few)}: "
            f"{as_argument('data.map_labels', {few[0]: 'null'})} drops a class"
        )
    if _label_map(layout):
        notes.append("data.map_labels names classes that HAM10000 does not have; null drops their images")
    absent = 0 if layout.source.frames is not None else int((layout.source.table.path == "").sum())
    if absent:
        notes.append(f"{absent} listed images are absent; add them or set data.on_bad_image: skip")
    if (layout.source.table.split != "").any():
        notes.append("the data has official parts; data.split.official: true keeps them")
    return notes


def _size(layout: Layout) -> str:
    lesions = "lesions unknown" if layout.grouped_by == "image" else f"{layout.n_lesions} lesions"
    return f"{len(layout.source.table)} images, {lesions}"


def _lesions(layout: Layout) -> dict[str, int]:
    table = layout.source.table
    names = [lesion or image for lesion, image in zip(table.lesion_id, table.image_id, strict=True)]
    pairs = {(str(dx), str(name)) for dx, name in zip(table.dx, names, strict=True)}
    return {dx: sum(1 for pair in pairs if pair[0] == dx) for dx in layout.counts}


def _lines(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield YAML lines; a section is opened by its meaning, a value followed by its own."""
    fields = all_keys()
    pad = "  " * len(path)
    for name, value in tree.items():
        meaning = fields[".".join((*path, name))].description or ""
        if isinstance(value, Mapping) and any(key.startswith(".".join((*path, name, ""))) for key in fields):
            if not path:
                yield ""
            yield f"{pad}# {meaning}"
            yield f"{pad}{name}:"
            yield from _lines(value, (*path, name))
        else:
            entry = f"{pad}{name}: {flow_value(value)}"
            yield f"{entry:36s} # {meaning}"


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise ConfigError(f"{out}: exists already and is not overwritten; remove it or give another file")


def _report(layout: Layout, out: Path, console: Console) -> None:
    lines = [
        f"found    {layout.why}",
        f"images   {_size(layout)}, grouped by {layout.grouped_by}",
        "classes  " + ", ".join(f"{dx} {count}" for dx, count in layout.counts.items()),
        *(f"check    {note}" for note in _notes(layout)),
        f"config   {out}",
        f"next     hardcase run {out} --dry-run",
    ]
    for line in lines:
        console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)
