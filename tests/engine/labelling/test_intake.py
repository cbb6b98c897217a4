"""Files of answers: all or nothing, nothing twice, changes kept; every error names the line, the value and the remedy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.artifacts import labels, split
from engine.errors import DataError
from engine.labelling.intake import Taken, add, take
from engine.labelling.run_images import RunImages, names_of
from tests.engine.labelling.labelled_run import CLASSES, said, write_run
from tests.engine.labelling.test_label_studio import annotation, choice, task
from tests.race import writes_first


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", ["U1", "U2", "ISIC_0024306", "ISIC_0024307"])


def label(run: Path, text: str, reader: str = "ann", *, shown: bool = False) -> Taken:
    path = run.parent / "answers.csv"
    path.write_text(text)
    return take(run, path, reader=reader, guess_shown=shown)


def stands(run: Path) -> dict[tuple[str, str], tuple[str, str, bool]]:
    return {
        (image, reader): (answer.kind, answer.dx, answer.guess_shown)
        for image, of in labels.standing(labels.read(run)).items()
        for reader, answer in of.items()
    }


def test_answers_are_added_once(run: Path) -> None:
    text = "image_id,dx,reader\nU1.jpg,Melanoma,\nphotos/U2.PNG,?,bob\nISIC_0024306,,\nU1,mel,ann\n"
    first = label(run, text)
    assert (len(first.added), first.changes, first.repeated, first.empty) == (2, (), 1, 1)
    assert stands(run) == {("U1", "ann"): ("label", "mel", False), ("U2", "bob"): ("unsure", "", False)}
    before = (run / labels.FILE).read_bytes()
    again = label(run, text)
    assert (again.added, again.repeated, again.empty) == ((), 3, 1)
    assert (run / labels.FILE).read_bytes() == before


def test_an_answer_given_while_a_file_is_taken_in_counts_as_the_earlier_one(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes_first(monkeypatch, run, [replace(said("U1", "ann", "nv"), guess_shown=True)])
    (change,) = label(run, "image_id,dx\nU1,mel\n").changes
    assert (change.before.dx, change.now.guess_shown) == ("nv", True)
    assert stands(run) == {("U1", "ann"): ("label", "mel", True)}


def test_a_change_keeps_the_earlier_answer(run: Path) -> None:
    label(run, "image_id,dx\nU1,mel\n")
    (change,) = label(run, "image_id,dx\nU1,nv\nU2,withdraw\n").changes
    assert (change.before.dx, change.now.dx) == ("mel", "nv")
    label(run, "image_id,dx\nU1,withdraw\n")
    assert stands(run) == {}
    assert [(answer.kind, answer.dx) for answer in labels.read(run)] == [
        ("label", "mel"),
        ("label", "nv"),
        ("withdrawn", ""),
    ]


def test_who_has_seen_the_guess_has_seen_it(run: Path) -> None:
    label(run, "image_id,dx\nU1,mel\nU2,nv\n", shown=True)
    assert label(run, "image_id,dx\nU1,mel\nU2,mel\n").repeated == 1
    assert stands(run) == {("U1", "ann"): ("label", "mel", True), ("U2", "ann"): ("label", "mel", True)}
    label(run, "image_id,dx\nU1,mel\n", "bob")
    assert len(label(run, "image_id,dx\nU1,mel\n", "bob", shown=True).changes) == 1


def test_label_studios_export(run: Path) -> None:
    path = run.parent / "export.JSON"
    path.write_text(
        json.dumps([task("/data/upload/3/8d0c2a1f-U1.jpg", annotation(choice("Melanoma"), by=4))])
    )
    assert [answer.reader for answer in take(run, path).added] == ["annotator 4"]
    assert stands(run) == {("U1", "annotator 4"): ("label", "mel", False)}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "ISIC_0024308,mel,",
            r"image 'ISIC_0024308' is none of the run's .*; did you mean ISIC_002430. or ISIC_002430",
        ),
        (
            "x,mel,",
            r"image 'x' is none of the run's unlabelled images; use the ids of the images asked about",
        ),
        (
            "L2.jpg,mel,",
            r"image 'L2.jpg' has a label already \(it is in part val\), and nobody is asked .*leave it out",
        ),
        (
            "U2,psoriasis,",
            r"dx 'psoriasis' is no class of the run; write bkl, mel, nv, unsure, withdraw, or nothing",
        ),
        ("U1,nv,", r"ann answers U1 a second time, with 'nv' after 'mel' in line 2; keep one"),
        ("U1.jpg,withdraw,ann", r"ann answers U1 a second time"),
        (
            "U2,nv,Oracle",
            r"reader 'Oracle' is what uncovered labels are kept under; give the name of who answered",
        ),
    ],
)
def test_one_bad_row_and_nothing_is_added(row: str, message: str, run: Path) -> None:
    label(run, "image_id,dx\nU2,bkl\n", "cy")
    before = (run / labels.FILE).read_bytes()
    with pytest.raises(DataError, match=rf"answers\.csv, line 3: {message}"):
        label(run, f"image_id,dx,reader\nU1,mel,\n{row}\nISIC_0024306,nv,\n")
    assert (run / labels.FILE).read_bytes() == before


def test_an_error_never_tells_a_label(run: Path) -> None:
    with pytest.raises(DataError) as error:
        label(run, "image_id,dx\nL3,mel\n")
    assert "bkl" not in str(error.value)


def test_nobody_is_no_reader(run: Path) -> None:
    with pytest.raises(
        DataError, match=r"line 2: nobody is named as reader; fill column reader, or give --reader NAME"
    ):
        label(run, "image_id,dx\nU1,mel\n", reader=" ")
    assert label(run, "image_id,dx,reader\nU1,,\n", reader="").empty == 1


def test_an_image_that_a_reader_labelled_may_be_labelled_again(run: Path) -> None:
    """A run that went on has it in part train."""
    label(run, "image_id,dx\nU1,mel\n")
    table = split.read(run)
    part = table.split.copy()
    dx = table.dx.copy()
    row = table.image_id.tolist().index("U1")
    part[row], dx[row] = "train", "mel"
    split.write(replace(table, split=part, dx=dx), run)
    assert len(label(run, "image_id,dx\nU1,nv\n", "bob").added) == 1
    assert len(label(run, "image_id,dx\nU1,withdraw\n").added) == 1
    assert len(label(run, "image_id,dx\nU1,withdraw\n", "bob").added) == 1
    assert len(label(run, "image_id,dx\nU1,bkl\n", "bob").added) == 1, "all withdrawn, and it is open still"


def test_where_nothing_can_be_labelled(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run: no run folder \(config\.yaml is missing\)"):
        RunImages.of(tmp_path / "run")
    run = write_run(tmp_path / "run", [])
    with pytest.raises(DataError, match=r"image 'U1' is none .*: it has none; set data\.unlabelled=keep, or"):
        label(run, "image_id,dx\nU1,mel\n")
    (run / "split.parquet").unlink()
    with pytest.raises(
        DataError, match=r"run: has no split yet; rerun `hardcase run .*config\.yaml` to resume it"
    ):
        RunImages.of(run)


def test_the_images_of_a_run(run: Path) -> None:
    images = RunImages.of(run)
    assert images.classes == CLASSES
    assert images.open_to == {"U1", "U2", "ISIC_0024306", "ISIC_0024307"}
    assert dict(images.part) == {"L1": "train", "L2": "val", "L3": "test"}


def test_an_id_that_ends_like_a_file_is_itself(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["U1", "U1.jpg", "L1.png"])
    images = RunImages.of(run)
    assert [images.find(name, "") for name in ("U1", "U1.jpg", "photos/U1.jpg", "L1.png")] == [
        "U1", "U1.jpg", "U1.jpg", "L1.png",
    ]  # fmt: skip
    labelled = RunImages(open_to=frozenset(["U1"]), part={"U1.jpg": "test"}, group={}, classes=CLASSES)
    with pytest.raises(DataError, match="it is in part test"):
        labelled.find("U1.jpg", "line 2")


def test_what_a_name_may_stand_for() -> None:
    assert names_of("a/b.1.jpg") == ["a/b.1.jpg", "b.1.jpg", "b.1"]
    assert names_of(r"C:\photos\U1.JPEG") == [r"C:\photos\U1.JPEG", "U1.JPEG", "U1"]
    assert names_of("8d0c2a1f-U1.png") == ["8d0c2a1f-U1.png", "8d0c2a1f-U1", "U1.png", "U1"]
    assert names_of("v1.2") == ["v1.2"]


def test_answers_of_programs_are_added_likewise(run: Path) -> None:
    answers = [said("U1", "ann", "mel"), said("U2", "ann", "nv", shown=True)]
    assert len(add(run, answers).added) == 2
    assert add(run, answers).repeated == 2
