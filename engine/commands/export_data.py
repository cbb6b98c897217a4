"""`hardcase export data`: real and accepted synthetic images in the layout a tool reads, marked and traceable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
from rich.console import Console

from engine.artifacts.markdown_text import as_text
from engine.artifacts.predictions import PREFIX
from engine.artifacts.whole_files import write_text
from engine.commands import (
    export_coco,
    export_fiftyone,
    export_ham10000,
    export_imagefolder,
    export_webdataset,
)
from engine.commands.exported_run import ExportedRun, open_exported
from engine.commands.output_folder import new_folder
from engine.errors import ConfigError

README: Final = """# Exported by hardcase

{real} real images as the run decoded them ({size} px) and {synthetic} synthetic ones{passed}.

{reading}

- `origin` is real or synthetic, `synthetic` true or false. Synthetic rows name parent, neighbours, weights, seed, what the
  gates and the judge said, what selection held them worth (`value`), and the generator's weights (`checkpoint`).
- `split` is the run's own. `{prefix}<class>`, `predicted` and `predicted_by` are the champion's calibrated probabilities on
  val and test, and out-of-fold ones on train where the run has them; never those of images that a classifier trained on.
- Lists of probabilities (`judge_prob`, `soft_label`) are in the order {classes}.
{warnings}
"""


@dataclass(frozen=True)
class Format:
    """How one tool wants its data: ``write`` fills a folder, ``reading`` tells how it is read, ``head`` begins README.md."""

    write: Callable[[ExportedRun, Path], None]
    reading: str
    rejected: bool = False
    head: Callable[[ExportedRun], str] | None = None


FORMATS: Final[Mapping[str, Format]] = {
    "ham10000": Format(export_ham10000.write, export_ham10000.READING),
    "coco": Format(export_coco.write, export_coco.READING),
    "fiftyone": Format(export_fiftyone.write, export_fiftyone.READING, rejected=True),
    "imagefolder": Format(
        export_imagefolder.write, export_imagefolder.READING, head=export_imagefolder.front_matter
    ),
    "webdataset": Format(export_webdataset.write, export_webdataset.READING),
}
"""``rejected``: images that may not train are in it too, since it is for looking at them."""


def export_data(run: Path, out: Path, console: Console, *, layout: str = "ham10000") -> pd.DataFrame:
    """Write images, their table and README.md into the new folder ``out``; returns one row per image.

    Raises:
        ConfigError: ``layout`` is none of FORMATS.
        DataError: no run folder, its stage cache is gone, ``out`` is not empty, or the layout cannot hold a class.
    """
    if layout not in FORMATS:
        raise ConfigError(f"--format: {layout!r} is unknown; choose from {', '.join(FORMATS)}")
    chosen = FORMATS[layout]
    exported = open_exported(run, rejected=chosen.rejected)
    with new_folder(out) as target:
        chosen.write(exported, target)
        write_text(target / "README.md", _readme(exported, chosen))
    made = f"{exported.n_synthetic} {'' if chosen.rejected else 'accepted '}synthetic images"
    mark = f" ({exported.mark})" if exported.mark else ""
    console.print(f"{exported.n_real} real and {made}{mark} in {out}", markup=False)
    frame: pd.DataFrame = exported.table.to_pandas()
    return frame


def _readme(exported: ExportedRun, chosen: Format) -> str:
    texts: dict[str, Any] = {
        "real": exported.n_real,
        "size": exported.side,
        "synthetic": exported.n_synthetic,
        "passed": ", rejected ones too" if chosen.rejected else " that passed the run's gates",
        "reading": chosen.reading,
        "prefix": PREFIX,
        "classes": ", ".join(map(as_text, exported.classes)),
        "warnings": "\n".join(f"- {line}" for line in exported.warnings),
    }
    head = chosen.head(exported) if chosen.head else ""
    return head + README.format(**texts)
