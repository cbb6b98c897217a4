"""`init`: layouts recognised, configs that load, nothing overwritten or half written."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from engine.artifacts.yaml_text import parse_yaml
from engine.commands.init_command import Machine, init
from engine.config import load_config
from engine.data.diagnoses import recognise
from engine.data.readers.table import read
from engine.errors import ConfigError, DataError
from tests.engine.config.test_data_text import HOSTILE

CPU, GPU = Machine(cores=2, gpu=False), Machine(cores=64, gpu=True)
CLASSES = ("mel", "nv")


def _image(path: Path, size: tuple[int, int] = (100, 75)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 150, 130)).save(path)


def _ham(root: Path) -> None:
    rows = []
    for number in range(12):
        _image(root / "images" / f"ISIC_{number}.jpg")
        rows.append([f"HAM_{number // 2}", f"ISIC_{number}", CLASSES[number // 2 % 2], "50", "male", "back"])
    _image(root / "masks" / "ISIC_0_segmentation.png")
    columns = ["lesion_id", "image_id", "dx", "age", "sex", "localization"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "HAM10000_metadata.csv", index=False)


def _isic(root: Path) -> None:
    columns = ["image", "MEL", "NV", "AK", "SCC", "UNK"]
    rows = []
    for number in range(10):
        _image(root / "input" / f"ISIC_{number}.jpg")
        rows.append([f"ISIC_{number}", *(1.0 if number % 5 == k else 0.0 for k in range(5))])
    pd.DataFrame(rows, columns=columns).to_csv(root / "ISIC_2019_GroundTruth.csv", index=False)


def _medmnist(root: Path) -> None:
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = np.zeros((14, 28, 28, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(14)[:, None] % 7
    np.savez(root / "dermamnist.npz", **arrays)


def _folders(root: Path) -> None:
    for dx in CLASSES:
        for number in range(5):
            _image(root / dx / f"{dx}_{number}.png", (40, 40))


def _table(root: Path) -> None:
    rows = []
    for number in range(8):
        _image(root / "pics" / f"p{number}.jpg")
        rows.append(
            [f"pics/p{number}.jpg", CLASSES[number % 2], f"P{number}", f"L{number}", "60", "female", "face"]
        )
    columns = [
        "Image_Path",
        "diagnosis",
        "patient_id",
        "lesion_id",
        "age_approx",
        "sex",
        "anatom_site_general",
    ]
    pd.DataFrame(rows, columns=columns).to_csv(root / "list.csv", index=False)


def _idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in values.shape)
    return gzip.compress(head + values.astype(np.uint8).tobytes())


def _mnist(root: Path) -> None:
    for prefix in ("train", "t10k"):
        (root / f"{prefix}-images-idx3-ubyte.gz").write_bytes(_idx(np.zeros((20, 28, 28))))
        (root / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(_idx(np.arange(20) % 10))


def _cifar10(root: Path) -> None:
    records = np.zeros((20, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(20) % 10
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (folder / name).write_bytes(records.tobytes())


def _init(root: Path, out: Path, machine: Machine = CPU) -> tuple[dict, str]:
    console = Console(file=io.StringIO(), width=200)
    assert init(root, out, console, machine=machine) == out
    load_config(out)
    return yaml.safe_load(out.read_text()), console.file.getvalue()


ISIC_2020 = ("image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge", "diagnosis",
             "benign_malignant", "target")  # fmt: skip


def _isic_2020(root: Path, csv: str, folder: str, benign: str = "nevus") -> None:
    rows = []
    for number in range(8):
        _image(root / folder / f"ISIC_{number}.jpg")
        bad = number % 2 == 0
        rows.append([f"ISIC_{number}", f"IP_{number // 2}", "male", "45", "torso", "melanoma" if bad else benign,
                     "malignant" if bad else "benign", str(int(bad))])  # fmt: skip
    pd.DataFrame(rows, columns=list(ISIC_2020)).to_csv(root / csv, index=False)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "my data"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("make", "data", "said"),
    [
        (
            _ham,
            {"format": "ham10000", "mask": "file", "image_size": 64, "malignant": ["mel"]},
            "12 images, 6 lesions",
        ),
        (_isic, {"format": "isic", "mask": "otsu", "image_size": 64}, "lesions unknown"),
        (
            _medmnist,
            {"format": "medmnist", "image_size": 32, "malignant": ["mel", "bcc", "akiec"]},
            "official parts",
        ),
        (_folders, {"format": "folder", "image_size": 32}, "mel 5, nv 5"),
        (
            _mnist,
            {"format": "torchvision", "dataset": "mnist", "mask": "none", "malignant": []},
            "mnist files",
        ),
        (_cifar10, {"format": "torchvision", "dataset": "cifar10", "mask": "none"}, "cifar10 files"),
    ],
)
def test_layouts_are_recognised_and_their_configs_load(make, data, said, root, tmp_path):
    make(root)
    tree, text = _init(root, tmp_path / "config.yaml")
    assert {key: tree["data"].get(key) for key in data} == data
    assert Path(tree["data"]["root"]) == root
    assert tree["name"] == "my-data"
    assert said in text


def test_table_columns_are_found(root, tmp_path):
    _table(root)
    tree, text = _init(root, tmp_path / "config.yaml")
    assert tree["data"]["columns"] == {
        "image": "Image_Path", "label": "diagnosis", "lesion": "lesion_id", "patient": "patient_id",
        "age": "age_approx", "sex": "sex", "site": "anatom_site_general",
    }  # fmt: skip
    assert "grouped by patient" in text
    again, _ = _init(root / "list.csv", tmp_path / "other.yaml")
    assert again["data"]["format"] == "table" and again["name"] == "list"


def test_a_folder_without_diagnoses_is_kept_to_ask_about(root, tmp_path):
    _table(root)
    for number in range(3):
        _image(root / "archive" / "2026" / f"new_{number}.jpg")
    archive, out, console = root / "archive", tmp_path / "config.yaml", Console(file=io.StringIO(), width=200)
    tree, text = _init(root, out)
    assert "unlabelled" not in tree["data"] and "images   8 images" in text
    folder = archive / "2026"
    assert f"3 images in {folder} are in no row of the table and are not used" in text
    out.unlink()
    with pytest.raises(DataError, match=r"absent is no folder"):
        init(root, out, console, unlabelled=root / "absent")
    init(root, out, console, unlabelled=archive, machine=CPU)
    data = load_config(out).data
    assert (data.unlabelled, data.unlabelled_images) == ("keep", str(archive))
    text = console.file.getvalue()
    assert "no classifier learns from the 3 images" in text and "grouped by patient" in text
    assert "# CHECK: data.unlabelled_images: no classifier learns" in out.read_text()


def test_a_class_folder_named_unlabelled_is_no_class(root, tmp_path):
    _folders(root)
    for number in range(3):
        _image(root / "Unlabelled" / f"new_{number}.png", (40, 40))
    tree, text = _init(root, tmp_path / "config.yaml")
    assert tree["data"]["unlabelled"] == "keep" and tree["data"]["map_labels"] == {"Unlabelled": None}
    assert "without a diagnosis (Unlabelled 3)" in text and "counted as benign" not in text
    table = read(load_config(tmp_path / "config.yaml").data, 0).table
    assert table.classes == CLASSES and int((~table.labelled_N).sum()) == 3


def test_a_folder_without_diagnoses_stands_beside_image_files_alone(root, tmp_path):
    _medmnist(root)
    _image(tmp_path / "archive" / "new.jpg")
    out, console = tmp_path / "config.yaml", Console(file=io.StringIO())
    with pytest.raises(
        DataError, match=r"--unlabelled: images are read beside image files, which format: medmnist"
    ):
        init(root, out, console, unlabelled=tmp_path / "archive")
    assert not out.exists()


def test_isic_labels_outside_ham10000_get_names_to_check(root, tmp_path):
    _isic(root)
    tree, text = _init(root, tmp_path / "config.yaml")
    assert tree["data"]["map_labels"] == {"AK": "akiec", "SCC": "scc"}
    assert (
        tree["data"]["unlabelled"] == "keep"
        and "data.unlabelled keeps images without a diagnosis (UNK" in text
    )
    assert tree["data"]["malignant"] == ["mel", "akiec", "scc"]
    assert "fewer than 4 images of akiec, mel, nv, scc, one for each part: add some" in text


@pytest.mark.parametrize(("mel", "said"), [(4, "'data.map_labels={df: null}' drops it"), (3, "add some")])
def test_a_class_in_too_few_patients_is_named_with_what_helps(root, tmp_path, mel, said):
    """Each patient has two images; one who shows two classes counts for both, whatever there is more of."""
    patients = [("mel" if k < mel else "nv", "df" if k < 2 else "nv") for k in range(8)]
    rows = [
        (f"i{k}{view}.png", dx, f"P{k}") for k, shown in enumerate(patients) for view, dx in enumerate(shown)
    ]
    for name, _, _ in rows:
        _image(root / name, (40, 40))
    pd.DataFrame(rows, columns=["image", "label", "patient_id"]).to_csv(root / "list.csv", index=False)
    _, text = _init(root, tmp_path / "config.yaml")
    few = "df" if mel == 4 else "df, mel"
    assert f"fewer than 4 patients of {few}, one for each part: {said}" in text


def test_isic_2020_with_its_own_name_is_an_isic_folder(root, tmp_path):
    _isic_2020(root, "ISIC_2020_Training_GroundTruth.csv", "images", benign="unknown")
    tree, text = _init(root, tmp_path / "config.yaml")
    assert tree["data"]["format"] == "isic" and "map_labels" not in tree["data"]
    assert tree["data"]["unlabelled"] == "keep"
    assert tree["data"]["malignant"] == ["melanoma"]
    assert "grouped by patient" in text and "melanoma 4, unknown 4" in text


@pytest.mark.parametrize(
    ("benign", "label", "malignant"),
    [("nevus", "diagnosis", "melanoma"), ("unknown", "benign_malignant", "malignant")],
)
def test_isic_2020_as_kaggle_has_it_is_a_table_over_the_folder_train(
    benign, label, malignant, root, tmp_path
):
    _isic_2020(root, "train.csv", "train", benign)
    tree, text = _init(root, tmp_path / "config.yaml")
    assert tree["data"]["columns"] == {
        "image": "image_name", "label": label, "patient": "patient_id", "age": "age_approx", "sex": "sex",
        "site": "anatom_site_general_challenge",
    }  # fmt: skip
    assert tree["data"]["malignant"] == [malignant]
    assert "8 images" in text and "absent" not in text


def test_sizes_follow_the_machine(root, tmp_path):
    _ham(root)
    for path in (root / "images").iterdir():
        _image(path, (600, 450))
    small, _ = _init(root, tmp_path / "cpu.yaml", CPU)
    large, _ = _init(root, tmp_path / "gpu.yaml", GPU)
    assert (small["data"]["image_size"], large["data"]["image_size"]) == (64, 128)
    assert (small["backend"]["threads"], large["backend"]["threads"]) == (2, 4)
    assert (small["backend"]["precision"], large["backend"]["precision"]) == ("float32", "bf16")


def test_every_key_is_commented_with_the_schema_s_own_words(root, tmp_path):
    _folders(root)
    out = tmp_path / "config.yaml"
    _init(root, out)
    lines = out.read_text().splitlines()
    assert lines[0].startswith("# Written by `hardcase init`")
    assert f"# Run:   hardcase run {out}" in lines
    for line in lines:
        bare = not line or line.lstrip().startswith("#") or line.rstrip().endswith(":")
        assert bare or "  # " in line or " # " in line, line
    assert any("side of the square images, pixels" in line for line in lines)


def test_absent_images_are_noted(root, tmp_path):
    _ham(root)
    (root / "images" / "ISIC_3.jpg").unlink()
    _, text = _init(root, tmp_path / "config.yaml")
    assert "1 listed images are absent" in text


def test_an_existing_file_is_not_overwritten(root, tmp_path):
    _folders(root)
    out = tmp_path / "config.yaml"
    out.write_text("mine")
    with pytest.raises(ConfigError, match="not overwritten"):
        _init(root, out)
    assert out.read_text() == "mine"


def test_bad_place_for_the_config_writes_nothing(root, tmp_path):
    _folders(root)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        _init(root, tmp_path / "file" / "config.yaml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "my data"]


def test_an_unclear_folder_is_one_error_and_no_config(root, tmp_path):
    (root / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="no layout recognised"):
        _init(root, tmp_path / "config.yaml")
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.real_data
def test_real_ham10000(tmp_path):
    place = os.environ.get("HARDCASE_DATA")
    if not place:
        pytest.skip("HARDCASE_DATA is not set")
    tree, text = _init(Path(place) / "ham10000", tmp_path / "config.yaml")
    assert tree["data"]["format"] == "ham10000" and tree["data"]["malignant"] == ["mel", "bcc", "akiec"]
    assert "10015 images, 7470 lesions" in text


INJECTED = "df\nevaluation: {inception: /tmp/weights.pth, bootstrap: 1}\n#"
"""A class name that would end the comment it is written into and go on as a section of the config."""


def _ham_with(root: Path, names: list[str]) -> None:
    rows = []
    for number, dx in enumerate(name for name in names for _ in range(5)):
        _image(root / "images" / f"ISIC_{number}.jpg", (8, 8))
        rows.append([f"HAM_{number}", f"ISIC_{number}", dx, "50", "male", "back"])
    columns = ["lesion_id", "image_id", "dx", "age", "sex", "localization"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "HAM10000_metadata.csv", index=False)


def _written(names: list[str], root: Path) -> tuple[str, dict[str, object]]:
    _ham_with(root, names)
    init(root, root / "c.yaml", Console(quiet=True), machine=CPU)
    text = (root / "c.yaml").read_text(encoding="utf-8")
    return text, parse_yaml(text, "c.yaml")


def test_a_class_name_with_a_newline_writes_no_config_keys(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, plain = _written(["mel", "nv", "df"], tmp_path / "a")
    text, tree = _written(["mel", "nv", INJECTED], tmp_path / "b")
    assert tree["evaluation"] == plain["evaluation"] == {"melanoma": "mel", "bootstrap": 1000}
    assert tree.keys() == plain.keys()
    assert all(line.startswith("# ") for line in text.splitlines() if "inception" in line)
    assert r"df\nevaluation" in text


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(name=st.one_of(st.sampled_from([*HOSTILE, INJECTED]), st.text(min_size=1, max_size=20)))
def test_no_class_name_changes_the_config(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("data")
    try:
        text, tree = _written(["mel", "nv", name], root)
    except DataError:  # a name that readers refuse
        return
    config = load_config(root / "c.yaml")
    assert set(tree) == {"name", "seed", "output", "data", "embedder", "vae", "denoiser", "synthesis", "classifier", "judge",
                         "loop", "policy", "evaluation", "backend", "tracking"}  # fmt: skip
    assert config.data.root == str(root)
    if recognise(name) is None:  # the names of diagnoses have tests of their own
        assert config.data.map_labels == {}
        assert config.data.malignant == ["mel"]
    assert [line for line in text.splitlines() if line.startswith("# Images per class")]


@pytest.mark.parametrize("folder", ["a\nloop: {rounds: 9}", "a: b", "# a", "1e3", "é", "a'b\"c"])
def test_a_data_folder_of_any_name_is_quoted(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder
    root.mkdir()
    _, tree = _written(["mel", "nv"], root)
    assert tree["data"]["root"] == str(root)  # type: ignore[index]
    assert tree["loop"]["rounds"] == 2  # type: ignore[index]
