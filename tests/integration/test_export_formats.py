"""`hardcase export data` in every format, opened by readers that are not ours and held against the run's own files."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO
from torchvision.datasets import ImageFolder
from typer.testing import CliRunner

from engine.artifacts import accept
from engine.artifacts.decoded_images import open_images, open_masks
from engine.cli import app
from engine.commands import export_webdataset
from engine.commands.export_data import FORMATS
from engine.commands.exported_run import open_exported
from engine.parts.soft_labels import SoftLabels
from engine.store import RunFolder
from tests.integration.tiny import SOFT

pytestmark = [pytest.mark.slow]

CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
PARTS = ["train", "mine", "val", "test"]
P = [f"p_{dx}" for dx in CLASSES]


class Seen(NamedTuple):
    """What a reader finds of one image: the class by the format's own means, its record, its pixels."""

    dx: str
    record: dict[str, Any]
    pixels: np.ndarray


def hardcase(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def export(run: Path, layout: str, out: Path) -> Path:
    code, _, error = hardcase("export", "data", run, "--format", layout, "--out", out)
    assert code == 0, error
    return out


def pixels(file: Path | io.BytesIO) -> np.ndarray:
    with Image.open(file) as image:
        assert not image.info
        return np.asarray(image)


def read_coco(folder: Path) -> dict[str, Seen]:
    found = {}
    for part in PARTS:
        coco = COCO(folder / "annotations" / f"{part}.json")
        for image in coco.loadImgs(coco.getImgIds()):
            (annotation,) = coco.loadAnns(coco.getAnnIds(image["id"]))
            (category,) = coco.loadCats(annotation["category_id"])
            record = image["attributes"]
            assert record["split"] == part
            found[record["image_id"]] = Seen(
                category["name"], record, pixels(folder / "images" / image["file_name"])
            )
            assert found[record["image_id"]].pixels.shape == (image["height"], image["width"], 3)
    return found


def read_fiftyone(folder: Path) -> dict[str, Seen]:
    """By the layout that its importer reads: metadata.json without ``version``, labels with ``_cls``."""
    metadata = json.loads((folder / "metadata.json").read_text())
    assert "version" not in metadata and metadata["info"]["default_classes"] == CLASSES
    found = {}
    for sample in json.loads((folder / "samples.json").read_text())["samples"]:
        assert {"filepath", "tags"} <= set(sample) and sample["dx"]["_cls"] == "Classification"
        assert sample["tags"][:2] == [sample["split"], sample["origin"]]
        record = {**sample, **dict(zip(P, sample.get("prob", [None] * len(P)), strict=True))}
        for name in ("predicted", "judge_predicted"):
            record[name] = sample[name]["label"] if name in sample else None
        found[sample["image_id"]] = Seen(sample["dx"]["label"], record, pixels(folder / sample["filepath"]))
    return found


def read_imagefolder(folder: Path) -> dict[str, Seen]:
    found = {}
    for part in PARTS:
        images = ImageFolder(str(folder / part), allow_empty=True)
        assert images.classes == CLASSES
        records = pd.read_parquet(folder / part / "metadata.parquet", dtype_backend="pyarrow")
        by_file = {row["file_name"]: row for row in records.to_dict("records")}
        for path, number in images.samples:
            record = by_file.pop(Path(path).relative_to(folder / part).as_posix())
            assert record["split"] == part
            found[record["image_id"]] = Seen(images.classes[number], record, pixels(Path(path)))
        assert not by_file
    return found


def read_webdataset(folder: Path) -> dict[str, Seen]:
    found = {}
    index = json.loads((folder / "dataset.json").read_text())
    for part in PARTS:
        for shard in index["shards"][part]:
            samples: dict[str, dict[str, bytes]] = {}
            with tarfile.open(folder / shard["file"]) as archive:
                for member in archive:
                    key, _, kind = member.name.partition(".")
                    content = archive.extractfile(member)
                    assert content is not None
                    samples.setdefault(key, {})[kind] = content.read()
            assert len(samples) == shard["images"]
            for sample in samples.values():
                record = json.loads(sample["json"])
                assert record["split"] == part
                dx = index["classes"][int(sample["cls"])]
                found[record["image_id"]] = Seen(dx, record, pixels(io.BytesIO(sample["png"])))
    return found


def read_ham10000(folder: Path) -> dict[str, Seen]:
    rows = pd.read_csv(
        folder / "HAM10000_metadata.csv", dtype={"seed": "Int64", "round": "Int64"}
    ).to_dict("records")  # fmt: skip
    for row in rows:
        for name, kind in (
            ("neighbour_ids", str),
            ("weights", float),
            ("judge_prob", float),
            ("soft_label", float),
        ):
            row[name] = None if pd.isna(row[name]) else [kind(text) for text in row[name].split(" ")]
    return {
        row["image_id"]: Seen(row["dx"], row, pixels(folder / "images" / f"{row['image_id']}.png"))
        for row in rows
    }


READERS: dict[str, Callable[[Path], dict[str, Seen]]] = {
    "ham10000": read_ham10000,
    "coco": read_coco,
    "fiftyone": read_fiftyone,
    "imagefolder": read_imagefolder,
    "webdataset": read_webdataset,
}


@pytest.fixture(scope="module")
def exported(soft_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("formats")
    return {layout: export(soft_run, layout, place / layout) for layout in FORMATS}


@pytest.fixture(scope="module")
def made(soft_run: Path) -> pd.DataFrame:
    """Every synthetic image of the run with its round, picture and the label that pools give it."""
    frames = []
    for number in (1, 2):
        folder = soft_run / "rounds" / f"{number:04d}"
        frame = pd.read_parquet(folder / "synthetic.parquet")
        assert accept.read(folder).classes == tuple(CLASSES)
        how = SoftLabels(temperature=1.5, share=0.25)
        label_S = np.array([CLASSES.index(dx) for dx in frame["dx"]])
        soft_SC = how.labels(np.stack(frame["judge_prob"].tolist()).astype(np.float64), label_S)
        frames.append(
            frame.assign(round=number, picture=[folder / f for f in frame["file"]], soft=list(soft_SC))
        )
    return pd.concat(frames).set_index("sample_id")


@pytest.mark.parametrize("layout", READERS)
def test_synthetic_images_carry_all_that_the_run_knows(
    layout: str, exported: dict[str, Path], made: pd.DataFrame, soft_run: Path
) -> None:
    found = READERS[layout](exported[layout])
    lesion = pd.read_parquet(soft_run / "split.parquet").set_index("image_id")["lesion_id"]
    names = {name for name, seen in found.items() if seen.record["origin"] == "synthetic"}
    assert names == set(made.index[made["accepted"]]) and len(names) > 10
    for name in sorted(names):
        row, (dx, record, shown) = made.loc[name], found[name]
        assert (dx, record["split"], record["synthetic"]) == (row["dx"], "train", True)
        assert (record["round"], record["arm"], record["seed"]) == (row["round"], "hard", row["seed"])
        assert record["parent_image_id"] == row["parent_image_id"]
        assert record["lesion_id"] == lesion[row["parent_image_id"]]
        assert list(record["neighbour_ids"]) == row["neighbour_ids"].tolist()
        for column in ("accepted", "judge_predicted", "nearest_train_id", "policy", "checkpoint"):
            assert record[column] == row[column], column
        for column in ("judge_p", "nearest_train_distance", "difficulty"):
            assert record[column] == pytest.approx(row[column], abs=1e-15), column
        for column, given in (("weights", "weights"), ("judge_prob", "judge_prob"), ("soft_label", "soft")):
            np.testing.assert_allclose(list(record[column]), list(row[given]), atol=1e-12, err_msg=column)
        assert record["loss_weight"] == SOFT["weight"]
        assert absent(record.get("predicted")) and absent(record.get("p_mel"))
        assert (shown == pixels(row["picture"])).all()


@pytest.mark.parametrize("layout", READERS)
def test_real_images_carry_part_lesion_and_probabilities_of_those_who_never_saw_them(
    layout: str, exported: dict[str, Path], soft_run: Path
) -> None:
    found = READERS[layout](exported[layout])
    run = RunFolder.open(soft_run)
    split = pd.read_parquet(soft_run / "split.parquet").set_index("image_id")
    real = {name: seen for name, seen in found.items() if seen.record["origin"] == "real"}
    assert set(real) == set(split.index)
    champion = run.champion()
    own = pd.read_parquet(run.arm_folder(champion.round, champion.arm) / "predictions.parquet")
    by_part = own.set_index("image_id")[P]
    out_of_fold = pd.read_parquet(run.stage("rounds/0002/hard/crossfit").path / "predictions.parquet")
    by_fold = out_of_fold.set_index("image_id")[P]
    images = run.stage("foundation/images").path
    table, decoded = pd.read_parquet(images / "table.parquet"), open_images(images)
    row_of = {name: row for row, name in enumerate(table["image_id"])}
    for name, (dx, record, shown) in real.items():
        assert (dx, record["split"], record["lesion_id"]) == tuple(
            split.loc[name, ["dx", "split", "lesion_id"]]
        )
        assert record["synthetic"] is False or not record["synthetic"]
        assert (shown == decoded[row_of[name]]).all()
        assert absent(record.get("parent_image_id")) and absent(record.get("accepted"))
        if record["split"] == "mine":
            assert absent(record.get("predicted")) and absent(record.get("p_mel"))
            continue
        expected = by_fold.loc[name] if record["split"] == "train" else by_part.loc[name]
        assert [record[column] for column in P] == pytest.approx(expected.tolist(), abs=1e-12)
        assert record["predicted"] == CLASSES[int(np.argmax(expected))]
        by = "round 2, out of fold, temperature 1"
        assert record["predicted_by"] == (
            by if record["split"] == "train" else f"round {champion.round} {champion.arm}"
        )


def absent(value: Any) -> bool:
    return value is None or bool(pd.isna(value))


def test_coco_has_the_outlines_that_the_data_set_drew_and_no_other(
    exported: dict[str, Path], soft_run: Path
) -> None:
    images = RunFolder.open(soft_run).stage("foundation/images").path
    drawn = dict(zip(pd.read_parquet(images / "table.parquet")["image_id"], open_masks(images), strict=True))
    coco = COCO(exported["coco"] / "annotations" / "train.json")
    kinds = set()
    for annotation in coco.loadAnns(coco.getAnnIds()):
        record = coco.imgs[annotation["image_id"]]["attributes"]
        kinds.add((record["origin"], "bbox" in annotation))
        if record["origin"] == "real":
            inside = drawn[record["image_id"]] > 0
            assert (coco.annToMask(annotation).astype(bool) == inside).all()
            x, y, width, height = annotation["bbox"]
            rows, columns = np.nonzero(inside)
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
            assert annotation["area"] == inside.sum()
    assert kinds == {("real", True), ("synthetic", False)}


def test_shards_are_bounded_shuffled_and_the_same_again(
    exported: dict[str, Path], soft_run: Path, tmp_path: Path
) -> None:
    run, most = open_exported(soft_run), 60_000
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        export_webdataset.write(run, tmp_path / name, shard_bytes=most)
    shards = sorted((tmp_path / "a").glob("train-*.tar"))
    assert len(shards) > 2
    assert all(shard.stat().st_size <= most for shard in shards)
    assert all(shard.read_bytes() == (tmp_path / "b" / shard.name).read_bytes() for shard in shards)
    few, whole = (read_webdataset(place) for place in (tmp_path / "a", exported["webdataset"]))
    assert set(few) == set(whole)
    origins = [seen.record["origin"] for seen in few.values() if seen.record["split"] == "train"]
    assert "real" in origins[origins.index("synthetic") :]


@pytest.fixture(scope="module")
def doubtful(soft_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as `loop.mine_from: test` would have left it, with one image of round 1 rejected."""
    place = tmp_path_factory.mktemp("doubtful")
    copy = place / "run"
    shutil.copytree(soft_run, copy)
    (place / "stages").symlink_to(soft_run.parent / "stages")
    (copy / "checksums.json").unlink()
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("mine_from: crossfit", "mine_from: test"))
    table = copy / "rounds" / "0001" / "synthetic.parquet"
    frame = pd.read_parquet(table)
    frame.loc[0, ["accepted", "reasons"]] = [False, "judge disagrees"]
    frame.to_parquet(table)
    return copy


@pytest.mark.parametrize("layout", READERS)
def test_warnings_travel_and_only_fiftyone_shows_rejected_images(
    layout: str, doubtful: Path, tmp_path: Path
) -> None:
    code, out, error = hardcase("export", "data", doubtful, "--format", layout, "--out", tmp_path / "out")
    assert code == 0, error
    assert "(LEAKY: mined from test)" in out
    text = (tmp_path / "out" / "README.md").read_text()
    places = {"coco": "annotations/test.json", "fiftyone": "metadata.json", "webdataset": "dataset.json"}
    if layout in places:
        tree = json.loads((tmp_path / "out" / places[layout]).read_text())
        text += " ".join(tree.get("info", tree)["warnings"])
    for said in (
        "Never test on them",
        "not for decisions about a patient",
        "CC BY-NC",
        "LEAKY: hard cases were mined",
    ):
        assert text.count(said) == (2 if layout in places else 1), said
    name = pd.read_parquet(doubtful / "rounds/0001/synthetic.parquet")["sample_id"][0]
    found = READERS[layout](tmp_path / "out")
    assert (name in found) == (layout == "fiftyone")
    if layout == "fiftyone":
        assert found[name].record["tags"] == ["train", "synthetic", "rejected"]
        assert found[name].record["reasons"] == "judge disagrees"


@pytest.mark.parametrize(
    "place", ["imagefolder", "imagefolder/train", "imagefolder/train/mel", "coco/images"]
)
def test_predict_leaves_the_synthetic_images_of_every_layout_out(
    place: str, exported: dict[str, Path], soft_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, _, inner = place.partition("/")
    folder = exported[layout] / inner
    monkeypatch.chdir(folder.parent)
    code, out, error = hardcase("predict", soft_run, folder.name, "--csv", tmp_path / "p.csv")
    assert code == 0, error
    assert "synthetic images of an exported folder are left out" in out
    found = set(pd.read_csv(tmp_path / "p.csv")["image_id"])
    images = {path.stem for path in folder.rglob("*.png")}
    real = set(pd.read_parquet(soft_run / "split.parquet")["image_id"])
    assert found == images & real != images


def test_evaluate_leaves_synthetic_images_of_class_folders_out(
    exported: dict[str, Path], soft_run: Path, tmp_path: Path
) -> None:
    given = ("data.format=folder", f"data.root={exported['imagefolder'] / 'train'}")
    code, out, error = hardcase("evaluate", soft_run, *given, "--json", tmp_path / "e.json")
    assert code == 0, error
    assert "synthetic images are left out" in out
    split = pd.read_parquet(soft_run / "split.parquet")
    assert json.loads((tmp_path / "e.json").read_text())["n"] == (split["split"] == "train").sum()


def test_what_cannot_be_exported_is_one_error(soft_run: Path, tmp_path: Path) -> None:
    code, _, error = hardcase("export", "data", soft_run, "--format", "zip", "--out", tmp_path / "x")
    assert code == 2
    assert (
        "--format: 'zip' is unknown; choose from ham10000, coco, fiftyone, imagefolder, webdataset" in error
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    code, _, error = hardcase("export", "data", soft_run, "--format", "coco", "--out", tmp_path / "full")
    assert code == 2
    assert "not an empty folder" in error
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "full"]
