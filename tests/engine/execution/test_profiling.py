"""What takes a stage's time: which steps are watched, what the table counts, and that watching changes no result."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from engine import build
from engine.execution import profiling
from engine.execution.backend import LocalBackend
from engine.execution.profiling import OPERATIONS, TABLE, TRACE, operations, table, watched, watched_chunk
from tests.engine.execution.again import call_again, files, stage_folder
from tests.fakes import no_progress
from tests.integration.tiny import tiny_config


@pytest.fixture(autouse=True)
def _however_slow_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many steps are watched as there are to be; the test of slow steps has its own seconds."""
    monkeypatch.setattr(profiling, "SECONDS", 3600.0)


def step(name: str) -> None:
    """One step of work that a trace shows under this name."""
    with torch.profiler.record_function(name):
        torch.ones(8) + 1


def play(folder: Path, steps: int) -> tuple[list[tuple[str, int, int]], set[str]]:
    """Watch a stage of so many steps; return the progress that was told, and the names in its trace."""
    told: list[tuple[str, int, int]] = []
    with watched(folder, "vae-1", "cpu", lambda *found: told.append(found)) as progress:
        step("before")
        for number in range(1, steps + 1):
            step(f"step {number}")
            progress("vae", number, steps)
        step("after")
    events = json.loads(gzip.decompress((folder / f"vae-1{TRACE}").read_bytes()))["traceEvents"]
    marks = {"before", "after", *(f"step {number}" for number in range(1, steps + 1))}
    return told, {event["name"] for event in events} & marks


@pytest.mark.parametrize(
    ("steps", "seen"),
    [
        (0, {"before", "after"}),
        (1, {"before", "step 1"}),
        (3, {"step 2", "step 3", "after"}),
        (9, {"step 2", "step 3", "step 4", "step 5", "step 6"}),
    ],
)
def test_some_steps_after_the_first_are_watched(tmp_path: Path, steps: int, seen: set[str]) -> None:
    told, names = play(tmp_path, steps)
    assert names == seen
    assert told == [("vae", number, steps) for number in range(1, steps + 1)]


def test_slow_steps_are_watched_for_some_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "SECONDS", 0.0)
    assert play(tmp_path, 9)[1] == {"step 2"}


def test_without_a_folder_nothing_is_watched() -> None:
    with watched(None, "vae-1", "cpu", no_progress) as progress:
        assert progress is no_progress
    with watched_chunk(None, "vae-1", "cpu"):
        step("a chunk")


def test_what_a_stage_raises_is_raised_and_what_was_watched_is_kept(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="loss is NaN"), watched(tmp_path, "vae-1", "cpu", no_progress):
        step("before")
        raise RuntimeError("loss is NaN")
    assert (tmp_path / f"vae-1{TRACE}").exists()


def test_a_chunk_is_watched_as_a_whole_and_a_later_one_takes_its_place(tmp_path: Path) -> None:
    for chunk in range(2):
        with watched_chunk(tmp_path, "predict-1", "cpu"):
            step(f"chunk {chunk}")
    assert "Watched: one chunk, on one worker;" in (tmp_path / f"predict-1{TABLE}").read_text()
    trace = gzip.decompress((tmp_path / f"predict-1{TRACE}").read_bytes()).decode()
    assert "chunk 1" in trace and "chunk 0" not in trace


def test_steps_of_another_thread_are_told_and_not_watched(tmp_path: Path) -> None:
    told: list[int] = []
    with watched(tmp_path, "vae-1", "cpu", lambda _what, done, _total: told.append(done)) as progress:
        other = threading.Thread(target=lambda: [progress("vae", done, 3) for done in (1, 2, 3)])
        other.start()
        other.join()
    assert told == [1, 2, 3]
    assert "Watched: the whole stage;" in (tmp_path / f"vae-1{TABLE}").read_text()


def test_the_table_has_the_most_expensive_operations_first() -> None:
    averages = [
        SimpleNamespace(key=name, count=calls, self_cpu_time_total=cpu, self_device_time_total=gpu)
        for name, calls, cpu, gpu in (("conv", 4, 1e6, 8e6), ("a|b", 2, 3e6, 0.0), ("free", 1, 0.0, 0.0))
    ]
    rows = operations(averages, on_gpu=False)
    assert [(row.name, row.calls, row.seconds) for row in rows] == [("a|b", 2, 3.0), ("conv", 4, 1.0)]
    assert [row.name for row in operations(averages, on_gpu=True)] == ["conv"]
    text = table("vae-1", "vae, 5 steps", 5.0, rows)
    assert "| `a/b` | 75.0% | 3000.0 | 2 |\n| `conv` | 25.0% | 1000.0 | 4 |" in text
    assert "5.00 s, 4.00 s of them" in text
    assert len(table("x", "y", 1.0, rows * 10).splitlines()) == 6 + profiling.ROWS
    assert "| operation |" in table("nothing", "the whole stage", 0.1, [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "watched_part"),
    [
        ("foundation/vae", "vae, 5 steps after the first"),
        ("rounds/0000/real/predict", "4 steps after the first"),
        ("rounds/0001/hard/mine", "the whole stage"),
    ],
)
def test_a_stage_that_is_watched_gives_the_same_bits_and_a_table(
    tmp_path: Path, tiny_run: Path, role: str, watched_part: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A training, a map of five chunks, and a stage without steps; the profiler's own lines are not for users."""
    call = call_again(tiny_run, role, tmp_path / "out")
    LocalBackend(profile=tmp_path / "profile").run(call, no_progress)
    assert files(call.out) == files(stage_folder(tiny_run, role))
    told = tmp_path / "profile" / f"{call.title}{TABLE}"
    assert f"Watched: {watched_part};" in told.read_text()
    assert gzip.decompress(told.with_suffix(TRACE).read_bytes())
    assert "profiler" not in "".join(capfd.readouterr())


def test_tables_of_all_stages_become_one_file(tmp_path: Path) -> None:
    assert profiling.collect(tmp_path) is None
    for name in ("denoiser-2", "vae-1"):
        play(tmp_path, 3)
        (tmp_path / f"vae-1{TABLE}").rename(tmp_path / f"{name}{TABLE}")
    for _ in range(2):
        found = profiling.collect(tmp_path)
        assert found == tmp_path / OPERATIONS
        assert found.read_text().count("\n## vae-1") == 2


def test_a_run_is_watched_where_that_is_asked_for(tmp_path: Path) -> None:
    config = tiny_config(str(tmp_path), name="tiny")
    for profile in (True, False):
        wiring = build.wire(config, profile=profile, track=False)
        assert wiring.backend == LocalBackend(profile=wiring.folder.layout.profile if profile else None)
