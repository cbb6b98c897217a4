"""Leases in an object store: who writes something, until when, with a counter that fences off whoever held it before.

A lease is one object. It is taken, renewed and given back by conditional writes alone, so of two that try one succeeds. The
counter grows with every owner. An owner that slept past its end and was replaced finds another counter when it renews, and
renewing comes before whatever it publishes.

Whether an owner lives is told by its renewals, on the clock of who looks: the clocks of two machines may differ by more than
a lease lasts.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from engine.artifacts.json_text import parse_json
from engine.artifacts.secrets import masking_logger
from engine.errors import FencedError, HardcaseError
from engine.store.object_store import ObjectStore, Stored
from engine.store.store_answers import ChangedError

LOG = masking_logger("hardcase.store")
SECONDS: Final = 60.0
"""How long a lease lasts that is not renewed; it is renewed three times as often."""
LOOK_SECONDS: Final = 5.0
LONG_PAST: Final = 900.0
"""Seconds since its end after which nobody holds a lease, whatever two clocks differ by: nothing is waited for."""


@dataclass(frozen=True, kw_only=True)
class LeaseState:
    """What the object says.

    Attributes:
        owner: the owner's id.
        host: its machine.
        counter: the fencing counter.
        expires: when it ends by the owner's clock, Unix time; 0: given back.
        seconds: how long it lasts from each renewal.
    """

    owner: str
    host: str
    counter: int
    expires: float
    seconds: float = SECONDS

    @classmethod
    def of(cls, stored: Stored | None) -> LeaseState | None:
        """Read it; None where there is none, or none that can be read."""
        try:
            found = parse_json(stored.data) if stored is not None else {}
            return cls(
                owner=str(found["owner"]), host=str(found["host"]), counter=int(found["counter"]),
                expires=float(found["expires"]), seconds=float(found.get("seconds", SECONDS)),
            )  # fmt: skip
        except (ValueError, TypeError, KeyError):
            return None

    def data(self) -> bytes:
        """Return the object's bytes."""
        return json.dumps(vars(self)).encode()


class HeldError(HardcaseError):
    """Another owner holds a lease; ``state`` says which."""

    def __init__(self, state: LeaseState) -> None:
        """Take what the object says."""
        super().__init__(f"held by {state.host} until {time.ctime(state.expires)}")
        self.state = state


@dataclass
class Lease:
    """A lease that was taken; renewed by a thread until ``release``.

    Attributes:
        store: where it lies.
        key: under which key.
        state: what this owner last wrote.
        tag: the version it wrote.
        before: what the object said before; None: nobody has held it.
        seconds: how long it lasts from each renewal.
    """

    store: ObjectStore
    key: str
    state: LeaseState
    tag: str
    before: LeaseState | None
    seconds: float
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    def renew(self) -> None:
        """Hold it for ``seconds`` more; what is published next is published by its owner.

        Raises:
            FencedError: another owner has it.
            StoreError: the store does not answer.
        """
        with self._lock:
            state = LeaseState(**{**vars(self.state), "expires": time.time() + self.seconds})
            try:
                self.tag = self.store.write(self.key, state.data(), replacing=self.tag)
            except ChangedError:
                self._ended.set()
                other = LeaseState.of(self.store.read(self.key))
                raise FencedError(
                    f"{self.store.address(self.key)}: {other.host if other else 'another process'} took over while this "
                    "process did not answer; nothing more is published by this one; rerun to go on"
                ) from None
            self.state = state

    def keep(self) -> Lease:
        """Start the thread that renews it; a store that is silent for a while is no reason to stop."""

        def renewing() -> None:
            while not self._ended.wait(self.seconds / 3):
                try:
                    self.renew()
                except FencedError:
                    return  # said when this process publishes
                except HardcaseError as error:
                    LOG.warning("%s", error)

        threading.Thread(target=renewing, name=f"lease {self.key}", daemon=True).start()
        return self

    def release(self) -> None:
        """Give it back, so that the next owner need not wait; one that is lost, or cannot be reached, ends by itself."""
        self._ended.set()
        if not self._lock.acquire(timeout=LOOK_SECONDS):  # a renewal waits for a store that is silent
            LOG.info("%s: not given back: it is being renewed", self.key)
            return
        try:
            state = LeaseState(**{**vars(self.state), "expires": 0.0})
            self.store.write(self.key, state.data(), replacing=self.tag, patience=LOOK_SECONDS)
        except (ChangedError, HardcaseError) as error:
            LOG.info("%s: not given back: %s", self.key, error)
        finally:
            self._lock.release()


def take(
    store: ObjectStore,
    key: str,
    owner: str,
    *,
    seconds: float = SECONDS,
    patience: float | None = 0.0,
    waiting: Callable[[LeaseState], None] = lambda _state: None,
) -> Lease:
    """Take a lease that is free, was not renewed for as long as it lasts, or is this owner's already; keep renewing it.

    Args:
        store: where it lies.
        key: under which key.
        owner: an id that lasts: whoever has it holds a lock that no other process with this id can hold.
        seconds: how long it lasts from each renewal.
        patience: seconds to wait for another owner; None: until it has not renewed its lease for as long as that lasts, or
            renews it and so shows that it lives.
        waiting: is told once who that is.

    Raises:
        HeldError: another owner still holds it.
        StoreError: the store does not answer.
    """
    until = time.monotonic() + (patience or 0.0)
    watched: LeaseState | None = None
    since = 0.0
    while True:
        stored = store.read(key)
        before = LeaseState.of(stored)
        if before is not None and before.owner != owner and before.expires > time.time() - LONG_PAST:
            now = time.monotonic()
            if before != watched:
                if watched is not None and patience is None:
                    raise HeldError(before)  # it lives
                if watched is None and patience != 0:
                    waiting(before)
                watched, since = before, now
            if now - since < before.seconds:
                if patience is not None and now >= until:
                    raise HeldError(before)
                time.sleep(min(LOOK_SECONDS, seconds / 4))
                continue
        counter = 1 if before is None else before.counter + 1
        state = LeaseState(
            owner=owner,
            host=socket.gethostname(),
            counter=counter,
            expires=time.time() + seconds,
            seconds=seconds,
        )
        try:
            tag = store.write(key, state.data(), new=stored is None, replacing=stored.tag if stored else None)
        except ChangedError:
            continue  # another one was faster
        return Lease(store=store, key=key, state=state, tag=tag, before=before, seconds=seconds).keep()
