"""Writes what in the documents follows from the code: docs/stages.md, docs/policies.md, and README's table of arms.

Run ``python -m docs.write`` after a change of stages, their files, policies or arms; tests/test_docs.py holds the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from docs.policies_page import policies_page
from engine.arms import ARMS
from engine.stages import every_stage
from engine.stages.base import Stage
from engine.stages.outputs import entries, file_name, meaning

ROOT = Path(__file__).parents[1]
STAGES, POLICIES, README = ROOT / "docs" / "stages.md", ROOT / "docs" / "policies.md", ROOT / "README.md"
ARMS_BLOCK = re.compile(r"(<!-- arms -->\n).*?(<!-- end of arms -->)", re.DOTALL)
HEAD = """# Stages and their files

Written by `python -m docs.write` from the code; do not edit. A stage reads the folders named as inputs and fills one of its
own, `<output>/stages/<stage>-<key>/`. `accept_#` stands for one folder per round. Shapes: N images, M hard cases,
S samples, C classes, L levels, D width, K neighbours, F features.
"""


def main() -> None:
    """Write them all."""
    STAGES.write_text(stages_page(), encoding="utf-8")
    POLICIES.write_text(policies_page(), encoding="utf-8")
    README.write_text(with_arms(README.read_text(encoding="utf-8")), encoding="utf-8")


def stages_page() -> str:
    """Return docs/stages.md."""
    stages = list(every_stage())
    rows = [f"| [`{s.name}`](#{s.name}) | {s.version} | {_first_line(s)} | {_inputs(s)} |" for s in stages]
    overview = ["| stage | version | what it does | inputs |", "|---|---|---|---|", *rows]
    return "\n".join([HEAD, *overview, "", *(line for stage in stages for line in _section(stage))]) + "\n"


def with_arms(page: str) -> str:
    """Return README with the table of arms as engine/arms.py has it."""
    rows = [f"| `{arm.name}` | {arm.trains_on} | {_quoted(arm.question)} |" for arm in ARMS.values()]
    table = "\n".join(["| arm | trains on | answers the sceptic who says |", "|---|---|---|", *rows])
    return ARMS_BLOCK.sub(lambda block: f"{block[1]}{table}\n{block[2]}", page)


def _quoted(text: str) -> str:
    return f'"{text}"' if text else ""


def _section(stage: Stage[Any]) -> Iterator[str]:
    yield from (f"## {stage.name}", "", _doc(stage), "")
    yield f"Params: {_params(stage)}."
    yield ""
    for output in stage.files:
        yield f"- `{file_name(output)}`: {meaning(output)}"
        for entry in entries(output):
            kind, note = (f" ({entry.kind})" if entry.kind else "", f"; {entry.note}" if entry.note else "")
            yield f"  - `{entry.name}`{kind}: {entry.meaning}{note}"
    yield ""


def _params(stage: Stage[Any]) -> str:
    """Name each param; a config section by its key, without the keys that the stage does not read."""
    found = []
    for name, field in stage.params.model_fields.items():
        section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        unread = ", ".join(f"`{key}`" for key in sorted(stage.params.unread.get(name, ())))
        found.append(
            f"`{name}`" + (" (section)" if section else "") + (f" without {unread}" if unread else "")
        )
    return ", ".join(found) or "none"


def _inputs(stage: Stage[Any]) -> str:
    optional = [f"({name})" for name in stage.optional]
    return ", ".join([*stage.inputs, *optional]) or "none"


def _module_doc(stage: Stage[Any]) -> str:
    import importlib

    return " ".join(
        (importlib.import_module(f"engine.stages.{stage.name}").__doc__ or "").split("\n\n")[0].split()
    )


def _doc(stage: Stage[Any]) -> str:
    return _module_doc(stage)


def _first_line(stage: Stage[Any]) -> str:
    """Return the docstring's first sentence without the stage's name."""
    text = _module_doc(stage).partition(": ")[2]
    return (text[:1].lower() + text[1:]).rstrip(".")


if __name__ == "__main__":
    main()
