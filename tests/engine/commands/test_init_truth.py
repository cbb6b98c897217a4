"""`init` writes no plausible wrong config in silence: classes, malignancy, labels and costs are known, said, or asked."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from engine.commands import table_layout
from engine.commands.folder_layout import only_hold_images
from engine.commands.init_classes import classes_of
from engine.commands.init_command import init
from engine.commands.init_values import Machine
from engine.commands.layout import recognise
from engine.config import load_config
from engine.data.readers.files import find_files
from engine.data.readers.places import inside
from engine.data.readers.table import read
from engine.errors import DataError
from tests.engine.data.public_layouts import LAYOUTS, draw, isic_2018

MACHINE = Machine(cores=2, gpu=False)


def _init(place: Path, out: Path, **given_: Any) -> tuple[dict[str, Any], str]:
    console = Console(file=io.StringIO(), width=400)
    init(place, out, console, machine=MACHINE, **given_)
    text = out.read_text(encoding="utf-8")
    load_config(out)
    assert all(
        f"# CHECK: {line[9:]}" in text for line in console.file.getvalue().splitlines() if line[:5] == "check"
    )  # type: ignore[attr-defined]
    return yaml.safe_load(text), text


def _folders(root: Path, *names: str, count: int = 5) -> Path:
    for start, name in enumerate(names):
        for number in range(count):
            draw(root / name / f"{start}_{number}.png", 100 * start + number)
    return root


def _table(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("names", "malignant", "said"),
    [
        (("basal cell carcinoma", "melanoma", "nevus"), ["melanoma", "basal cell carcinoma"], "count as malignant"),
        (("MEL", "BCC", "NV"), ["MEL", "BCC"], "MEL (melanoma), BCC (basal cell carcinoma) count"),
        (("0", "1"), [], "none of the classes 0, 1 is a diagnosis that is known; list the malignant ones there"),
        (("A", "B"), [], "while it is empty, every malignant figure"),
        (("nevus", "wart"), [], "no class is known to be malignant"),
        (("mel", "rash"), ["mel"], "not known as a diagnosis, so counted as benign: rash; add the malignant ones"),
        (("ACK", "NEV"), ["ACK"], "intraepithelial carcinoma, premalignant, counted as malignant) counts"),
    ],
)  # fmt: skip
def test_malignant_is_known_or_asked_for(
    names: tuple[str, ...], malignant: list[str], said: str, tmp_path: Path
) -> None:
    tree, text = _init(_folders(tmp_path / "data", *names), tmp_path / "c.yaml")
    assert tree["data"]["malignant"] == malignant
    assert said in text
    assert text.count("# CHECK: data.malignant") == (2 if "rash" in names else 1)


def test_one_class_under_several_names_is_joined_and_said(tmp_path: Path) -> None:
    place = _folders(
        tmp_path / "data",
        "melanoma (in situ)",
        "Melanoma metastasis",
        "blue nevus",
        "Clark nevus",
        "MAL_OTH",
        "rash",
    )
    tree, text = _init(place, tmp_path / "c.yaml")
    assert tree["data"]["map_labels"] == {
        "Clark nevus": "nv", "blue nevus": "nv", "Melanoma metastasis": "mel", "melanoma (in situ)": "mel",
    }  # fmt: skip
    assert tree["data"]["malignant"] == ["mel", "MAL_OTH"]
    assert tree["evaluation"]["melanoma"] == "mel"
    assert "joins labels that the dictionary of diagnoses knows" in text
    assert read(load_config(tmp_path / "c.yaml").data, 0).table.classes == ("MAL_OTH", "mel", "nv", "rash")


def test_two_spellings_of_the_only_class_are_not_joined() -> None:
    assert classes_of({"nevus": 5, "NV": 5}, (), lesions=True).mapped == {}


LABELS = st.one_of(
    st.text(min_size=1, max_size=8), st.sampled_from(["MEL", "nevus", "blue nevus", "AK", "0", "unknown"])
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(LABELS, st.integers(1, 9), min_size=2, max_size=6), st.booleans())
def test_whatever_the_labels_every_class_is_accounted_for(counts: dict[str, int], lesions: bool) -> None:
    classes = classes_of(counts, ("AK", "unknown"), lesions=lesions)
    assert set(classes.malignant) <= set(classes.names)
    assert classes.melanoma is None or classes.melanoma in classes.names
    assert set(classes.mapped) <= set(counts)
    assert not set(classes.unlabelled) & set(classes.mapped)
    assert {classes.name_of(label) for label in counts} - {None} == set(classes.names)
    assert (
        bool(classes.malignant)
        or not lesions
        or any("data.malignant is empty" in line for line in classes.checks)
    )


def test_rows_without_diagnosis_are_kept_apart_and_said(tmp_path: Path) -> None:
    rows = [
        {"image": f"i{number}", "dx": dx}
        for number, dx in enumerate(["mel", "nv", "unknown", "mel", "nv", ""])
    ]
    for number in range(6):
        draw(tmp_path / "data" / f"i{number}.jpg", number)
    _table(tmp_path / "data" / "t.csv", rows)
    tree, text = _init(tmp_path / "data", tmp_path / "c.yaml")
    assert tree["data"]["unlabelled"] == "keep" and "map_labels" not in tree["data"]
    assert "data.unlabelled keeps images without a diagnosis (unknown 2)" in text
    config = load_config(tmp_path / "c.yaml")
    assert read(config.data, 0).table.dx.tolist() == ["mel", "nv", "", "mel", "nv", ""]
    refuse = config.data.model_copy(update={"unlabelled": "refuse"})
    source = read(refuse.model_copy(update={"map_labels": {"unknown": None}}), 0)
    assert source.skipped == (("i2", "no diagnosis"), ("i5", "no diagnosis"))
    assert source.table.dx.tolist() == ["mel", "nv", "mel", "nv"]
    with pytest.raises(
        DataError,
        match=r"image i2 has no diagnosis \(2 such images\).*data\.map_labels=\{unknown: NAME or null\}",
    ):
        read(refuse, 0)


def test_every_step_that_is_spent_is_written_with_its_sum(tmp_path: Path) -> None:
    tree, text = _init(_folders(tmp_path / "data", "mel", "nv"), tmp_path / "c.yaml")
    steps = {
        section: tree[section]["steps"]
        for section in ("embedder", "vae", "denoiser", "synthesis", "classifier", "judge")
    }
    assert steps == {
        "embedder": 400,
        "vae": 1500,
        "denoiser": 2000,
        "synthesis": 16,
        "classifier": 500,
        "judge": 200,
    }
    assert "x 2 rounds x 3 arms = 1200 steps" in text
    assert "x 3 folds = 600 steps" in text
    assert "x 2 rounds x 2 arms that generate = 80 images" in text


@pytest.mark.parametrize(
    ("names", "purpose"),
    [
        (("imgs_part_1", "imgs_part_2", "imgs_part_3"), True),
        (("HAM10000_images_part_1", "HAM10000_images_part_2"), True),
        (("images", "masks"), True),
        (("train", "test"), True),
        (("class_1", "class_2"), False),
        (("mel", "nv"), False),
        (("0", "1"), False),
        (("images", "mel"), False),
    ],
)
def test_folders_that_only_hold_images_are_no_classes(names: tuple[str, ...], purpose: bool) -> None:
    assert only_hold_images(names) is purpose


def test_part_folders_without_their_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in it lie imgs_part_1, imgs_part_2; give the folder whose"):
        recognise(_folders(tmp_path, "imgs_part_1", "imgs_part_2"))


def test_a_table_that_names_the_images_and_no_diagnosis_is_not_passed_over(tmp_path: Path) -> None:
    place = _folders(tmp_path, "imgs_part_1", "imgs_part_2")
    _table(
        place / "list.csv",
        [{"who": f"{part}_{n}.png", "verdict": "x"} for part in range(2) for n in range(5)],
    )
    with pytest.raises(
        DataError, match=r"names the images \(column who\), and no column is known.*are who, verdict"
    ):
        recognise(place)


def test_the_table_wins_over_class_folders_where_its_ids_are_the_files(tmp_path: Path) -> None:
    place = _folders(tmp_path, "left", "right")
    _table(
        place / "list.csv",
        [{"who": f"{part}_{n}", "dx": "mel" if n % 2 else "nv"} for part in range(2) for n in range(5)],
    )
    assert recognise(place).counts == {"mel": 4, "nv": 6}


def test_class_folders_win_over_a_table_of_something_else(tmp_path: Path) -> None:
    place = _folders(tmp_path, "mel", "nv")
    _table(place / "scores.csv", [{"image": "other", "label": "good"}, {"image": "another", "label": "bad"}])
    assert recognise(place).counts == {"mel": 5, "nv": 5}


def test_a_table_without_header_is_said_to_be_one(tmp_path: Path) -> None:
    place = _folders(tmp_path, "images")
    (place / "list.csv").write_text("".join(f"0_{n}.png,mel\n" for n in range(5)))
    with pytest.raises(DataError, match=r"list\.csv: has no header; its first line is 0_0\.png,mel"):
        recognise(place)


def test_images_apart_from_the_table_are_given_or_asked_for(tmp_path: Path) -> None:
    images = _folders(tmp_path / "elsewhere", "x")
    path = _table(
        tmp_path / "data" / "list.csv",
        [{"image": f"0_{n}", "dx": "mel" if n % 2 else "nv"} for n in range(5)],
    )
    with pytest.raises(
        DataError, match=rf"none of the images it names \(column image\).*hardcase init {path} --images DIR"
    ):
        recognise(tmp_path / "data")
    tree, _ = _init(path, tmp_path / "c.yaml", images=images)
    assert (tree["data"]["root"], tree["data"]["images"]) == (str(path), str(images))
    assert read(load_config(tmp_path / "c.yaml").data, 0).table.path[0] == str(images / "x" / "0_0.png")
    with pytest.raises(DataError, match=r"--images: .* is no folder"):
        recognise(path, tmp_path / "nowhere")


TRUTH = "ISIC2018_Task3_Training_GroundTruth"


@pytest.mark.parametrize("given_", [TRUTH, f"{TRUTH}/{TRUTH}.csv"])
def test_the_truth_s_own_folder_finds_the_images_unzipped_beside_it(given_: str, tmp_path: Path) -> None:
    LAYOUTS["isic_2018"](tmp_path)
    layout = recognise(tmp_path / given_)
    assert layout.data["images"] == str(tmp_path / "ISIC2018_Task3_Training_Input")
    assert (layout.source.table.path != "").all()


def test_several_truths_are_named_and_one_is_read(tmp_path: Path) -> None:
    for part in ("Training", "Test_v2"):
        LAYOUTS["isic_2017"](tmp_path / part)
    with pytest.raises(
        DataError,
        match=r"2 ground truths \(Test_v2/ISIC.*, Training/ISIC.*\), and one part is read at a time",
    ):
        recognise(tmp_path)
    assert len(recognise(tmp_path / "Training").source.table) == 48


def test_a_truth_without_images_asks_for_them(tmp_path: Path) -> None:
    LAYOUTS["isic_2016"](tmp_path / "a")
    alone = tmp_path / "b" / "c" / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv"
    alone.parent.mkdir(parents=True)
    alone.write_bytes(next((tmp_path / "a").glob("*.csv")).read_bytes())
    with pytest.raises(DataError, match=r"no image that it names lies in .*--images DIR"):
        recognise(alone.parent)
    layout = recognise(alone, tmp_path / "a")
    assert layout.counts == {"benign": 16, "malignant": 16}


@pytest.mark.parametrize("name", ["isic_2018", "pad_ufes_20"])
def test_ids_are_found_with_and_without_suffix_in_any_case(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    before = len(recognise(tmp_path).source.table)
    for path in sorted(tmp_path.rglob("*.jpg")) + sorted(tmp_path.rglob("*.png")):
        path.rename(path.with_name(path.stem.lower() + path.suffix.upper()))
    table = recognise(tmp_path).source.table
    assert len(table) == before and (table.path != "").all()


def test_the_table_of_pixels_is_taken_where_ham10000_has_no_photographs(tmp_path: Path) -> None:
    LAYOUTS["kaggle_ham10000"](tmp_path)
    assert recognise(tmp_path).data["format"] == "ham10000"
    for path in tmp_path.rglob("*.jpg"):
        path.unlink()
    assert recognise(tmp_path).data["root"].endswith("hmnist_8_8_L.csv")


def _patients(root: Path, column: str = "Befundtext") -> Path:
    """Draw folders of patients, and a table whose columns nobody knows."""
    _folders(root, "Pat_000", "Pat_001", "Pat_002")
    rows = [
        {"Patient": path.parent.name, "Bilddatei": path.relative_to(root).as_posix(), column: "Nävus"}
        for path in sorted(root.rglob("*.png"))
    ]
    _table(root / "Befunde.csv", rows)
    return root


def test_folders_of_patients_are_no_classes_where_a_table_names_their_images(tmp_path: Path) -> None:
    root = _patients(tmp_path / "data")
    with pytest.raises(DataError) as caught:
        recognise(root)
    for part in (
        "(column Bilddatei)",
        "the columns are Patient, Bilddatei, Befundtext",
        f"hardcase init {root / 'Befunde.csv'} --label COLUMN",
        "data.format: folder",
    ):
        assert part in str(caught.value)
    found = recognise(root / "Befunde.csv", label="Befundtext")  # what the message says to type
    assert found.data["columns"] == {"image": "Bilddatei", "label": "Befundtext", "patient": "Patient"}
    assert found.data == recognise(root, label="Befundtext").data | {"root": str(root / "Befunde.csv")}
    with pytest.raises(
        DataError, match=r"--label: Befund is no column .*; Befunde.csv has Patient, Bilddatei, Befundtext"
    ):
        recognise(root, label="Befund")
    (root / "Pat_000").rename(root / "melanoma")  # a diagnosis: the folders are the classes
    assert recognise(root).data["format"] == "folder"


@pytest.mark.parametrize(
    "header",
    [
        "Imagen,Diagnóstico,Lesión,Paciente,Edad,Sexo,Localización,Fototipo",
        "Imagem,Diagnóstico,Lesão,Paciente,Idade,Sexo,Localização,Fototipo",
        "Bild,Diagnose,Läsion,Patienten-ID,Alter,Geschlecht,Lokalisation,Hauttyp",
        "Fichier,Diagnostic,Lésion,Patient,Age,Sexe,Localisation,Phototype",
        "Immagine,Diagnosi,Lesione,Paziente,Età,Sesso,Localizzazione,Fototipo",
        "Image ID,Diagnosis,Lesion ID,Patient-Id,AGE,Gender,Body Site,Skin type",
    ],
)
def test_headings_of_other_languages_and_spellings_are_understood(tmp_path: Path, header: str) -> None:
    _folders(tmp_path, "bilder")
    names = header.split(",")
    rows = [
        dict(
            zip(
                names,
                (path.stem, ("mel", "nv")[k % 2], f"L{k}", f"P{k}", "50", "m", "back", "2"),
                strict=True,
            )
        )
        for k, path in enumerate(sorted(tmp_path.rglob("*.png")))
    ]
    _table(tmp_path / "liste.csv", rows)
    keys = ("image", "label", "lesion", "patient", "age", "sex", "site", "skin_type")
    assert recognise(tmp_path).data["columns"] == dict(zip(keys, names, strict=True))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_the_command_for_a_table_of_a_german_spreadsheet_works(tmp_path: Path, encoding: str) -> None:
    root = _patients(tmp_path / "data")
    table = root / "Befunde.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",", ";"), encoding=encoding)
    with pytest.raises(DataError, match="pandas: ") as caught:
        recognise(root)
    command = str(caught.value).partition("pandas: ")[2][:-1]
    mended = eval(command.replace("FILE", repr(str(table))), {"read_csv": pd.read_csv})
    assert mended is None
    assert pd.read_csv(table)["Befundtext"].unique().tolist() == ["Nävus"]


@pytest.mark.parametrize("text", ["C:\\Users\\a\\p1.png", "d:/b/p1.png", "\\\\server\\share\\p1.png"])
def test_paths_of_a_windows_computer_are_named_as_such(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        DataError, match=r"is of a Windows computer; keep what lies below .*, for example p1\.png"
    ):
        inside(tmp_path / "t.csv", tmp_path, 0, text)


def test_images_of_a_challenge_alone_name_the_ground_truth_beside_them(tmp_path: Path) -> None:
    isic_2018(tmp_path)
    images = next(path.parent for path in sorted(tmp_path.rglob("*.jpg")))
    with pytest.raises(DataError, match=f"ground truth lies beside it in .*: give {images.parent}"):
        recognise(images)


@pytest.mark.parametrize(
    "cells", [["/etc/passwd", "/usr/bin/env"], ["/etc/passwd", "a.jpg"], ["../../../etc/passwd"] * 2]
)
def test_paths_of_other_files_lead_to_no_walk_over_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: list[str]
) -> None:
    walked: list[Path] = []
    monkeypatch.setattr(table_layout, "find_files", lambda root: walked.append(root) or find_files(root))
    (tmp_path / "data").mkdir()
    rows = [{"image": cell, "dx": dx} for cell, dx in zip(cells, ("mel", "nv"), strict=True)]
    _table(tmp_path / "data" / "t.csv", rows)
    with pytest.raises(DataError, match=r"none of the images it names \(column image\)"):
        _init(tmp_path / "data", tmp_path / "c.yaml")
    assert walked and all(root.is_relative_to(tmp_path) for root in walked)
