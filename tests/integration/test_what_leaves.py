"""What source photographs, their tables and the tracking address carry reaches no output that it does not belong in.

A tiny run on photographs full of marks, with formulas for names and a password in its tracking address; then every
command on it. Every byte of every file is searched, parquet and pictures also unpacked.
"""

from __future__ import annotations

import base64
import csv
import io
import logging
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner

from engine.cli import app
from engine.config import DataConfig
from engine.data.readers.table import read
from tests.engine.data import layouts
from tests.integration.tiny import tiny_tree

pytestmark = pytest.mark.slow

MARK = "PLANTEDMARK"
"""Stands in EXIF, GPS, XMP, ICC, comments and text chunks of every photograph."""
PERSON = "jane-planted-doe"
"""Stands in the name of the folder that the photographs lie in."""
SECRETS = ("aliceplanted", "s3cretplanted", "t0ptplanted")
URI = "http://aliceplanted:s3cretplanted@127.0.0.1:9/api?token=t0ptplanted&x=1"
CLASSES = ("=cmd|' /C calc'!A0", "@<img src=x onerror=alert(1)>$(touch PWNED)\x1b[2J")
"""Run by a spreadsheet; by a browser, a shell and a terminal."""
FORMULA = tuple("=+-@\t\r")


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x0112], tags[0x010E], tags[0x013B], tags[0x9286] = 6, f"{MARK} description", f"{MARK} artist", MARK
    gps = tags.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4], gps[27] = (
        "N",
        (48.0, 12.0, 30.5),
        "E",
        (16.0, 22.0, 1.25),
        f"{MARK} gps".encode(),
    )
    return tags.tobytes()


def profile() -> bytes:
    """Return an sRGB profile whose description is marked."""
    content = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    name = "sRGB built-in".encode("utf-16-be")
    assert name in content
    return content.replace(name, MARK.ljust(13, "x")[:13].encode("utf-16-be"))


def photograph(path: Path, seed: int) -> None:
    """Save an image with every mark its format can hold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(layouts.picture(seed, 24, 24))
    xmp = f"<x:xmpmeta><dc:creator>{MARK} xmp</dc:creator></x:xmpmeta>".encode()
    if path.suffix == ".png":
        text = PngInfo()
        text.add_text("Author", f"{MARK} text")
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        image.save(path, pnginfo=text, exif=exif(), icc_profile=profile())
    elif path.suffix == ".tif":
        image.save(path, exif=exif(), icc_profile=profile(), description=f"{MARK} tiff")
    else:
        image.save(path, quality=95, exif=exif(), xmp=xmp, icc_profile=profile(), comment=f"{MARK} comment")
    assert MARK.encode() in path.read_bytes()


def write_data(root: Path) -> None:
    """Write 72 photographs of 36 lesions and a table of them, whose names and ids begin formulas."""
    rows = []
    for number in range(72):
        suffix = (".jpg", ".png", ".tif")[number % 3]
        name = f"{'=+-@'[number % 4]}{number}+1<img src=x>`touch PWNED`\x1b[2J"
        photograph(root / PERSON / f"{name}{suffix}", number)
        lesion = number // 2
        rows.append([f"{PERSON}/{name}{suffix}", CLASSES[lesion % 2], f"=1+{lesion}", "-0.5", "+back"])
    table = pd.DataFrame(rows, columns=["image", "dx", "lesion_id", "sex", "site"])
    table.to_csv(root / "table.csv", index=False)


class Played(NamedTuple):
    """Where the run and all that was made of it lie, what was printed and logged, and the config."""

    made: Path
    run: Path
    said: str
    config: Path


def hardcase(*arguments: object) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    place = tmp_path_factory.mktemp("leaves")
    write_data(place / "data")
    made = place / "made"
    columns = {"image": "image", "label": "dx", "lesion": "lesion_id", "sex": "sex", "site": "site"}
    data = {
        "format": "table",
        "root": str(place / "data" / "table.csv"),
        "columns": columns,
        "malignant": [CLASSES[0]],
    }
    tree = tiny_tree(
        str(made / "runs"), name="marks", loop={"rounds": 1, "budget": 8}, data={**data, "image_size": 16},
        tracking={"kind": "mlflow", "uri": URI},
    )  # fmt: skip
    tree["data"].pop("phantom")
    config = place / "config.yaml"
    config.write_text(yaml.safe_dump(tree))
    run = made / "runs" / "marks"
    external = (
        f"data.root={place / 'data' / 'table.csv'}",
        "--json",
        made / "evaluate.json",
    )
    commands: list[tuple[object, ...]] = [
        ("config", "show", config),
        ("run", config),
        ("report", run),
        ("data", "describe", config, "--json", made / "describe.json"),
        ("data", "preview", config, "--out", made / "preview.png"),
        ("data", "audit", config, "--json", made / "audit.json", "--out", made / "audit"),
        ("predict", run, place / "data", "--csv", made / "predict.csv"),
        ("evaluate", run, *external),
        ("export", "data", run, "--out", made / "export"),
        ("export", "model", run, "--out", made / "model"),
        ("synthesize", run, "--class", CLASSES[0], "--count", 2, "--out", made / "synthesized"),
    ]
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    logging.getLogger().addHandler(handler)
    try:
        with pytest.MonkeyPatch.context() as patch:  # a server that refuses is not asked seven times
            patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            said = [hardcase(*command) for command in commands]
    finally:
        logging.getLogger().removeHandler(handler)
    assert "not reached" in logged.getvalue()
    return Played(made, run, "\n".join([*said, logged.getvalue()]), config)


def texts(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, and what is packed in it."""
    content = path.read_bytes()
    yield content
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
        yield repr([frame[name].tolist() for name in frame]).encode()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    pictures = [content] if path.suffix in (".png", ".jpg") else []
    pictures += [
        base64.b64decode(data) for data in re.findall(rb"data:image/\w+;base64,([A-Za-z0-9+/=]+)", content)
    ]
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as image:
            image.load()
            yield repr((image.info, dict(image.getexif()))).encode()


def holding(folder: Path, *words: str) -> set[str]:
    """Return the files below a folder that hold one of the words, in UTF-8 or UTF-16."""
    found = set()
    wanted = [
        code for word in words for code in (word.encode(), word.encode("utf-16-be"), word.encode("utf-16-le"))
    ]
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if any(word in text for text in texts(path) for word in wanted):
            found.add(path.relative_to(folder).as_posix())
    return found


def test_the_search_finds_what_is_there(played: Played, tmp_path: Path) -> None:
    for suffix in (".jpg", ".png"):
        photograph(tmp_path / f"a{suffix}", 0)
    pd.DataFrame({"a": [MARK] * 2000}).to_parquet(tmp_path / "b.parquet")
    assert holding(tmp_path, MARK) == {"a.jpg", "a.png", "b.parquet"}
    assert len([p for p in played.made.rglob("*") if p.is_file()]) > 60


def test_marks_of_photographs_reach_no_output(played: Played) -> None:
    assert holding(played.made, MARK) == set()
    assert MARK not in played.said


def test_every_picture_written_holds_pixels_alone(played: Played) -> None:
    pictures = [path for path in played.made.rglob("*") if path.suffix in (".png", ".jpg", ".tif")]
    assert len(pictures) > 20
    for path in pictures:
        with Image.open(path) as image:
            image.load()
            assert set(image.info) <= {"dpi"}, path
            assert not dict(image.getexif()), path


def test_user_and_password_reach_no_file_and_no_output(played: Played) -> None:
    assert holding(played.made, *SECRETS) == set()
    assert not [secret for secret in SECRETS if secret in played.said]
    assert "127.0.0.1" in (played.run / "config.yaml").read_text()


def test_the_folder_of_a_photograph_stays_in_the_cache_and_in_predictions(played: Played) -> None:
    """predict's CSV names the files it was given; the stage cache knows where each image came from."""
    found = holding(played.made, PERSON)
    assert {name for name in found if not re.fullmatch(r"runs/stages/images-\w+/table\.parquet", name)} == {
        "predict.csv"
    }


def test_no_cell_begins_a_formula(played: Played) -> None:
    tables = [*played.made.rglob("*.csv"), *played.made.rglob("*.tsv")]
    assert {path.name for path in tables} >= {"predict.csv", "HAM10000_metadata.csv", "provenance.csv"}
    cells = 0
    for path in tables:
        with path.open(newline="", encoding="utf-8") as handle:
            for row in csv.reader(handle):
                for cell in row:
                    cells += cell.startswith("'")
                    assert not cell.startswith(FORMULA) or float(cell) == float(cell), (path, cell)
    assert cells > 200


def test_names_are_run_by_no_browser_terminal_or_shell(played: Played) -> None:
    assert "img src=x" in played.said and "\x1b[2J" not in played.said
    pages = [path for path in played.made.rglob("*") if path.suffix in (".html", ".svg", ".md")]
    assert {path.suffix for path in pages} == {".html", ".md"}
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<!\\)<img src=x", text), path
    assert any("&lt;img src=x" in path.read_text(encoding="utf-8") for path in pages)
    assert not Path("PWNED").exists() and not list(played.config.parent.rglob("PWNED"))


def test_an_export_is_read_back_with_the_ids_it_was_made_of(played: Played) -> None:
    export = played.made / "export"
    source = read(DataConfig.model_validate({"format": "ham10000", "root": str(export)}), 0)
    table = source.table
    real = table.origin == "real"
    given = pd.read_csv(played.config.parent / "data" / "table.csv", dtype=str)
    names = [Path(name).stem for name in given["image"]]
    assert sorted(table.image_id[real].tolist()) == sorted(names)
    lesion = dict(zip(names, given["lesion_id"], strict=True))
    assert all(
        lesion[name] == found for name, found in zip(table.image_id[real], table.lesion_id[real], strict=True)
    )
    assert set(table.dx) == set(CLASSES)
    assert set(table.sex[real]) == {"-0.5"}
    assert set(table.localization[real]) == {"+back"}
    assert np.all(table.path != "")


def test_predictions_keep_numbers(played: Played) -> None:
    frame = pd.read_csv(played.made / "predict.csv")
    assert len(frame) == 72
    columns = [f"p_{dx}" for dx in CLASSES]
    np.testing.assert_allclose(frame[columns].sum(axis=1), 1.0, atol=1e-6)
