"""Attempts at a stage: a folder for each, one published by a rename, checkpoints handed on, twins without effect."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.artifacts.whole_files import write_text
from engine.errors import DataError, FullDiskError, NoMemoryError, StageError, StoppedError
from engine.execution.attempts import AttemptError
from engine.execution.backend import StageCall
from engine.execution.progress import QuietListener
from engine.stages import find
from engine.store import StageCache, StageFolder, StageRunner
from engine.store.files import checksums
from engine.training.plan import Progress
from engine.training.set_aside import NOTE
from engine.types import Cause
from tests.engine.store.test_cache import VAE, Params

pytestmark = pytest.mark.faults

LOST = AttemptError(Cause.WORKER_LOST, "signal 9")

Step = Callable[[StageCall], None]


class Played:
    """A backend that plays one function per attempt; the last one again and again."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.calls: list[StageCall] = []

    def run(self, call: StageCall, progress: Progress) -> None:
        self.calls.append(call)
        self.steps[min(len(self.calls), len(self.steps)) - 1](call)

    def close(self) -> None:
        pass


def succeeds(call: StageCall) -> None:
    (call.out / "result.txt").write_text("42")


def fails(error: BaseException, checkpoint: str = "") -> Step:
    def step(call: StageCall) -> None:
        (call.out / "half.txt").write_text("4")
        if checkpoint:
            write_text(call.checkpoint / checkpoint, "whole")
        raise error

    return step


def run(root: Path, backend: Played, stage: Any = VAE) -> StageFolder:
    return StageRunner(StageCache(root), backend, 1, "cpu", "float32", QuietListener())(stage, Params())


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if not path.name.startswith(".")}


def test_a_lost_attempt_is_followed_by_one_in_a_folder_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Played(fails(LOST), succeeds)
    with caplog.at_level(logging.WARNING, "hardcase.attempts"):
        folder = run(tmp_path, backend)
    first, second = backend.calls
    assert first.out != second.out
    assert first.checkpoint != second.checkpoint
    assert re.fullmatch(rf"vae-{folder.key}\.attempt-2-[0-9a-f]{{8}}", second.out.parent.name)
    assert [(f.cause, f.said) for f in folder.failed] == [(Cause.WORKER_LOST, "signal 9")]
    assert names(tmp_path) == {folder.path.name}
    assert set(checksums(folder.path)) == {"result.txt", "stage.json"}
    assert "stage vae: attempt 1 failed and is made again: worker lost (signal 9)" in caplog.text


def test_a_stage_of_one_attempt_has_no_failures_and_the_same_files(tmp_path: Path) -> None:
    whole, lost = run(tmp_path / "a", Played(succeeds)), run(tmp_path / "b", Played(fails(LOST), succeeds))
    assert whole.failed == ()
    assert whole.key == lost.key
    digests = [{k: v for k, v in checksums(f.path).items() if k != "stage.json"} for f in (whole, lost)]
    assert digests[0] == digests[1]
    manifests = [json.loads((f.path / "stage.json").read_text()) for f in (whole, lost)]
    assert [sorted(m) for m in manifests] == [sorted(manifests[0])] * 2


def test_checkpoints_are_handed_on_whole_and_half_written_ones_are_not(tmp_path: Path) -> None:
    seen: list[set[str]] = []

    def trains(call: StageCall) -> None:
        write_text(call.checkpoint / "fold_0" / "checkpoint-1.safetensors", "whole")
        (call.checkpoint / "fold_0" / ".checkpoint-2.1a2b.partial").write_text("ha")
        (call.checkpoint / NOTE).write_text("said already")
        raise LOST

    def goes_on(call: StageCall) -> None:
        seen.append({p.relative_to(call.checkpoint).as_posix() for p in call.checkpoint.rglob("*")})
        succeeds(call)

    run(tmp_path, Played(trains, goes_on))
    assert seen == [{"fold_0", "fold_0/checkpoint-1.safetensors"}]


@pytest.mark.parametrize(
    "error", [StageError("diverged"), KeyError("a bug"), StoppedError(15), KeyboardInterrupt()]
)
def test_what_is_no_loss_is_not_retried_and_keeps_the_checkpoint(
    tmp_path: Path, error: BaseException
) -> None:
    backend = Played(fails(error, "checkpoint-1"))
    with pytest.raises(type(error)):
        run(tmp_path, backend)
    assert len(backend.calls) == 1
    (kept,) = names(tmp_path)
    assert kept.endswith(".checkpoint")
    again = Played(lambda call: succeeds(call) if (call.checkpoint / "checkpoint-1").exists() else None)
    assert set(checksums(run(tmp_path, again).path)) == {"result.txt", "stage.json"}
    assert len(names(tmp_path)) == 1


def test_too_many_losses_are_one_error_with_what_to_do(tmp_path: Path) -> None:
    backend = Played(fails(AttemptError(Cause.NODE_LOST, "x")), fails(LOST, "checkpoint-1"))
    with pytest.raises(StageError, match=(
        r"^stage vae: given up after worker lost 3, node lost 1; last: signal 9; a library .* rerun to resume$"
    )):  # fmt: skip
        run(tmp_path, backend)
    assert len(backend.calls) == 4
    assert [name.endswith(".checkpoint") for name in names(tmp_path)] == [True]


def test_want_of_memory_halves_a_map_once_and_never_a_training(tmp_path: Path) -> None:
    short = AttemptError(Cause.OUT_OF_MEMORY, "node at 96 %")
    training = Played(fails(short))
    with pytest.raises(
        NoMemoryError, match=r"^stage vae: node at 96 %; not enough memory: lower vae\.batch_size"
    ):
        run(tmp_path, training)
    assert [call.halvings for call in training.calls] == [0]

    index = type(VAE)(name="index", params=Params, run=VAE.run, files=())
    assert find("index").maps
    mapping = Played(fails(short), succeeds)
    assert [f.cause for f in run(tmp_path, mapping, index).failed] == [Cause.OUT_OF_MEMORY]
    assert [call.halvings for call in mapping.calls] == [0, 1]
    again = Played(fails(NoMemoryError("m")))
    with pytest.raises(NoMemoryError, match=r"^m$"):
        run(tmp_path / "other", again, index)
    assert [call.halvings for call in again.calls] == [0, 1]


def test_a_full_disk_is_an_error_at_once(tmp_path: Path) -> None:
    for error in (AttemptError(Cause.DISK_FULL, "spilling"), OSError(28, "No space left on device", "x.npy")):
        backend = Played(fails(error))
        with pytest.raises(FullDiskError, match="rerun to resume"):
            run(tmp_path, backend)
        assert len(backend.calls) == 1


def test_a_twin_that_wakes_after_its_stage_was_published_changes_nothing(tmp_path: Path) -> None:
    """A worker that was cut off goes on writing: into its own folder, which is gone, and into open files."""
    open_files = []

    def cut_off(call: StageCall) -> None:
        open_files.append((call.out / "result.txt").open("w"))
        open_files.append((call.checkpoint / ".checkpoint.partial").open("w"))
        raise LOST

    backend = Played(cut_off, succeeds)
    folder = run(tmp_path, backend)
    before = checksums(folder.path)
    twin = backend.calls[0]
    for handle in open_files:
        handle.write("other")
        handle.close()
    with pytest.raises(FileNotFoundError):
        (twin.out / "result.txt").write_text("other")
    write_text(twin.checkpoint / "checkpoint-9", "makes its folder again")
    write_text(twin.out / "result.txt", "other")
    assert checksums(folder.path) == before
    again = run(tmp_path, backend)
    assert (again.cached, len(backend.calls)) == (True, 2)
    assert names(tmp_path) == {folder.path.name}


def test_checkpoints_of_a_twin_are_not_taken(tmp_path: Path) -> None:
    """It is behind; were its files mixed with those of the attempt after it, the two would not fit."""
    seen: list[set[str]] = []
    calls: list[StageCall] = []

    def first(call: StageCall) -> None:
        calls.append(call)
        raise LOST

    def second(call: StageCall) -> None:
        write_text(call.checkpoint / "checkpoint-600", "ahead")
        write_text(calls[0].checkpoint / "checkpoint-400", "the twin's")
        raise LOST

    def third(call: StageCall) -> None:
        seen.append({path.name for path in call.checkpoint.iterdir()})
        succeeds(call)

    run(tmp_path, Played(first, second, third))
    assert seen == [{"checkpoint-600"}]


def test_a_driver_that_died_leaves_its_checkpoints_to_the_next(tmp_path: Path) -> None:
    """Killed at any moment: in the attempt, after the folder was renamed, after the checkpoints were taken out."""
    key = run(tmp_path / "whole", Played(succeeds)).key
    for state in ("attempt", "over", "taken"):
        root = tmp_path / state
        name = f"vae-{key}.attempt-3-0123abcd" + ("" if state == "attempt" else ".over")
        (root / name / "out").mkdir(parents=True)
        (root / name / "attempt.json").write_text("{}")
        place = root / (f"vae-{key}.checkpoint" if state == "taken" else f"{name}/checkpoint")
        place.mkdir()
        (place / "checkpoint-1").write_text("whole")
        seen = []
        backend = Played(lambda call, seen=seen: (seen.append((call.checkpoint / "checkpoint-1").read_text()),
                                                  succeeds(call))[1])  # fmt: skip
        assert run(root, backend).key == key
        assert seen == ["whole"], state
        assert names(root) == {f"vae-{key}"}


def test_another_stage_whose_attempt_lies_beside_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "vae-0000.attempt-1-00000000"
    other.mkdir(parents=True)
    run(tmp_path, Played(fails(LOST), succeeds))
    assert other.is_dir()


def test_a_damaged_stage_makes_room_and_a_whole_one_that_came_first_stays(tmp_path: Path) -> None:
    folder = run(tmp_path, Played(succeeds))
    (folder.path / "result.txt").write_text("flipped")
    (folder.path / "result.txt.more").write_text("x")
    assert set(checksums(run(tmp_path, Played(succeeds)).path)) == {"result.txt", "stage.json"}

    def overtaken(call: StageCall) -> None:
        if not (tmp_path / "b").exists():
            run(tmp_path / "a", Played(succeeds)).path.parent.rename(tmp_path / "b")
            (tmp_path / "b" / folder.path.name).rename(call.out.parent.parent / folder.path.name)
        (call.out / "result.txt").write_text("the late one's")

    late = run(tmp_path / "c", Played(overtaken))
    assert late.cached
    assert (late.path / "result.txt").read_text() == "42"


def test_an_exception_with_a_damaged_input_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        run(tmp_path, Played(fails(DataError("no such file"))))
