"""The lock between pytest workers: beside each other, or alone; first come, first served."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.alone import Alone


def start(lock: Alone, name: str, log: list[str], *, alone: bool, last: bool = True) -> threading.Event:
    """Take a turn in a thread of its own, as another worker would; set the returned event to end it."""
    end = threading.Event()

    def work() -> None:
        with lock.turn(alone=alone, last_of_file=last):
            log.append(name)
            end.wait(10)

    threading.Thread(target=work, daemon=True).start()
    return end


def soon(log: list[str], *names: str) -> None:
    """Wait until the log holds these names in this order, and a moment longer for what should not come."""
    pause = threading.Event()
    for _ in range(100):
        if len(log) >= len(names):
            break
        pause.wait(0.05)
    pause.wait(0.1)
    assert log == list(names)


def test_alone_waits_for_others_and_later_ones_wait_behind_it(tmp_path: Path) -> None:
    log: list[str] = []
    first = start(Alone(tmp_path), "first", log, alone=False)
    soon(log, "first")
    second = start(Alone(tmp_path), "beside", log, alone=False)
    soon(log, "first", "beside")
    ray = start(Alone(tmp_path), "ray", log, alone=True)
    soon(log, "first", "beside")
    later = start(Alone(tmp_path), "later", log, alone=False)
    first.set()
    soon(log, "first", "beside")
    second.set()
    soon(log, "first", "beside", "ray")
    ray.set()
    soon(log, "first", "beside", "ray", "later")
    later.set()


def test_alone_lasts_to_the_end_of_its_file(tmp_path: Path) -> None:
    log: list[str] = []
    file = Alone(tmp_path)
    with file.turn(alone=True, last_of_file=False):
        pass
    other = start(Alone(tmp_path), "other", log, alone=False)
    soon(log)
    with file.turn(alone=False, last_of_file=True):
        soon(log)
    soon(log, "other")
    other.set()
