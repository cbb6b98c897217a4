"""Leases: one owner at a time, a dead one is replaced, and finds so when it wakes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from engine.errors import FencedError
from engine.store import leases
from engine.store.leases import HeldError, Lease, take
from engine.store.object_store import ObjectStore
from tests.s3_server import Proxy

pytestmark = pytest.mark.faults


@pytest.fixture
def store(bucket: str) -> ObjectStore:
    return ObjectStore(f"{bucket}/runs", patience=1.0)


def test_one_owner_at_a_time_until_it_gives_back(store: ObjectStore) -> None:
    first = take(store, "lease", "a", seconds=30)
    with pytest.raises(HeldError):
        take(store, "lease", "b", seconds=30)
    first.release()
    second = take(store, "lease", "b", seconds=30)
    assert (first.state.counter, second.state.counter) == (1, 2)
    second.release()


def test_an_owner_whose_process_died_need_not_wait_for_itself(store: ObjectStore) -> None:
    take(store, "lease", "a", seconds=30)
    again = take(store, "lease", "a", seconds=30)
    assert again.state.counter == 2
    assert again.before is not None
    assert again.before.owner == "a"
    again.release()


@dataclass
class Clocks:
    """Stands for the module time as leases use it: ``sleep`` moves both clocks on, and calls ``each`` before."""

    wall: float = 1_000_000.0
    own: float = 50.0
    each: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.own

    def sleep(self, seconds: float) -> None:
        self.each()
        self.wall, self.own = self.wall + seconds, self.own + seconds

    def ctime(self, at: float) -> str:
        return f"{at}"


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Clocks that stand still but in ``sleep``; nothing renews a lease by itself."""
    found = Clocks()
    monkeypatch.setattr(leases, "time", found)
    monkeypatch.setattr(Lease, "keep", lambda lease: lease)
    return found


def test_a_dead_owner_is_replaced_and_fenced_off_when_it_wakes(store: ObjectStore, clocks: Clocks) -> None:
    told: list[str] = []
    asleep = take(store, "lease", "a", seconds=60)
    began = clocks.own
    after = take(
        store, "lease", "b", seconds=30, patience=600, waiting=lambda state: told.append(state.owner)
    )
    assert (told, after.state.counter) == (["a"], 2)
    assert 60 <= clocks.own - began <= 60 + leases.LOOK_SECONDS
    with pytest.raises(FencedError, match="took over while this process did not answer"):
        asleep.renew()
    asleep.release()  # takes nothing from its successor
    after.renew()
    with pytest.raises(HeldError):
        take(store, "lease", "c", seconds=30)


def test_a_dead_owner_is_waited_for_and_one_that_lives_is_not(store: ObjectStore, clocks: Clocks) -> None:
    take(store, "lease", "dead", seconds=60)
    told: list[str] = []
    second = take(
        store, "lease", "b", seconds=60, patience=None, waiting=lambda state: told.append(state.owner)
    )
    assert (told, second.state.counter) == (["dead"], 2)
    clocks.each = second.renew
    with pytest.raises(HeldError):
        take(store, "lease", "c", patience=None)
    second.release()
    take(store, "lease", "c", patience=None).release()


@pytest.mark.parametrize("ahead", [-3600.0, -90.0, 90.0, 3600.0])
def test_an_owner_whose_clock_differs_is_taken_for_dead_only_if_it_renews_nothing(
    store: ObjectStore, clocks: Clocks, ahead: float
) -> None:
    """An hour behind is beyond LONG_PAST, where a lease that is over counts as free at once."""
    clocks.wall += ahead
    owner = take(store, "lease", "a", seconds=60)
    clocks.wall -= ahead
    if ahead > -leases.LONG_PAST:

        def renewing() -> None:
            clocks.wall += ahead
            owner.renew()
            clocks.wall -= ahead

        clocks.each = renewing
        with pytest.raises(HeldError):
            take(store, "lease", "b", seconds=60, patience=None)
        clocks.each = lambda: None
    began = clocks.own
    assert take(store, "lease", "b", seconds=60, patience=None).state.counter == 2
    assert clocks.own - began <= 60 + leases.LOOK_SECONDS


def test_a_lease_that_ended_long_ago_is_free_at_once(store: ObjectStore, clocks: Clocks) -> None:
    take(store, "lease", "a", seconds=60)
    clocks.wall += leases.LONG_PAST + 61
    assert take(store, "lease", "b", seconds=60).state.counter == 2


def test_a_lease_written_by_an_earlier_version_lasts_as_long_as_its_did(
    store: ObjectStore, clocks: Clocks
) -> None:
    store.write(
        "lease", json.dumps({"owner": "a", "host": "h", "counter": 7, "expires": clocks.wall + 60}).encode()
    )
    began = clocks.own
    assert take(store, "lease", "b", seconds=30, patience=None).state.counter == 8
    assert clocks.own - began >= leases.SECONDS


def test_giving_back_does_not_wait_for_a_renewal_that_the_store_does_not_answer(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.05)
    lease = take(store, "lease", "a", seconds=600)
    with lease._lock:  # as a renewal holds it
        lease.release()
    lease.renew()


def test_a_living_owner_keeps_its_lease_through_a_short_outage(store: ObjectStore, proxy: Proxy) -> None:
    lease = take(store, "lease", "a", seconds=1.2)
    first = lease.state.expires
    proxy.faults.extend(["drop"])
    until = time.monotonic() + 60
    while lease.state.expires == first and time.monotonic() < until:
        time.sleep(0.05)
    assert lease.state.expires > first
    with pytest.raises(HeldError):
        take(store, "lease", "b", seconds=30)
    lease.release()


def test_an_object_that_is_no_lease_is_replaced(store: ObjectStore) -> None:
    store.write("lease", b"{")
    take(store, "lease", "a").release()
