"""A run folder in an object store: one writer, its files as they change, a whole copy for readers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from engine.errors import ConfigError, DataError, FencedError
from engine.execution.progress import QuietListener
from engine.store import StageFolder, leases
from engine.store.leases import Lease
from engine.store.local_copy import open_copy
from engine.store.object_store import ObjectStore
from engine.store.stored_run import StoredRun


@pytest.fixture
def machine(bucket: str, tmp_path: Path) -> Callable[[str], StoredRun]:
    """The run as the machine of a name sees it."""
    return lambda name: StoredRun(copy=open_copy(f"{bucket}/runs", str(tmp_path / name)), name="first")


def write(run: StoredRun, **files: str) -> None:
    for name, text in {"config": "name: first", **files}.items():
        path = run.path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def stored(run: StoredRun) -> set[str]:
    return set(run.copy.store.list(run.name))


def test_files_are_stored_after_each_computed_stage_and_when_the_run_ends(
    machine: Callable[[str], StoredRun],
) -> None:
    run, folder = machine("a"), partial(StageFolder, name="vae", key="0", path=Path("vae-0"), seconds=1.0)
    with run.written() as mirror:
        heard = mirror.listening(QuietListener())
        write(run, a="1")
        (run.path / ".lock").touch()
        (run.path / "progress.json").touch()
        heard.stage_finished(folder(cached=True))
        assert stored(run) == set()
        heard.stage_finished(folder(cached=False))
        assert stored(run) == {"a.yaml", "config.yaml"}
        write(run, b="2")
        (run.path / "a.yaml").unlink()
    assert stored(run) == {"b.yaml", "config.yaml"}


def test_another_machine_goes_on_from_what_is_stored(machine: Callable[[str], StoredRun]) -> None:
    first, second = machine("a"), machine("b")
    with first.written():
        write(first, a="1")
    with second.written():
        assert (second.path / "a.yaml").read_text() == "1"
        write(second, a="22")
        (second.path / "b.yaml").touch()
    with first.written():
        assert (first.path / "a.yaml").read_text() == "22"
        assert (first.path / "b.yaml").exists()
        (first.path / "b.yaml").unlink()
    assert second.fetch() == second.path
    assert not (second.path / "b.yaml").exists()


def test_what_failed_is_stored_too(machine: Callable[[str], StoredRun]) -> None:
    run = machine("a")
    with pytest.raises(DataError), run.written():
        write(run, report="failed")
        raise DataError("no such file")
    assert "report.yaml" in stored(run)


def test_a_writer_that_slept_past_its_lease_stores_nothing(
    machine: Callable[[str], StoredRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep, awake = machine("a"), machine("b")
    take = leases.take
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "keep", lambda lease: lease)
        patch.setattr(leases, "take", partial(take, seconds=0.2))
        with pytest.raises(FencedError, match=r"first.json: .* took over"), asleep.written():
            take(awake.copy.store, awake.lease_key, awake.copy.owner, patience=10)
            write(asleep, a="1")
    assert stored(asleep) == set()


def test_a_writer_that_slept_while_it_stored_replaces_nothing_of_its_successor(
    machine: Callable[[str], StoredRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep, awake = machine("a"), machine("b")
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "keep", lambda lease: lease)
        patch.setattr(leases, "take", partial(leases.take, seconds=0.2, patience=10))
        with pytest.raises(FencedError), asleep.written() as mirror:
            write(asleep, a="1")
            mirror.push()
            renewals = iter([lambda: None, mirror.lease.renew])  # it had renewed, then fell asleep

            def renew() -> None:
                next(renewals)()

            patch.setattr(mirror.lease, "renew", renew)
            with awake.written():
                write(awake, a="2")
            write(asleep, a="33")
    stored_now = asleep.copy.store.read("first/a.yaml")
    assert stored_now is not None
    assert stored_now.data == b"2"


def test_two_processes_of_a_machine_do_not_write_one_run(machine: Callable[[str], StoredRun]) -> None:
    run = machine("a")
    with (
        run.written(),
        pytest.raises(ConfigError, match="another hardcase process is writing"),
        run.written(),
    ):
        pass


def test_a_reader_gets_files_of_one_moment(
    machine: Callable[[str], StoredRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = machine("a"), machine("b")
    with writer.written() as mirror:
        write(writer, a="1", b="1")
        mirror.push()
        download = ObjectStore.download

        def meanwhile(store: ObjectStore, key: str, target: Path) -> bool:
            found = download(store, key, target)
            if key == "first/a.yaml":
                monkeypatch.undo()
                write(writer, a="2", b="2")
                mirror.push()
            return found

        monkeypatch.setattr(ObjectStore, "download", meanwhile)
        scratch_of_reader = reader.fetch()
    assert [(scratch_of_reader / f"{name}.yaml").read_text() for name in "ab"] == ["2", "2"]
