"""Stages in an object store: computed once for all machines, published whole or not at all, verified where they are read."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from engine.artifacts import stage_manifest
from engine.errors import FencedError, StoreError
from engine.execution.backend import StageCall
from engine.execution.progress import QuietListener
from engine.stages import base
from engine.store import StageCache, StageFolder, StageRunner, leases, object_store
from engine.store.finished_stages import StoredStages
from engine.store.leases import Lease
from engine.store.local_copy import open_copy
from engine.store.object_store import ObjectStore
from engine.training.plan import Progress
from tests.processes import Forked
from tests.s3_server import Proxy

pytestmark = pytest.mark.faults


class Params(base.Params):
    """One number."""

    a: int = 0


VAE = base.Stage(
    name="vae", params=Params, run=lambda _context, _params: None, files={"result.txt": "a text"}
)


class Machine:
    """A driver with a scratch folder of its own, and a backend that writes ``text``."""

    def __init__(self, url: str, scratch: Path, text: str = "same") -> None:
        self.copy = open_copy(url, str(scratch))
        self.text = text
        self.calls = 0
        self.meanwhile: Callable[[], object] = lambda: None
        self.cache = StageCache(self.copy.folder / "stages")

    def __call__(self, *, fresh: bool = False) -> StageFolder:
        runner = StageRunner(self.cache, self, 1, "cpu", "float32", QuietListener(), fresh=fresh)
        return runner(VAE, Params())

    def again(self) -> Machine:
        """Another process of this machine."""
        return Machine(self.copy.url, self.copy.scratch, self.text)

    def run(self, call: StageCall, progress: Progress) -> None:
        self.calls += 1
        (call.out / "pictures").mkdir()
        (call.out / "result.txt").write_text(self.text)
        (call.out / "pictures" / "0.png").write_bytes(b"0" * 100)
        self.meanwhile()

    def close(self) -> None:
        """Hold nothing."""


@pytest.fixture
def machine(bucket: str, tmp_path: Path) -> Callable[..., Machine]:
    return lambda name, text="same": Machine(f"{bucket}/runs", tmp_path / name, text)


def stored_files(machine: Machine) -> dict[str, str]:
    return machine.copy.store.list("stages")


def test_a_stage_is_computed_once_for_all_machines(machine: Callable[..., Machine]) -> None:
    first, second = machine("a"), machine("b", "other")
    computed, found = first(), second()
    assert (first.calls, second.calls) == (1, 0)
    assert (computed.cached, found.cached) == (False, True)
    assert found.seconds == computed.seconds
    assert {p.relative_to(found.path) for p in found.path.rglob("*")} == {
        p.relative_to(computed.path) for p in computed.path.rglob("*")
    }
    assert (found.path / "stage.json").read_bytes() == (computed.path / "stage.json").read_bytes()
    assert (found.path / "result.txt").read_text() == "same"


def test_a_late_twin_replaces_nothing_and_takes_what_is_published(machine: Callable[..., Machine]) -> None:
    first, twin = machine("a", "first"), machine("b", "twin")
    folder = first()
    before = stored_files(first)
    late = twin.copy.folder / "stages" / folder.path.name
    late.mkdir(parents=True)
    (late / "result.txt").write_text("twin")
    own = stage_manifest.read(folder.path).model_copy(
        update={"files": {"result.txt": "f" * 64}, "sizes": {"result.txt": 4}}
    )
    stage_manifest.write(own.sealed(), late)
    stages = StoredStages(twin.copy)
    with stages.held(late):
        assert stages.publish(late)  # True: another's is here now
    assert (late / "result.txt").read_text() == "first"
    assert stored_files(first).items() >= before.items()


def test_a_driver_that_slept_past_its_lease_cannot_publish(
    machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    awake, asleep = machine("a", "awake"), machine("b", "asleep")
    held: list[Lease] = []

    def take_over() -> None:
        (key,) = asleep.copy.store.list(leases_of_stages)
        held.append(take(awake.copy.store, f"{leases_of_stages}/{key}", awake.copy.owner, patience=10))

    leases_of_stages = ".leases/stages"
    take = leases.take
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "keep", lambda lease: lease)
        patch.setattr(leases, "take", partial(take, seconds=0.2))
        asleep.meanwhile = take_over
        with pytest.raises(FencedError, match=r"vae-.*took over"):
            asleep()
    assert not any(key.endswith("stage.json") for key in stored_files(asleep))
    assert (awake().path / "result.txt").read_text() == "awake"  # its own lease keeps it from nothing
    again = asleep.again()
    assert (again().path / "result.txt").read_text() == "awake"
    assert (asleep.calls, awake.calls, again.calls) == (1, 1, 0)


def test_a_driver_that_slept_takes_what_its_successor_published(
    machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    awake, asleep = machine("a", "awake"), machine("b", "asleep")
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "keep", lambda lease: lease)
        patch.setattr(leases, "take", partial(leases.take, seconds=0.2))
        asleep.meanwhile = awake  # waits for the lease to end, and computes
        folder = asleep()
    assert (awake.calls, asleep.calls) == (1, 1)
    assert (folder.path / "result.txt").read_text() == "awake"


def test_files_without_a_manifest_are_no_stage(machine: Callable[..., Machine]) -> None:
    first, second = machine("a"), machine("b")
    first.copy.store.remove(f"stages/{first().path.name}/stage.json")
    second()
    assert second.calls == 1
    assert (machine("c")().path / "result.txt").is_file()


def test_a_flipped_byte_is_found_and_the_stage_made_and_stored_again(
    machine: Callable[..., Machine],
) -> None:
    first, second, third = machine("a"), machine("b"), machine("c")
    first()
    (name,) = (key for key in stored_files(first) if key.endswith("result.txt"))
    first.copy.store.write(f"stages/{name}", b"sane")
    assert (second().path / "result.txt").read_text() == "same"
    assert second.calls == 1
    assert (third().path / "result.txt").read_text() == "same"
    assert third.calls == 0


def test_a_fresh_run_replaces_what_is_stored(machine: Callable[..., Machine]) -> None:
    machine("a", "old")()
    machine("b", "new")(fresh=True)
    reader = machine("c")
    assert (reader().path / "result.txt").read_text() == "new"
    assert reader.calls == 0


def test_a_store_that_is_gone_loses_nothing_and_the_same_command_goes_on(
    machine: Callable[..., Machine], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "PATIENCE", 0.3)
    object_store.open_store.cache_clear()
    first = machine("a")
    first.meanwhile = lambda: setattr(proxy, "always", "drop")
    with pytest.raises(
        StoreError, match=r"^s3://.*/runs/stages/vae-.* has not answered .* the same command goes on$"
    ):
        first()
    proxy.always = None
    again = first.again()
    again()
    assert (first.calls, again.calls) == (1, 0)
    assert any(key.endswith("stage.json") for key in stored_files(again))
    object_store.open_store.cache_clear()


def killed_at_its_second_file(url: str, scratch: Path) -> None:
    upload = ObjectStore.upload

    def once(store: ObjectStore, source: Path, key: str) -> None:
        if key.endswith("result.txt"):
            os.kill(os.getpid(), signal.SIGKILL)
        upload(store, source, key)

    ObjectStore.upload = once  # type: ignore[method-assign]
    Machine(url, scratch)()


@pytest.mark.slow
def test_a_driver_killed_while_it_publishes_leaves_no_stage_and_goes_on(
    machine: Callable[..., Machine], tmp_path: Path
) -> None:
    here = machine("a")
    process = Forked(tmp_path / "said", killed_at_its_second_file, here.copy.url, here.copy.scratch)
    assert process.wait() == -signal.SIGKILL, process.said()
    assert not any(key.endswith("stage.json") for key in stored_files(here))
    here()  # at once: the lease is this machine's own
    assert here.calls == 0
    other = machine("b")
    assert (other().path / "result.txt").read_text() == "same"
    assert other.calls == 0
