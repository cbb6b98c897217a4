"""Random files of answers, one after another: an independent model says what must stand in labels.parquet, line by line.

Also: a process that is killed while it labels leaves the answers of whole files alone.
"""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.artifacts import labels
from engine.errors import DataError
from engine.labelling.intake import take
from tests.engine.labelling.labelled_run import write_run

UNLABELLED = ["U1", "U,2", 'U"3', "=U4", "U 5", "\u00dc6"]
MEANS = {
    "mel": ("label", "mel"), "Melanoma": ("label", "mel"), "nv": ("label", "nv"), "Naevus": ("label", "nv"),
    "BKL": ("label", "bkl"), "seborrheic keratosis": None, "?": ("unsure", ""), "cannot tell": ("unsure", ""),
    "withdraw": ("withdrawn", ""), "": "no answer", "mel?": None, "melanomaa": None,
}  # fmt: skip
"""What each word says, written down by hand; None: no class of the run."""
NAMES = {
    **{name: name for name in UNLABELLED},
    **{f"{name}.jpg": name for name in UNLABELLED},
    **{f"photos/{name}.PNG": name for name in UNLABELLED},
    "L1": None, "L3.jpg": None, "U7": None,
}  # fmt: skip
"""The image that each name stands for; None: one that may not be labelled."""
READERS = {"ann": "ann", " Bob  Li ": "Bob Li", "=eve": "=eve", "": "", "oracle": None}


@dataclass(frozen=True)
class File:
    """One call of `hardcase label`: its rows, how they are written, its options."""

    rows: list[tuple[str, str, str]]
    separator: str
    end: str
    quoting: int
    bom: bool
    order: list[int]
    reader: str
    shown: bool

    def text(self) -> str:
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter=self.separator, lineterminator=self.end, quoting=self.quoting)
        for cells in (
            ("image_id", "dx", "reader", "comment"),
            *((*row, "x; y, z\tw\n!") for row in self.rows),
        ):
            writer.writerow([cells[at] for at in self.order])
        return ("\ufeff" if self.bom else "") + buffer.getvalue()


GOOD = st.tuples(
    st.sampled_from([name for name, image in NAMES.items() if image]),
    st.sampled_from([word for word, said in MEANS.items() if said]),
    st.sampled_from([name for name, reader in READERS.items() if reader is not None]),
)
ANY = st.tuples(st.sampled_from(list(NAMES)), st.sampled_from(list(MEANS)), st.sampled_from(list(READERS)))
FILES = st.builds(
    File,
    rows=st.lists(GOOD, max_size=8) | st.tuples(ANY, st.lists(GOOD, max_size=3)).map(lambda t: [t[0], *t[1]]),
    separator=st.sampled_from([",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    bom=st.booleans(),
    order=st.permutations([0, 1, 2, 3]),
    reader=st.sampled_from(["ann", "cy", ""]),
    shown=st.booleans(),
)


def wanted(file: File, history: list[tuple[str, ...]]) -> list[tuple[str, ...]] | None:
    """Return (image, reader, kind, class, shown) that a file must add, None where all of it must be refused."""
    given: dict[tuple[str, str], tuple[str, str]] = {}
    for name, word, who in file.rows:
        says = MEANS[word]
        if says == "no answer":
            continue
        image, reader = NAMES[name], READERS[who]
        reader = file.reader if reader == "" else reader
        if says is None or image is None or not reader:
            return None
        assert isinstance(says, tuple)
        if given.setdefault((image, reader), says) != says:
            return None
    adds = []
    for (image, reader), (kind, dx) in given.items():
        last = next((line for line in reversed(history) if line[:2] == (image, reader)), None)
        if last is not None and last[2] == "withdrawn":
            last = None
        shown = file.shown or (last is not None and last[4] == "True")
        line = (image, reader, kind, dx, str(shown))
        if line != last and not (last is None and kind == "withdrawn"):
            adds.append(line)
    return adds


def lines(run: Path) -> list[tuple[str, ...]]:
    return [(a.image_id, a.reader, a.kind, a.dx, str(a.guess_shown)) for a in labels.read(run)]


def check(sequence: list[File]) -> None:
    with tempfile.TemporaryDirectory() as place:
        run = write_run(Path(place) / "run", UNLABELLED)
        history: list[tuple[str, ...]] = []
        for number, file in enumerate(sequence):
            path = Path(place) / f"{number}.{'tsv' if file.separator == chr(9) else 'csv'}"
            path.write_text(file.text(), encoding="utf-8", newline="")
            call = partial(take, run, path, reader=file.reader, guess_shown=file.shown)
            adds = wanted(file, history)
            if adds is None:
                with pytest.raises(DataError, match=rf"{number}\.[ct]sv, line \d+: "):
                    call()
            else:
                call()
                history += adds
                assert lines(run) == history
                call()
            assert lines(run) == history


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(FILES, min_size=1, max_size=4))
def test_no_answer_is_lost_or_invented(sequence: list[File]) -> None:
    check(sequence)


@pytest.mark.heavy  # 1,000 sequences of files, of which the test above samples 40
@settings(max_examples=1_000, deadline=None)
@given(st.lists(FILES, min_size=1, max_size=4))
def test_a_thousand_times(sequence: list[File]) -> None:
    check(sequence)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: f"image_id,dx\n{text}".encode()))
def test_whatever_a_file_holds_it_is_taken_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        run = write_run(Path(place) / "run", UNLABELLED)
        for suffix in ("csv", "json"):
            path = Path(place) / f"answers.{suffix}"
            path.write_bytes(content)
            try:
                take(run, path, reader="ann")
            except DataError as error:
                assert str(path) in str(error)
                assert lines(run) == []


LABELLER = """
    import sys
    from pathlib import Path
    from engine.labelling.intake import take
    run, folder = Path(sys.argv[1]), Path(sys.argv[2])
    for number in range(10_000):
        path = folder / f"{number % 2}.csv"
        print("begin", flush=True)
        take(run, path)
        print("done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 0.7])
def test_a_kill_leaves_whole_files(moment: float, tmp_path: Path) -> None:
    images = [f"U{number}" for number in range(200)]
    run = write_run(tmp_path / "run", images)
    for number, dx in enumerate(("mel", "nv")):
        rows = "".join(f"{image},{dx},ann\n" for image in images)
        (tmp_path / f"{number}.csv").write_text(f"image_id,dx,reader\n{rows}")
    labeller = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LABELLER), str(run), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert labeller.stdout is not None
    for _ in range(7):
        labeller.stdout.readline()
    time.sleep((moment + random.random() / 10) / 20)
    os.kill(labeller.pid, signal.SIGKILL)
    said = [*["begin", "done"] * 3, "begin", *labeller.communicate()[0].split()]
    confirmed, begun = said.count("done"), said.count("begin")
    kept = labels.read(run)
    whole, rest = divmod(len(kept), len(images))
    assert rest == 0, "files are kept whole"
    assert confirmed <= whole <= begun
    for number in range(whole):
        part = kept[number * len(images) : (number + 1) * len(images)]
        assert [answer.image_id for answer in part] == images
        assert {answer.dx for answer in part} == {("mel", "nv")[number % 2]}
