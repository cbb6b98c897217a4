"""The files of a (round, arm) that MLflow keeps: tables, sheets, reports, all figures, confusion matrices."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from engine.artifacts.csv_text import write_csv
from engine.tracking.confusion import confusion_png
from engine.tracking.flatten import TABLE, figures_table

KINDS: Final = (".json", ".parquet", ".png", ".html")
"""What of a folder is sent; weights are not."""


def log_files(client: Any, run_id: str, folder: Path, report: Mapping[str, Any]) -> None:
    """Send the files of ``folder``, and the figures and confusion matrices of ``report``, to a child run."""
    files = sorted(p for p in folder.glob("*") if p.is_file()) if folder.is_dir() else []
    for path in files:
        if path.suffix in KINDS and not path.name.startswith("."):
            client.log_artifact(run_id, str(path))
    with tempfile.TemporaryDirectory() as scratch:
        figures = Path(scratch) / "figures.csv"
        write_csv(pd.DataFrame(figures_table(report), columns=list(TABLE)), figures)
        client.log_artifact(run_id, str(figures))
        for split in ("val", "test"):
            table = (report.get(split) or {}).get("confusion")
            if not table:
                continue
            title = f"round {report['round']} {report['arm']}, {split}"
            path = Path(scratch) / f"confusion_{split}.png"
            path.write_bytes(confusion_png(table["classes"], table["counts"], title))
            client.log_artifact(run_id, str(path))
