"""A run folder in an object store: one writer, its files as they change, a whole copy for readers."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConfigError, DataError, FencedError
from engine.execution.progress import QuietListener
from engine.store import StageFolder, leases, run_mirror, stored_run
from engine.store.leases import Lease
from engine.store.local_copy import open_copy
from engine.store.object_store import ObjectStore
from engine.store.stored_run import StoredRun
from engine.store.verified import PublishedFiles


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
        pytest.raises(ConfigError, match="another hardcase process of this machine writes"),
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


def test_what_the_main_thread_publishes_while_a_stage_is_stored_fits_its_checksums(
    machine: Callable[[str], StoredRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = machine("w"), machine("r")
    with writer.written() as mirror:
        write(writer)
        published = PublishedFiles(writer.path)
        published.write(writer.path / "report.json", "1")
        mirror.push()
        published.write(writer.path / "report.json", "2")
        put, told = ObjectStore.write, []

        def putting(store: ObjectStore, key: str, data: bytes, **how: Any) -> str:
            tag = put(store, key, data, **how)
            if key.endswith("checksums.json") and not told:
                told.append(key)
                published.write(writer.path / "report.json", "3")
                published.write(writer.path / "split.json", "new")
            return tag

        with monkeypatch.context() as patch:
            patch.setattr(ObjectStore, "write", putting)
            mirror.push()
        assert told
        PublishedFiles(reader.fetch()).verify(suffixes=(".json",))
        mirror.push()
        found = reader.fetch()
        PublishedFiles(found).verify(suffixes=(".json",))
        assert (found / "split.json").read_text() == "new"


def test_a_driver_that_slept_before_it_removes_leaves_its_successors_files(
    machine: Callable[[str], StoredRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep, awake = machine("a"), machine("b")
    monkeypatch.setattr(Lease, "keep", lambda lease: lease)
    taking = partial(leases.take, seconds=0.2)
    monkeypatch.setattr(leases, "take", taking)
    listing, slept = ObjectStore.list, []

    def lists(store: ObjectStore, folder: str) -> dict[str, str]:
        if folder == "first" and slept == ["now"]:
            slept.append("done")
            with awake.written():
                write(awake, report="of the successor")
        return listing(store, folder)

    with pytest.raises(FencedError), asleep.written() as mirror:
        write(asleep, a="1")
        mirror.push()
        (asleep.path / "a.yaml").unlink()
        slept.append("now")
        monkeypatch.setattr(ObjectStore, "list", lists)
        mirror.push()
        assert slept == ["now", "done"]
        write(asleep, late="2")
    assert "report.yaml" in stored(awake)
    assert "late.yaml" not in stored(awake)


def test_a_second_reader_of_a_machine_waits_for_the_first(
    machine: Callable[[str], StoredRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with machine("w").written():
        write(machine("w"))
    download, second = ObjectStore.download, []

    def downloading(store: ObjectStore, key: str, target: Path) -> bool:
        if not second:
            second.append(threading.Thread(target=lambda: second.append(machine("r").fetch())))
            second[0].start()
            second[0].join(0.3)
            assert len(second) == 1, "it waits"
        return download(store, key, target)

    monkeypatch.setattr(ObjectStore, "download", downloading)
    first = machine("r").fetch()
    second[0].join(60)
    assert second[1] == first


def test_a_run_that_changes_while_it_is_read_is_read_again_until_it_rests(
    machine: Callable[[str], StoredRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader, listing, looks = machine("w"), machine("r"), ObjectStore.list, []
    monkeypatch.setattr(stored_run, "FIRST_PAUSE", 0.0)
    with writer.written() as mirror:
        write(writer)
        mirror.push()

        def lists(store: ObjectStore, folder: str) -> dict[str, str]:
            if len(looks) < 12:
                looks.append(folder)
                with monkeypatch.context() as patch:
                    patch.setattr(ObjectStore, "list", listing)
                    write(writer, a=str(len(looks)))
                    mirror.push()
            return listing(store, folder)

        monkeypatch.setattr(ObjectStore, "list", lists)
        assert (reader.fetch() / "a.yaml").read_text() == "12"


def test_a_folder_that_goes_while_the_run_is_walked_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "config.yaml",
        "outbox/model/weights",
        ".synthetic.1234/x.png",
        ".hardcase.json",
        "b/c.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    stamping = run_mirror.stamp

    def stamps(path: Path) -> tuple[int, int]:
        shutil.rmtree(tmp_path / "outbox" / "model", ignore_errors=True)
        (tmp_path / "b" / "c.json").unlink(missing_ok=True)
        return stamping(path)

    monkeypatch.setattr(run_mirror, "stamp", stamps)
    assert list(run_mirror.files_of(tmp_path)) == [".hardcase.json", "config.yaml"]
