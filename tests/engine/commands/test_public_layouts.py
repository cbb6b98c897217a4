"""Public layouts go from `init` to `data describe`, and to a tiny run, with no edit but what a CHECK line names."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine import build
from engine.checked_config import load
from engine.commands import data_commands
from engine.commands.cached_stages import open_cache
from engine.commands.init_command import init
from engine.commands.init_values import Machine
from engine.config import load_config
from engine.store import RunFolder
from tests.engine.data.public_layouts import LAYOUTS, PER_CLASS
from tests.integration.tiny import TINY

MACHINE = Machine(cores=2, gpu=False)
N = PER_CLASS
EXPECTED: dict[str, dict[str, Any]] = {
    "kaggle_ham10000": {
        "format": "ham10000",
        "counts": {"akiec": N, "mel": N, "nv": N},
        "malignant": ["mel", "akiec"],
        "grouped": "lesion",
        "said": "akiec (actinic keratosis or intraepithelial carcinoma, premalignant, counted as malignant)",
    },
    "isic_2016": {
        "format": "isic",
        "counts": {"benign": N, "malignant": N},
        "malignant": ["malignant"],
        "grouped": "image",
        "said": "GROUPS UNKNOWN",
    },
    "isic_2017": {
        "format": "isic",
        "counts": {"melanoma": N, "nevus": N, "seborrheic_keratosis": N},
        "malignant": ["melanoma"],
        "grouped": "image",
        "melanoma": "melanoma",
        "said": "GROUPS UNKNOWN",
    },
    "isic_2018": {
        "format": "isic",
        "counts": {"bkl": N, "mel": N, "nv": N},
        "malignant": ["mel"],
        "grouped": "lesion",
    },
    "isic_2019": {
        "format": "isic",
        "counts": {"akiec": N, "mel": N, "nv": N},
        "malignant": ["mel", "akiec"],
        "grouped": "image",
        "said": f"GROUPS PARTLY KNOWN: {N * 3 * 3 // 4} of {N * 3} images",
    },
    "isic_2020": {
        "format": "table",
        "counts": {"benign": N, "malignant": N},
        "malignant": ["malignant"],
        "grouped": "patient",
        "said": "benign_malignant (2 classes), target (2 classes); data.columns.label: benign_malignant is read",
    },
    "isic_2024": {
        "format": "table",
        "counts": {"0": N, "1": N},
        "malignant": [],
        "grouped": "patient",
        "said": "data.malignant is empty: none of the classes 0, 1 is a diagnosis that is known",
    },
    "milk10k": {
        "format": "isic",
        "counts": {"mel": 2 * N, "nv": 2 * N, "scc": 2 * N},
        "malignant": ["mel", "scc"],
        "grouped": "lesion",
        "said": "SCCKA become scc",
    },
    "pad_ufes_20": {
        "format": "table",
        "counts": {"ACK": N, "BCC": N, "NEV": N},
        "malignant": ["BCC", "ACK"],
        "grouped": "patient",
        "said": "age: 1 values count as unknown because each is no age in years",
    },
    "fitzpatrick17k": {
        "format": "table",
        "counts": {"basal cell carcinoma": N, "malignant melanoma": N, "psoriasis": N},
        "malignant": ["malignant melanoma", "basal cell carcinoma"],
        "grouped": "image",
        "melanoma": "malignant melanoma",
        "said": "label (3 classes), nine_partition_label (2 classes), three_partition_label (2 classes)",
    },
    "bcn20000": {
        "format": "table",
        "counts": {"MEL": N, "NV": N, "SCC": N},
        "malignant": ["MEL", "SCC"],
        "grouped": "lesion",
        "melanoma": "MEL",
    },
    "derm7pt": {
        "format": "table",
        "counts": {"mel": 2 * N, "nv": 2 * N},
        "malignant": ["mel"],
        "grouped": "image",
        "said": "each row names images in columns derm, clinic; data.columns.image: derm is read",
    },
    "hmnist": {"format": "pixels", "counts": {"mel": N, "nv": N}, "malignant": ["mel"], "grouped": "image"},
    "one_hot_table": {
        "format": "table",
        "counts": {"melanoma": N, "nevus": N},
        "malignant": ["melanoma"],
        "grouped": "image",
        "melanoma": "melanoma",
    },
    "absolute_paths": {
        "format": "table",
        "counts": {"MEL": N, "NV": N},
        "malignant": ["MEL"],
        "grouped": "image",
        "melanoma": "MEL",
    },
    "long_class_folders": {
        "format": "folder",
        "counts": {"Melanoma": N, "basal cell carcinoma": N, "nevus": N},
        "malignant": ["Melanoma", "basal cell carcinoma"],
        "grouped": "image",
        "melanoma": "Melanoma",
    },
}
"""What a layout becomes: format, images per class as used, ``data.malignant``, groups, and what a CHECK line says."""
ROWS_OF_README = {
    "kaggle_ham10000": "HAM10000",
    "isic_2016": "ISIC 2016",
    "isic_2017": "ISIC 2017",
    "isic_2018": "ISIC 2018",
    "isic_2019": "ISIC 2019",
    "isic_2020": "ISIC 2020",
    "isic_2024": "ISIC 2024",
    "milk10k": "MILK10k",
    "pad_ufes_20": "PAD-UFES-20",
    "fitzpatrick17k": "Fitzpatrick17k",
    "bcn20000": "BCN20000",
    "derm7pt": "Derm7pt",
    "hmnist": "Kaggle `hmnist_*.csv`",
    "one_hot_table": "one-hot tables",
    "absolute_paths": "tables with absolute paths",
    "long_class_folders": "class folders",
}
ELSEWHERE = "MedMNIST, MNIST, CIFAR-10"
"""The row whose layouts ``test_init_command.py`` draws."""
RUN_IN_THE_NORMAL_SUITE = "pad_ufes_20"


def _init(name: str, tmp_path: Path) -> tuple[Path, str]:
    root = tmp_path / name
    root.mkdir()
    LAYOUTS[name](root)
    console = Console(file=io.StringIO(), width=400)
    out = init(root, tmp_path / "config.yaml", console, machine=MACHINE)
    return out, console.file.getvalue()  # type: ignore[attr-defined]


def test_every_layout_of_the_readme_is_tested() -> None:
    page = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    table = page.split("| layout | what `init` recognises |\n|---|---|\n")[1].split("\n\n")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()]
    assert sorted(rows) == sorted([*ROWS_OF_README.values(), ELSEWHERE])
    assert ROWS_OF_README.keys() == LAYOUTS.keys() == EXPECTED.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_public_layout_is_recognised_and_described(name: str, tmp_path: Path) -> None:
    path, said = _init(name, tmp_path)
    expected = EXPECTED[name]
    config = load_config(path)
    assert config.data.format == expected["format"]
    assert config.data.malignant == expected["malignant"]
    assert config.evaluation.melanoma == expected.get(
        "melanoma", "mel" if "mel" in expected["counts"] else None
    )
    assert expected.get("said", "") in said
    assert expected.get("said", "") in path.read_text(encoding="utf-8")
    overrides = [f"output={tmp_path / 'runs'}", "data.image_size=16"]
    console = Console(file=io.StringIO(), width=400)
    figures = data_commands.describe(*open_cache(load(path, overrides), console), console)
    totals = {dx: sum(part[dx] for part in figures["counts"].values()) for dx in figures["classes"]}
    assert totals == expected["counts"]
    assert figures["grouped_by"] == expected["grouped"]
    assert figures["skipped"] == []


def _tiny(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the settings of the tiny config but for the data and its split, as arguments."""
    found = []
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict) and dotted not in ("policy.mining", "policy.acceptance"):
            found += _tiny(value, f"{dotted}.")
        elif isinstance(value, dict):
            found.append(f"{dotted}={{{', '.join(f'{k}: {v}' for k, v in value.items())}}}")
        else:
            found.append(
                f"{dotted}={'[' + ', '.join(map(str, value)) + ']' if isinstance(value, list) else value}"
            )
    return found


TINY_ARGUMENTS = [
    *(text for text in _tiny(TINY) if not text.startswith(("name=", "data."))),
    "data.image_size=16",
    "loop.rounds=1",
]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == RUN_IN_THE_NORMAL_SUITE else pytest.mark.heavy) for n in LAYOUTS],
)
@pytest.mark.slow
def test_a_public_layout_goes_to_a_tiny_run(name: str, tmp_path: Path) -> None:
    path, _ = _init(name, tmp_path)
    config = build.load(path, [*TINY_ARGUMENTS, f"output={tmp_path / 'runs'}"])
    build.run(config)
    assert RunFolder.open(tmp_path / "runs" / config.name).roles
