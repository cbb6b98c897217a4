"""A rare class in few patients, from the command line: it reaches every part, or the error's advice can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from engine import cli

ADVICE = re.compile(r"(?:; | or )set (.*?)(?: \(null drops.*?\))?(?=, or (?:set|add) )")


def split(root: Path, *overrides: str) -> Result:
    """Run `hardcase data split` on the folder's table."""
    config = root / "config.yaml"
    if not config.exists():
        config.write_text(
            f"output: {root.parent / 'out'}\ndata: {{format: table, root: {root}, image_size: 16, mask: none,\n"
            "  columns: {image: image, label: label, patient: patient}}\n",
            encoding="utf-8",
        )
    return CliRunner().invoke(cli.app, ["data", "split", str(config), *overrides])


def write(root: Path, rows: list[tuple[str, str]]) -> None:
    """Write one image for each (patient, label)."""
    root.mkdir()
    for number in range(len(rows)):
        Image.effect_noise((16, 16), 40 + number).convert("RGB").save(root / f"i{number}.png")
    table = [(f"i{number}.png", dx, patient) for number, (patient, dx) in enumerate(rows)]
    pd.DataFrame(table, columns=["image", "label", "patient"]).to_csv(root / "list.csv", index=False)


def test_six_melanomas_in_six_of_twelve_patients_reach_every_part(tmp_path: Path) -> None:
    """As in ISIC 2020: one melanoma among a patient's nevi."""
    rows = [(f"P{k}", "mel" if k % 2 == 0 and view == 0 else "nv") for k in range(12) for view in range(4)]
    write(tmp_path / "data", rows)
    out = tmp_path / "split.parquet"
    result = split(tmp_path / "data", "--out", str(out))
    assert result.exit_code == 0, result.output
    found = pd.read_parquet(out).merge(
        pd.DataFrame({"image_id": [f"i{k}" for k in range(48)], "patient": [patient for patient, _ in rows]})
    )
    assert set(found.loc[found["dx"] == "mel", "split"]) == {"train", "mine", "val", "test"}
    assert found.groupby("patient")["split"].nunique().eq(1).all()


@pytest.mark.slow
def test_each_advice_of_the_error_works_with_the_labels_mapped(tmp_path: Path) -> None:
    """AK and SCC become one class, which three patients have; dropping it drops both labels and keeps the other names."""
    rows = [(f"P{k}", ("AK", "SCC", "AK")[k] if view == 0 and k < 3 else dx)
            for k in range(12) for view, dx in enumerate(("melanoma", "nv", "nv"))]  # fmt: skip
    write(tmp_path / "data", rows)
    mapping = "data.map_labels={AK: akiec, SCC: akiec, melanoma: mel}"
    result = split(tmp_path / "data", mapping)
    assert result.exit_code == 2
    assert "class akiec has 3 group(s)" in result.stderr
    advice = ADVICE.findall(" ".join(result.stderr.split()))
    assert len(advice) == 2 and "{melanoma: mel, AK: null, SCC: null}" in advice[1]
    for overrides in advice:
        again = split(tmp_path / "data", mapping, *shlex.split(overrides))
        assert again.exit_code == 0, again.output
