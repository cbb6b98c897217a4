"""Whatever a table or an array file holds, it is read or refused in one line that names it; nothing hangs, nothing leaks."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config import parse_config
from engine.data.names import LONGEST_NAME
from engine.data.readers.files import find_files, names_of
from engine.data.readers.rows import LONGEST_CELL, read_rows
from engine.data.readers.table import read
from engine.data.table import Source
from engine.errors import DataError
from tests.engine.data.layouts import picture, save, write_cifar, write_medmnist, write_mnist, write_table

SEEDLESS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_as(kind: str, root: Path, **given: Any) -> Source:
    return read(parse_config({"data": {"format": kind, "root": str(root), **given}}).data, seed=0)


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        work()
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and len(message) < 700, message
    return message


LABELS: dict[str, tuple[Any, str]] = {
    "text": (np.array(list("abcabc")), "train_labels holds text; expected whole class numbers"),
    "NaN": (np.array([0, 1, np.nan, 1, 0, np.nan]), r"holds nan at position 2 \(2 such labels\)"),
    "infinite": (np.array([0, 1, 0, 1, 0, np.inf]), "holds inf at position 5"),
    "fractions": (np.array([0, 0.5, 1, 1, 0, 1]), "holds 0.5 at position 1"),
    "negative": (np.array([0, -1, 1, 1, 0, 1]), "holds -1 to 1; expected class numbers from 0"),
    "huge": (np.array([0, 2**63 + 5, 1, 1, 0, 1], dtype=np.uint64), "expected class numbers from 0"),
    "objects": (np.array([0, "a", None, 1, 0, 1], dtype=object), "Python objects, which could run code"),
    "truth values": (np.array([True] * 6), "holds bool"),
    "complex": (np.zeros(6, dtype=complex), "holds complex128"),
    "times": (np.zeros(6, dtype="datetime64[s]"), "holds datetime64"),
    "a scalar": (np.array(3), "has 6 entries, train_labels 1"),
    "too few": (np.zeros(5, dtype=int), "has 6 entries, train_labels 5"),
    "several a row": (np.zeros((6, 2), dtype=int), "2 labels an image"),
    "none a row": (np.zeros((6, 0), dtype=int), "has 6 entries, train_labels 0"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_are_no_class_numbers(tmp_path: Path, name: str) -> None:
    labels, message = LABELS[name]
    images = np.zeros((6, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=labels, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        read_as("medmnist", tmp_path)


def test_whole_numbers_written_as_floats_are_class_numbers(tmp_path: Path) -> None:
    images = np.zeros((4, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=np.array([0.0, 1.0, 1.0, 0.0]))
    assert read_as("medmnist", tmp_path).table.dx.tolist() == ["0", "1", "1", "0"]


def lying_npz(path: Path, shape: tuple[int, ...], descr: str = "|u1") -> None:
    """An archive whose images promise another size than they have."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images.npy", header.getvalue() + bytes(100))
        labels = io.BytesIO()
        np.save(labels, np.zeros(2, dtype=np.uint8))
        archive.writestr("train_labels.npy", labels.getvalue())


@pytest.mark.parametrize("shape", [(2, 28, 28), (2**40, 28, 28), (2**62, 2**62), (2, -5), (0, 28, 28), ()])
def test_an_array_that_lies_about_its_size_is_never_allocated(tmp_path: Path, shape: tuple[int, ...]) -> None:
    lying_npz(tmp_path / "x.npz", shape)
    message = refused(lambda: read_as("medmnist", tmp_path))
    assert "train_images promises" in message and "the file has 100" in message


def test_what_would_not_fit_into_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_medmnist(tmp_path / "x.npz")
    monkeypatch.setattr("psutil.virtual_memory", type("Memory", (), {"available": 10_000}))
    assert "more than the 0.0 GB of free memory" in refused(lambda: read_as("medmnist", tmp_path))


def test_a_packed_idx_file_is_not_unpacked_beyond_what_it_promises(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    start = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (2, 28, 28))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(start + bytes(50_000_000)))
    message = refused(lambda: read_as("torchvision", tmp_path, dataset="mnist"))
    assert "header promises 1,568 bytes, the file has more" in message


FILES: dict[str, tuple[str, Callable[[Path], None], dict[str, Any], str]] = {
    "medmnist": ("x.npz", lambda root: write_medmnist(root / "x.npz"), {}, "medmnist"),
    "mnist": ("train-images-idx3-ubyte.gz", write_mnist, {"dataset": "mnist"}, "torchvision"),
    "mnist unpacked": ("t10k-labels-idx1-ubyte", partial(write_mnist, packed=False), {"dataset": "mnist"}, "torchvision"),
    "cifar": ("data_batch_1.bin", write_cifar, {"dataset": "cifar10"}, "torchvision"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("layout", FILES)
@given(data=st.data())
@SEEDLESS
def test_any_damage_to_an_array_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, layout: str, data: st.DataObject
) -> None:
    name, make, extra, kind = FILES[layout]
    root = tmp_path_factory.mktemp("damaged")
    make(root)
    whole = (root / name).read_bytes()
    at = data.draw(st.integers(0, min(len(whole) - 1, 400)) | st.integers(0, len(whole) - 1))
    how = data.draw(st.sampled_from(["cut", "flip", "fill", "insert"]))
    byte = bytes([data.draw(st.integers(0, 255))])
    changed = {
        "cut": whole[:at], "flip": whole[:at] + byte + whole[at + 1 :],
        "fill": whole[:at] + byte * 8 + whole[at + 8 :], "insert": whole[:at] + byte + whole[at:],
    }[how]  # fmt: skip
    (root / name).write_bytes(changed)
    try:
        found = read_as(kind, root, **extra)
    except DataError as error:
        assert len(str(error).splitlines()) == 1
        assert str(root) in str(error)
    else:
        assert len(found.table) == len(found.frames or ())


CELLS = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\r\n") | st.sampled_from('",;\t\0'), max_size=8
)


@given(
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=0, max_size=5),
    ending=st.sampled_from(["csv", "tsv"]),
)
@SEEDLESS
def test_any_text_is_a_table_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], ending: str
) -> None:
    path = tmp_path_factory.mktemp("t") / f"t.{ending}"
    path.write_text("\n".join(",".join(row) for row in rows), encoding="utf-8")
    try:
        frame = read_rows(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert len(frame) and frame.columns.is_unique
        assert all(isinstance(cell, str) for cell in frame.to_numpy().ravel())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "cannot be read as a table"),
        (b"image,dx\n", "has no rows"),
        (b"image,dx,dx\na,b,c\n", "column dx occurs twice"),
        (b"image,dx, dx\na,b,c\n", "column dx occurs twice"),
        (b"image,dx\na,b,c\nd,e,f\n", "more cells than the 2 names"),
        (b"image,dx\na,b\nd,e,f\n", "Expected 2 fields in line 3, saw 3"),
        (b"image,dx\n\"a,b\nd,e\n", "cannot be read as a table"),
        (b"image,dx\na," + b"x" * 5_000_000 + b"\n", "column dx, row 1 holds more than 10,000 characters"),
        (b"image,dx\na,b\nc,d\0e\n", "a null character"),
        ("image,dx\na,b\n".encode("utf-16"), "cannot be read as a table"),
        (b"image,dx\na,\xff\xfe\n", "cannot be read as a table"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "cannot be read as a table"),
    ],
)  # fmt: skip
def test_a_csv_with_a_fault(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(text)
    said = refused(lambda: read_rows(tmp_path / "t.csv"))
    assert message in said and "t.csv" in said


def test_a_parquet_with_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"image": [b"a", b"b"], "dx": ["x", None], "age": [1.0, np.nan], "n": [1, 2]})
    frame.to_parquet(path)
    assert read_rows(path).to_numpy().tolist() == [["a", "x", "1.0", "1"], ["b", "", "", "2"]]
    whole = path.read_bytes()
    for cut in (0, 3, 50, len(whole) - 4):
        path.write_bytes(whole[:cut])
        assert "cannot be read as a table" in refused(lambda: read_rows(path))
    frame.assign(image=[b"\xff", b"b"]).to_parquet(path)
    assert "cannot be read as a table" in refused(lambda: read_rows(path))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "x.npz", "train-images-idx3-ubyte"])
def test_a_pipe_is_never_waited_for(tmp_path: Path, name: str) -> None:
    write_mnist(tmp_path, packed=False)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    if name.startswith("t."):
        assert "a pipe, socket or device" in refused(lambda: read_rows(tmp_path / name))
    elif name == "x.npz":
        assert "no MedMNIST file" in refused(lambda: read_as("medmnist", tmp_path))
    else:
        assert "a pipe, socket or device" in refused(
            lambda: read_as("torchvision", tmp_path, dataset="mnist")
        )


def test_two_files_of_one_name_are_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(0))
    save(tmp_path / "a.jpg", picture(1))
    save(tmp_path / "b.png", picture(2))
    files = find_files(tmp_path)
    assert "a.png beside it is an image of the same name" in refused(lambda: files.image_paths(["a", "b"]))
    assert files.image_paths(["b"]) == [str(tmp_path / "b.png")], "names that no row asks for do not matter"


def test_a_table_without_suffixes_does_not_choose_between_two_files(tmp_path: Path) -> None:
    write_table(tmp_path, dx=list("abababab"), image=[f"pics/p{i}" for i in range(8)])
    save(tmp_path / "pics" / "p3.jpg", picture(9))
    columns = {"image": "image", "label": "dx"}
    assert "write the suffix, or remove one" in refused(lambda: read_as("table", tmp_path, columns=columns))


@given(parts=st.lists(st.text("aé漢", min_size=1, max_size=60), min_size=1, max_size=12, unique=True))
@settings(max_examples=40, deadline=None)
def test_joined_names_always_fit_a_files_name_and_stay_apart(parts: list[str]) -> None:
    root = Path("/data")
    paths = [root.joinpath(*parts, folder, "x.png") for folder in ("p", "q")]
    names = names_of(root, paths)
    assert len(set(names)) == 2
    assert all(len(name.encode()) <= LONGEST_NAME for name in names)
    if len("__".join([*parts, "p", "x"]).encode()) <= LONGEST_NAME:
        assert names[0] == "__".join([*parts, "p", "x"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": ["x" * 300 + ".png", *[f"pics/p{i}.png" for i in range(1, 8)]]}, "image_id .* has 300 bytes; give it 200"),
        ({"label": ["m" * 201, *"bababab"]}, "class .* has 201 bytes"),
    ],
)  # fmt: skip
def test_names_that_no_file_could_have_are_refused(
    tmp_path: Path, change: dict[str, list[str]], message: str
) -> None:
    write_table(tmp_path, **change)
    with pytest.raises(DataError, match=message):
        read_as("table", tmp_path, columns={"image": "file", "label": "label"})


def test_a_file_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    for n, dx in enumerate("aabb"):
        save(tmp_path / dx / f"{n}.png", picture(n))
    bad = os.fsencode(tmp_path / "a") + b"/\xff\xfe.png"
    (tmp_path / "a" / "0.png").rename(os.fsdecode(bad))
    assert "the name is no UTF-8; rename the file" in refused(lambda: read_as("folder", tmp_path))


def test_the_longest_cell_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"image,dx\na,{'x' * LONGEST_CELL}\n")
    assert len(read_rows(tmp_path / "t.csv")["dx"][0]) == LONGEST_CELL
