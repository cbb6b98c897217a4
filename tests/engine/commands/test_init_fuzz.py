"""Whatever folder `init` is given, it writes a config that loads, reads and decodes, or says one thing to mend, and no more.

What it does in no case: a traceback, a hang, a write outside the config's place.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rich.console import Console

from engine.commands.init_command import init
from engine.commands.init_values import Machine
from engine.config import Config, load_config
from engine.data.assignment import assign
from engine.data.images import fill_cache
from engine.data.readers.table import read
from engine.errors import HardcaseError
from tests.engine.data.any_folder import make

pytestmark = pytest.mark.filterwarnings("ignore")

MACHINE = Machine(cores=2, gpu=False)
CHANGES = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.truncate",
}
LONGEST = 120.0
"""Seconds of a case on a crowded machine; a hang takes for ever."""


class Writes:
    """Notes which paths this process opens for writing, makes, moves or removes."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.on = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.on or (event != "open" and event not in CHANGES):
            return
        if event == "open" and not (given[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        self.paths += [
            os.fsdecode(path)
            for path in given[:2]
            if isinstance(path, str | bytes) and path not in ("r", "w")
        ]

    @contextmanager
    def only_below(self, place: Path) -> Iterator[None]:
        """Assert that what is written meanwhile lies below ``place``."""
        self.paths, self.on = [], True
        try:
            yield
        finally:
            self.on = False
        named = [Path(path).resolve() for path in self.paths if os.sep in path]
        strange = [path for path in named if not path.is_relative_to(place.resolve())]
        assert not strange, strange


WRITES = Writes()


def _read(config: Config, out: Path, *, skip: bool) -> str:
    """Read, decode and split as a run would; returns how far it came. ``skip``: whether broken images are left out."""
    data = config.data.model_copy(update={"workers": 1, "on_bad_image": "skip" if skip else "fail"})
    try:
        source = read(data, 0)
    except HardcaseError as error:  # what a CHECK line names: too few classes, absent images
        assert str(error).strip() and "# CHECK" in out.with_suffix(".yaml").read_text(encoding="utf-8")
        return "not read"
    there = {*source.table.classes, *config.data.map_labels.values()}
    assert skip or set(config.data.malignant) <= there  # a class of absent images goes with them
    assert all(Path(str(path)).is_relative_to(str(config.data.root)) or config.data.format == "table"
               for path in source.table.path if path)  # fmt: skip
    try:
        out.mkdir()
        decoded = fill_cache(source, data, out, lambda *_: None)
        assign(source.take(decoded.good_N).table, config.data.split, 0)
    except HardcaseError as error:
        assert str(error).strip()
        return "not split"
    return "split"


def _case(seed: int, place: Path) -> str:
    """Make a folder from a seed and go through it; returns how far it came."""
    root, out = place / "data", place / "c.yaml"
    shutil.rmtree(place, ignore_errors=True)  # of a failure, which is played again to be shown
    root.mkdir(parents=True)
    make(root, seed)
    before, start = sorted(root.rglob("*")), time.monotonic()
    with WRITES.only_below(place):
        try:
            init(root, out, Console(file=io.StringIO(), width=200), machine=MACHINE)
        except HardcaseError as error:
            assert str(error).strip() and not out.exists()
            came = "refused"
        else:
            came = _read(load_config(out), place / "c", skip=bool(seed % 2))
    assert time.monotonic() - start < LONGEST
    assert sorted(root.rglob("*")) == before, "the data are left as they were"
    assert {path.name for path in place.iterdir()} <= {"data", "c.yaml", "c"}
    shutil.rmtree(place)
    return came


SEEDS = st.integers(0, 2**40)
MANY = partial(
    settings,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
"""A seed cannot be shrunk, so nothing is tried again."""
PARTS = [part if part == 0 else pytest.param(part, marks=pytest.mark.heavy) for part in range(20)]
"""Several processes share 5,000 cases; CI plays a twentieth, beside 3,000 damaged images and 1,000 files of answers."""


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
@MANY(max_examples=250)
@given(seed=SEEDS)
def test_any_folder_is_read_or_refused(
    part: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _case(seed, tmp_path_factory.getbasetemp() / f"any{part}-{seed}")


@pytest.mark.slow
def test_the_folders_reach_every_end(tmp_path: Path) -> None:
    """A fuzz that only makes refusals tries nothing: of 60 folders some are split, and some fail at each step before."""
    ends = {_case(seed, tmp_path / str(seed)) for seed in range(60)}
    assert ends == {"refused", "not read", "not split", "split"}


def test_a_write_elsewhere_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    outside = tmp_path / "x"
    for act in (outside.touch, outside.unlink, outside.mkdir, outside.rmdir):
        with pytest.raises(AssertionError), WRITES.only_below(tmp_path / "in"):
            act()
    with WRITES.only_below(tmp_path / "in"):
        (tmp_path / "in" / "x").write_text((tmp_path / "in" / "x").name)
