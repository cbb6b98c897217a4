"""Leases: one owner at a time, a dead one is replaced, and finds so when it wakes."""

from __future__ import annotations

import time

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


def test_a_dead_owner_is_replaced_and_fenced_off_when_it_wakes(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lease, "keep", lambda lease: lease)  # asleep: nothing renews it
    told: list[str] = []
    asleep = take(store, "lease", "a", seconds=0.3)
    after = take(store, "lease", "b", seconds=30, patience=10, waiting=lambda state: told.append(state.owner))
    assert told == ["a"]
    assert after.state.counter == 2
    with pytest.raises(FencedError, match="took over while this process did not answer"):
        asleep.renew()
    asleep.release()  # takes nothing from its successor
    after.renew()
    with pytest.raises(HeldError):
        take(store, "lease", "c", seconds=30)


def test_a_dead_owner_is_waited_for_and_one_that_lives_is_not(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.05)
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "keep", lambda lease: lease)
        take(store, "lease", "dead", seconds=0.5)
    told: list[str] = []
    second = take(
        store, "lease", "b", seconds=1.5, patience=None, waiting=lambda state: told.append(state.owner)
    )
    assert (told, second.state.counter) == (["dead"], 2)
    with pytest.raises(HeldError):
        take(store, "lease", "c", patience=None)
    second.release()
    take(store, "lease", "c", patience=None).release()


def test_a_living_owner_keeps_its_lease_through_a_short_outage(store: ObjectStore, proxy: Proxy) -> None:
    lease = take(store, "lease", "a", seconds=1.2)
    first = lease.state.expires
    proxy.faults.extend(["drop"])
    until = time.monotonic() + 10
    while lease.state.expires == first and time.monotonic() < until:
        time.sleep(0.05)
    assert lease.state.expires > first
    with pytest.raises(HeldError):
        take(store, "lease", "b", seconds=30)
    lease.release()


def test_an_object_that_is_no_lease_is_replaced(store: ObjectStore) -> None:
    store.write("lease", b"{")
    take(store, "lease", "a").release()
