"""Every layout becomes the same table; every fault becomes one error that names the file and the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.config import DataConfig
from engine.data.readers.table import read
from engine.errors import DataError
from tests.engine.data import layouts


def config(root: Path, kind: str = "ham10000", **more: object) -> DataConfig:
    return DataConfig.model_validate({"format": kind, "root": str(root), "image_size": 16, **more})


@pytest.mark.parametrize("folder", ["images", ".", "HAM10000_images_part_2", "deep/er"])
def test_ham10000_finds_images_wherever_the_release_puts_them(tmp_path: Path, folder: str) -> None:
    layouts.write_ham(tmp_path, folder=folder)
    table = read(config(tmp_path), 0).table
    assert len(table) == 16
    assert list(table.image_id) == sorted(table.image_id)
    assert table.path[0].endswith("ISIC_0000.jpg")
    assert table.mask_path[0].endswith("masks/ISIC_0000_segmentation.png")
    assert table.lesion_id[:2].tolist() == ["HAM_000", "HAM_000"]
    assert np.isnan(table.age[0])
    assert table.age[2] == 55.0
    assert set(table.localization) == {"back"}


def test_ham10000_in_two_folders_with_origin_and_patient_columns(tmp_path: Path) -> None:
    rows = layouts.ham_rows().assign(patient_id="p1", origin="real")
    rows.loc[0, "origin"] = "synthetic"
    layouts.write_ham(tmp_path, "HAM10000_images_part_1", rows=rows[:8])
    layouts.write_ham(tmp_path, "HAM10000_images_part_2", rows=rows[8:])
    rows.to_csv(tmp_path / "HAM10000_metadata.csv", index=False)
    source = read(config(tmp_path), 0)
    assert source.grouped_by == "patient"
    assert source.table.origin.tolist() == ["synthetic"] + ["real"] * 15
    assert "part_2" in source.table.path[-1]


def test_dx_type_is_never_read(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path)
    table = read(config(tmp_path), 0).table
    values = [getattr(table, name) for name in table.__dataclass_fields__]
    assert not any("histo" in map(str, column) for column in values)


def test_isic_seven_columns_lower_case_with_metadata(tmp_path: Path) -> None:
    layouts.write_isic(tmp_path, ["MEL", "NV", "MEL", "BCC"])
    pd.DataFrame(
        {
            "image": ["ISIC_0000000", "ISIC_0000001"],
            "age_approx": ["40", "unknown"],
            "anatom_site_general": ["head/neck", ""],
            "lesion_id": ["L1", "L2"],
            "sex": ["male", ""],
            "fitzpatrick_skin_type": ["II", ""],
        }
    ).to_csv(tmp_path / "ISIC_metadata.csv", index=False)
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    source = read(config(tmp_path, "isic"), 0)
    assert source.table.dx.tolist() == ["mel", "nv", "mel", "bcc"]
    assert source.table.lesion_id.tolist() == ["L1", "L2", "ISIC_0000002", "ISIC_0000003"]
    assert source.grouped_by == "image"
    assert source.table.age[0] == 40.0
    assert source.table.localization[0] == "head/neck"
    assert source.table.skin_type[:2].tolist() == ["II", ""]


def test_isic_2019_extra_classes_are_mapped_dropped_or_refused_by_name(tmp_path: Path) -> None:
    layouts.write_isic(tmp_path, ["MEL", "NV", "AK", "SCC"])
    with pytest.raises(
        DataError, match=r"labelled AK, SCC.*data\.map_labels=\{AK: NAME or null, SCC: NAME or null\}"
    ):
        read(config(tmp_path, "isic"), 0)
    mapped = read(config(tmp_path, "isic", map_labels={"AK": "akiec", "SCC": None, "UNK": None}), 0)
    assert mapped.table.dx.tolist() == ["mel", "nv", "akiec"]


def test_isic_2020_names_its_class_and_its_patients(tmp_path: Path) -> None:
    text = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n"
    text += "ISIC_1,IP_1,male,45.0,torso,melanoma,malignant,1\nISIC_2,IP_2,female,,,unknown,benign,0\n"
    text += "ISIC_3,IP_2,female,50,torso,nevus,benign,0\n"
    (tmp_path / "ISIC_2020_Training_GroundTruth.csv").write_text(text)
    for number in (1, 2, 3):
        layouts.save(tmp_path / "train" / f"ISIC_{number}.jpg", layouts.picture(number))
    with pytest.raises(DataError, match=r"data\.map_labels=\{unknown: NAME or null\}"):
        read(config(tmp_path, "isic"), 0)
    table = read(config(tmp_path, "isic", map_labels={"unknown": "nevus"}), 0).table
    assert table.dx.tolist() == ["melanoma", "nevus", "nevus"]
    assert table.patient_id.tolist() == ["IP_1", "IP_2", "IP_2"]
    assert table.sex.tolist() == ["male", "female", "female"]
    assert table.localization.tolist() == ["torso", "", "torso"]
    assert table.age[[0, 2]].tolist() == [45.0, 50.0] and np.isnan(table.age[1])
    (tmp_path / "ISIC_2020_Training_GroundTruth.csv").write_text(text.replace("diagnosis", "other"))
    again = read(config(tmp_path, "isic"), 0)
    assert again.table.dx.tolist() == ["malignant", "benign", "benign"]


def test_a_bare_name_in_a_table_is_found_in_a_folder_below_unless_two_have_it(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,label\na,mel\nb.png,nv\nc,mel\n")
    for name in ("train/a.jpg", "train/b.png", "train/c.jpg", "test/c.jpg"):
        layouts.save(tmp_path / name, layouts.picture(0))
    columns = {"image": "file", "label": "label"}
    with pytest.raises(DataError, match=r"image c is listed but its file is absent \(1 such"):
        read(config(tmp_path, "table", columns=columns), 0)
    (tmp_path / "test" / "c.jpg").unlink()
    paths = read(config(tmp_path, "table", columns=columns), 0).table.path
    assert [Path(p).relative_to(tmp_path).as_posix() for p in paths] == [
        "train/a.jpg", "train/b.png", "train/c.jpg",
    ]  # fmt: skip


def test_class_folders_and_official_parts(tmp_path: Path) -> None:
    layouts.write_folders(tmp_path / "flat")
    flat = read(config(tmp_path / "flat", "folder"), 0)
    assert flat.table.classes == layouts.CLASSES
    assert set(flat.table.split) == {""}
    assert flat.grouped_by == "image"
    layouts.write_folders(tmp_path / "parts", parts=("train", "valid", "test"))
    parts = read(config(tmp_path / "parts", "folder"), 0)
    assert parts.table.split.tolist().count("val") == 8


def test_class_folders_with_repeated_names_are_named_by_path(tmp_path: Path) -> None:
    for dx in layouts.CLASSES:
        layouts.save(tmp_path / dx / "1.png", layouts.picture(0))
    assert read(config(tmp_path, "folder"), 0).table.image_id.tolist() == ["mel__1", "nv__1"]


@pytest.mark.parametrize("parquet", [False, True])
def test_any_table(tmp_path: Path, parquet: bool) -> None:
    frame = layouts.write_table(tmp_path, who=list("aabbccdd"), years=["5"] * 8, fst=["I"] * 8)
    root = tmp_path
    if parquet:
        root = tmp_path / "list.parquet"
        frame.assign(file=[f"pics/p{i}" for i in range(8)], years=[5.0, None] * 4).to_parquet(root)
    columns = {"image": "file", "label": "label", "patient": "who", "age": "years", "skin_type": "fst"}
    source = read(config(root, "table", columns=columns), 0)
    assert source.grouped_by == "patient"
    assert source.table.image_id.tolist() == [f"p{i}" for i in range(8)]
    assert source.table.age[0] == 5.0
    assert set(source.table.skin_type) == {"I"}
    assert source.table.patient_id.tolist() == list("aabbccdd")


def test_table_split_column_is_official_only_when_complete(tmp_path: Path) -> None:
    layouts.write_table(tmp_path, split=["train", "test"] * 4)
    columns = {"image": "file", "label": "label"}
    assert read(config(tmp_path, "table", columns=columns), 0).table.split.tolist() == ["train", "test"] * 4
    layouts.write_table(tmp_path, split=["train", "other"] * 4)
    assert set(read(config(tmp_path, "table", columns=columns), 0).table.split) == {""}


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("dermamnist_64.npz", 7, {"akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"}),
        ("other.npz", 3, {"0", "1", "2"}),
    ],
)
def test_medmnist(tmp_path: Path, name: str, classes: int, expected: set[str]) -> None:
    layouts.write_medmnist(tmp_path / name, classes, rgb=classes == 7)
    for root in (tmp_path, tmp_path / name):
        source = read(config(root, "medmnist"), 0)
        assert set(source.table.dx) == expected
        assert source.table.split.tolist().count("train") == 6 * classes
        assert source.frames is not None
        assert len(source.frames) == 8 * classes


@pytest.mark.parametrize(("packed", "below"), [(True, ""), (False, "MNIST/raw")])
def test_mnist(tmp_path: Path, packed: bool, below: str) -> None:
    layouts.write_mnist(tmp_path / below, packed)
    source = read(config(tmp_path, "torchvision", dataset="mnist"), 0)
    assert source.table.classes == ("0", "1")
    assert source.table.split.tolist() == ["test"] * 4 + ["train"] * 10
    assert source.frames is not None
    assert source.frames[0].shape == (28, 28)


def test_cifar10_reads_any_number_of_records(tmp_path: Path) -> None:
    layouts.write_cifar(tmp_path / "cifar-10-batches-bin")
    source = read(config(tmp_path, "torchvision", dataset="cifar10"), 0)
    names = ("airplane", "automobile", "truck")
    assert source.table.dx.tolist() == [names[k] for k in (0, 1, 0, 1, 0, 1, 2)]
    assert source.table.split.tolist() == ["test"] * 2 + ["train"] * 5
    assert source.frames is not None
    assert source.frames[-1][0, 0].tolist() == [19, 20, 30]


def test_phantoms_have_exact_masks() -> None:
    source = read(DataConfig.model_validate({"image_size": 16, "phantom": {"lesions": 14, "views": 1}}), 3)
    assert len(source.table) == 14
    assert source.masks is not None
    assert source.grouped_by == "lesion"


HAM_FAULTS = {
    "no root": (lambda r: None, {"root": "{root}/nowhere"}, r"data\.root: .*nowhere does not exist"),
    "root is a file": (lambda r: None, {"root": "{root}/HAM10000_metadata.csv"}, "is a file, not a folder"),
    "no metadata": (lambda r: (r / "HAM10000_metadata.csv").unlink(), {}, "HAM10000_metadata.csv.*data.root"),
    "no column": (
        lambda r: layouts.ham_rows().drop(columns="lesion_id").to_csv(r / "HAM10000_metadata.csv"),
        {},
        r"HAM10000_metadata.csv: column lesion_id is missing.*data\.columns",
    ),
    "absent image": (
        lambda r: (r / "images" / "ISIC_0021.jpg").unlink(),
        {},
        "image ISIC_0021 is listed but its file is absent.*on_bad_image=skip",
    ),
    "path traversal": (
        lambda r: layouts.ham_rows().replace("ISIC_0010", "../ISIC_0010").to_csv(r / "HAM10000_metadata.csv"),
        {},
        r"image_id '\.\./ISIC_0010' \(row 3\) is not a plain name",
    ),
    "backslash": (
        lambda r: layouts.ham_rows().replace("ISIC_0010", "a\\b").to_csv(r / "HAM10000_metadata.csv"),
        {},
        "is not a plain name",
    ),
    "no image_id": (
        lambda r: layouts.ham_rows().replace("ISIC_0010", "").to_csv(r / "HAM10000_metadata.csv"),
        {},
        "row 3 has no image_id",
    ),
    "image twice": (
        lambda r: layouts.ham_rows().replace("ISIC_0010", "ISIC_0000").to_csv(r / "HAM10000_metadata.csv"),
        {},
        "image_id ISIC_0000 is listed more than once",
    ),
    "image twice, contradicting": (
        lambda r: (
            layouts.ham_rows()
            .assign(dx=["mel", "nv"] * (len(layouts.ham_rows()) // 2))
            .replace("ISIC_0021", "ISIC_0010")
            .to_csv(r / "HAM10000_metadata.csv")
        ),
        {},
        r"image_id ISIC_0010 is listed more than once, as mel and as nv \(1 such ids, 1 of them with several diagnoses\); "
        "keep the row whose diagnosis is right",
    ),
    "no diagnosis": (
        lambda r: layouts.ham_rows().replace("mel", "").to_csv(r / "HAM10000_metadata.csv"),
        {},
        "image ISIC_0000 has no diagnosis",
    ),
    "no lesion": (
        lambda r: layouts.ham_rows().replace("HAM_001", "").to_csv(r / "HAM10000_metadata.csv"),
        {},
        "image ISIC_0010 has no lesion_id",
    ),
    "one class": (
        lambda r: layouts.ham_rows().replace("mel", "nv").to_csv(r / "HAM10000_metadata.csv"),
        {},
        "only class nv is left.*two classes",
    ),
    "bad origin": (
        lambda r: layouts.ham_rows().assign(origin="fake").to_csv(r / "HAM10000_metadata.csv"),
        {},
        "origin 'fake' is neither real nor synthetic",
    ),
    "no rows": (
        lambda r: layouts.ham_rows()[:0].to_csv(r / "HAM10000_metadata.csv"),
        {},
        "HAM10000_metadata.csv: has no rows",
    ),
    "not text": (
        lambda r: (r / "HAM10000_metadata.csv").write_bytes(b"\xff\xfe\x00a,b\n\xff"),
        {},
        "HAM10000_metadata.csv: cannot be read as a table",
    ),
    "column twice": (
        lambda r: (r / "HAM10000_metadata.csv").write_text("image_id, image_id\n1,2\n"),
        {},
        "column image_id occurs twice",
    ),
    "unknown mapped label": (
        lambda r: None,
        {"map_labels": {"melanom": "mel"}},
        r"data\.map_labels: melanom is not a label.*mel, nv",
    ),
    "everything dropped": (lambda r: None, {"map_labels": {"mel": None, "nv": None}}, "no image is left"),
}


@pytest.mark.parametrize("fault", HAM_FAULTS)
def test_ham10000_faults(tmp_path: Path, fault: str) -> None:
    break_it, settings, message = HAM_FAULTS[fault]
    layouts.write_ham(tmp_path, masks=False)
    break_it(tmp_path)
    settings = {k: v.format(root=tmp_path) if isinstance(v, str) else v for k, v in settings.items()}
    with pytest.raises(DataError, match=message):
        read(DataConfig.model_validate({"format": "ham10000", "root": str(tmp_path), **settings}), 0)


def test_absent_images_are_skipped_and_named_when_asked(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path)
    (tmp_path / "images" / "ISIC_0021.jpg").unlink()
    source = read(config(tmp_path, on_bad_image="skip"), 0)
    assert source.skipped == (("ISIC_0021", "listed but absent"),)
    assert len(source.table) == 15


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _npz(root: Path, **arrays: np.ndarray) -> None:
    np.savez(root / "x.npz", **arrays)


IMAGES = np.zeros((2, 8, 8), np.uint8)
OTHER_FAULTS = {
    "empty folder": ("folder", lambda r: None, {}, "is empty"),
    "no image": ("folder", lambda r: _write(r / "a.txt", "x"), {}, r"holds no image \(\.jpg"),
    "not in a class": ("folder", lambda r: layouts.save(r / "a.png", layouts.picture(0)), {}, "lies in no class folder"),
    "no truth": ("isic", lambda r: _write(r / "a.csv", "x"), {}, "no ground-truth table"),
    "two truths": (
        "isic",
        lambda r: [_write(r / f"{k}GroundTruth.csv", "image,MEL\n") for k in "ab"],
        {},
        "more than one ground-truth table: aGroundTruth.csv, bGroundTruth.csv",
    ),
    "no image column": ("isic", lambda r: _write(r / "GroundTruth.csv", "MEL,NV\n1,0\n"), {}, "column image is missing"),
    "two ones": (
        "isic",
        lambda r: _write(r / "GroundTruth.csv", "image,MEL,NV\na,1,0\nb,1,1\n"),
        {},
        r"image b is not marked by one 1.*\(1 such rows\)",
    ),
    "half a one": ("isic", lambda r: _write(r / "GroundTruth.csv", "image,MEL,NV\na,1,0.5\n"), {}, "image a is not marked"),
    "one column": ("isic", lambda r: _write(r / "GroundTruth.csv", "image,MEL\na,1\n"), {}, "fewer than two class"),
    "no class column": (
        "isic", lambda r: _write(r / "GroundTruth.csv", "image_name,sex\na,male\n"), {}, "column diagnosis is missing",
    ),
    "semicolons": (
        "table",
        lambda r: _write(r / "a.csv", "f;l\na.png;mel,x\n"),
        {"columns": ("f", "l")},
        r"a\.csv: is separated by ';', not by commas; save it as UTF-8 with commas",
    ),
    "no table": ("table", lambda r: _write(r / "a.txt", "x"), {"columns": ("f", "l")}, "no table"),
    "wrong column": (
        "table",
        lambda r: _write(r / "a.csv", "f,l\na.png,mel\n"),
        {"columns": ("f", "label")},
        r"a\.csv: column label is missing; the columns are f, l\. Correct data\.columns\.label",
    ),
    "leaves the folder": (
        "table",
        lambda r: _write(r / "a.csv", "f,l\n../a.png,mel\n"),
        {"columns": ("f", "l")},
        r"image path '\.\./a\.png' in row 1 does not lie below",
    ),
    "absolute path": (
        "table", lambda r: _write(r / "a.csv", "f,l\n/a.png,mel\n"), {"columns": ("f", "l")}, "'/a.png' in row 1",
    ),
    "empty path": ("table", lambda r: _write(r / "a.csv", "f,l\n,mel\n"), {"columns": ("f", "l")}, "'' in row 1"),
    "not an npz": ("medmnist", lambda r: _write(r / "x.npz", "no"), {}, r"x\.npz: cannot be read as a MedMNIST"),
    "no arrays": ("medmnist", lambda r: _npz(r, other=IMAGES), {}, "no train_images.*the arrays are other"),
    "no labels": ("medmnist", lambda r: _npz(r, train_images=IMAGES), {}, "train_labels is missing"),
    "floats": (
        "medmnist",
        lambda r: _npz(r, train_images=IMAGES.astype(float), train_labels=np.zeros(2)),
        {},
        "train_images is float64 of shape",
    ),
    "many labels": (
        "medmnist", lambda r: _npz(r, train_images=IMAGES, train_labels=np.zeros((2, 3))), {}, "3 labels an image",
    ),
    "lengths": (
        "medmnist", lambda r: _npz(r, train_images=IMAGES, train_labels=np.zeros(3)), {}, "2 entries, train_labels 3",
    ),
    "no mnist": ("mnist", lambda r: _write(r / "x", ""), {}, "no train-images-idx3-ubyte"),
    "half of mnist": (
        "mnist",
        lambda r: (layouts.write_mnist(r), (r / "t10k-labels-idx1-ubyte.gz").unlink()),
        {},
        "t10k-labels idx file is missing",
    ),
    "broken gzip": (
        "mnist",
        lambda r: (layouts.write_mnist(r), (r / "train-images-idx3-ubyte.gz").write_bytes(b"no")),
        {},
        "train-images-idx3-ubyte.gz: cannot be read or decompressed",
    ),
    "not idx": (
        "mnist",
        lambda r: (layouts.write_mnist(r, False), (r / "train-images-idx3-ubyte").write_bytes(b"none")),
        {},
        "is not an idx file",
    ),
    "short idx": (
        "mnist",
        lambda r: (
            layouts.write_mnist(r, False),
            (r / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 9, 1])),
        ),
        {},
        "header promises 9 bytes, the file has 1",
    ),
    "labels of another length": (
        "mnist",
        lambda r: (
            layouts.write_mnist(r, False),
            (r / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 1])),
        ),
        {},
        "10 images but 1 labels",
    ),
    "pickled cifar": (
        "cifar10", lambda r: _write(r / "cifar-10-batches-py/data_batch_1", ""), {}, "pickled and never opened",
    ),
    "half a record": (
        "cifar10", lambda r: _write(r / "data_batch_1.bin", "x" * 99), {}, "99 bytes is not a whole number of 3073",
    ),
    "cifar label": (
        "cifar10",
        lambda r: (r / "data_batch_1.bin").write_bytes(bytes([10]) + bytes(3072)),
        {},
        "train has label 10; expected 0 to 9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", OTHER_FAULTS)
def test_faults_of_other_layouts(tmp_path: Path, fault: str) -> None:
    kind, make, settings, message = OTHER_FAULTS[fault]
    make(tmp_path)
    if "columns" in settings:
        settings = {"columns": dict(zip(("image", "label"), settings["columns"], strict=True))}
    if kind in ("mnist", "cifar10"):
        kind, settings = "torchvision", {"dataset": kind}
    with pytest.raises(DataError, match=message):
        read(config(tmp_path, kind, **settings), 0)


def test_cifar10_names_come_from_its_own_file(tmp_path: Path) -> None:
    layouts.write_cifar(tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    (tmp_path / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    assert read(config(tmp_path, "torchvision", dataset="cifar10"), 0).table.classes == ("a", "b", "j")
