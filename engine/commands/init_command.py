"""`hardcase init DIR`: looks at a data folder and writes a commented config that fits it and this machine."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from engine.artifacts.yaml_text import parse_yaml
from engine.commands.found import Layout
from engine.commands.init_classes import Classes, classes_of, few_groups
from engine.commands.init_values import Machine, costs_of, values_of
from engine.commands.layout import recognise
from engine.commands.unlabelled_folder import left_aside, with_unlabelled
from engine.config import parse_config
from engine.config.data_text import flow_value, one_line
from engine.config.known_keys import all_keys
from engine.config.loading import set_key
from engine.data.joined_patients import joined_patients
from engine.data.readers.files import listed_once
from engine.data.splits import group_rows
from engine.data.table import groups_line
from engine.errors import ConfigError
from engine.store import write_text

FEW_GROUPS: Final = 4


def init(
    directory: Path,
    out: Path,
    console: Console,
    *,
    images: Path | None = None,
    label: str | None = None,
    unlabelled: Path | None = None,
    machine: Machine | None = None,
) -> Path:
    """Recognise the data in ``directory``, print what it holds, write a config to ``out`` and return ``out``.

    ``images`` is the folder of the images where they lie apart from the table, ``label`` the column of the diagnosis where
    no known name says which it is, ``unlabelled`` a folder of images that have none.

    Raises:
        DataError: no layout is recognised, or the data is broken.
        ConfigError: ``out`` exists or cannot be written; nothing is written then.
    """
    _refuse_existing(out)
    with listed_once():
        layout = recognise(directory, images, label)
        if unlabelled is not None:
            layout = with_unlabelled(layout, unlabelled)
        else:
            aside = left_aside(layout, directory.expanduser().absolute())
            layout = replace(layout, checks=(*layout.checks, *aside))
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
    """Return the config as YAML, each key with its meaning from the schema beside it, and its cost where it has one."""
    classes = _classes(layout)
    values = values_of(layout, classes, machine)
    counts = ", ".join(f"{dx} {count}" for dx, count in layout.counts.items())
    lines = [
        f"# Written by `hardcase init`: {layout.why}; {_size(layout)}.",
        f"# Images per class: {counts}.",
        f"# Look:  hardcase data describe {shlex.quote(str(out))}",
        f"# Cost:  hardcase run {shlex.quote(str(out))} --dry-run   (plan, sizes, hours here)",
        "#        What stands beside a key after 'here' holds for the values that init wrote, not for yours.",
        f"# Run:   hardcase run {shlex.quote(str(out))}",
        "# Every other key keeps its default: hardcase config explain [KEY]",
    ]
    lines += [f"# CHECK: {note}" for note in _notes(layout, classes)]
    lines = [one_line(line) for line in lines]
    tree: dict[str, Any] = {}
    for key, value in values.items():
        set_key(tree, key, value)
    return "\n".join([*lines, "", *_lines(tree, (), costs_of(values))]) + "\n"


def _classes(layout: Layout) -> Classes:
    source = layout.source
    return classes_of(layout.counts, source.must_map, lesions=layout.data["format"] != "torchvision")


def _notes(layout: Layout, classes: Classes) -> list[str]:
    """Return what a person should look at before running."""
    table = layout.source.table
    notes = [*layout.checks, *classes.checks]
    if layout.grouped_by == "image":
        notes.append(groups_line(layout.n_grouped, len(table)))
    notes += few_groups(
        _groups(layout, classes), layout.grouped_by, layout.counts, classes.map_labels, FEW_GROUPS
    )
    notes += layout.source.notes
    notes += joined_patients(table, lesion_column="lesion" in layout.data.get("columns", {}))
    absent = 0 if layout.source.frames is not None else int((table.path == "").sum())
    if absent:
        notes.append(f"{absent} listed images are absent; add them or set data.on_bad_image: skip")
    if (table.split != "").any():
        notes.append("the data has official parts; data.split.official: true keeps them")
    return notes


def _size(layout: Layout) -> str:
    table = layout.source.table
    if layout.grouped_by != "image":
        return f"{len(table)} images, {layout.n_lesions} lesions"
    known = f"lesions known for {layout.n_grouped} images" if layout.n_grouped else "lesions unknown"
    return f"{len(table)} images, {known}"


def _groups(layout: Layout, classes: Classes) -> dict[str, int]:
    """Return how many groups that a split keeps together (patients, lesions, or images) show each class."""
    table = layout.source.table
    names = [classes.name_of(label) for label in table.dx.tolist()]
    pairs = set(zip(names, group_rows(table).tolist(), strict=True))
    return dict(sorted(Counter(name for name, _ in pairs if name is not None).items()))


def _lines(tree: Mapping[str, Any], path: tuple[str, ...], costs: Mapping[str, str]) -> Iterator[str]:
    """Yield YAML lines; a section is opened by its meaning, a value followed by its own and by its cost."""
    fields = all_keys()
    pad = "  " * len(path)
    for name, value in tree.items():
        key = ".".join((*path, name))
        meaning = fields[key].description or ""
        if isinstance(value, Mapping) and any(other.startswith(f"{key}.") for other in fields):
            if not path:
                yield ""
            yield f"{pad}# {meaning}"
            yield f"{pad}{name}:"
            yield from _lines(value, (*path, name), costs)
        else:
            entry = f"{pad}{name}: {flow_value(value)}"
            cost = f"; here {costs[key]}" if key in costs else ""
            yield f"{entry:36s} # {meaning}{cost}"


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise ConfigError(f"{out}: exists already and is not overwritten; remove it or give another file")


def _report(layout: Layout, out: Path, console: Console) -> None:
    lines = [
        f"found    {layout.why}",
        f"images   {_size(layout)}, grouped by {layout.grouped_by}",
        "classes  " + ", ".join(f"{dx} {count}" for dx, count in layout.counts.items()),
        *(f"check    {note}" for note in _notes(layout, _classes(layout))),
        f"config   {out}",
        f"next     hardcase run {shlex.quote(str(out))} --dry-run",
    ]
    for line in lines:
        console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)
