"""A server that fails, hangs or refuses: what is sent, kept and waited for."""

import threading
import time

import pytest

from engine.tracking.outbox import Entry, Outbox
from engine.tracking.sender import RefusedError, Sender


def entry(key):
    return Entry(call="log_round", key=key, arguments={})


class Server:
    """Takes calls; ``mood`` decides how."""

    def __init__(self):
        self.got, self.mood, self.gate = [], "up", threading.Event()

    def __call__(self, entry):
        if self.mood == "down":
            raise ConnectionError("connection refused\nby peer")
        if self.mood == "refuses":
            raise RefusedError("no such experiment")
        if self.mood == "hangs":
            self.gate.wait(600)
        self.got.append(entry.key)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.gate.set()


@pytest.fixture
def told():
    return []


@pytest.fixture
def sender(tmp_path, server, told):
    return Sender(Outbox(tmp_path), server, notify=told.append)


def test_calls_are_sent_in_order_and_nothing_is_left(sender, server, told):
    for key in "abc":
        sender.outbox.put(entry(key))
    assert sender.flush(60)
    assert server.got == ["a", "b", "c"]
    assert not sender.outbox.folder.exists()
    assert told == []


def test_after_a_failure_calls_are_kept_untried_until_retry(sender, server, told):
    server.mood = "down"
    sender.outbox.put(entry("a"))
    assert not sender.flush(60)
    server.mood = "up"
    sender.outbox.put(entry("b"))
    assert not sender.flush(60)
    assert server.got == []
    assert len(told) == 1
    assert "connection refused by peer" in told[0]
    sender.retry()
    assert sender.flush(60)
    assert server.got == ["a", "b"]


def test_a_hanging_server_is_waited_for_once_and_still_served_behind_the_run(sender, server, told):
    server.mood = "hangs"
    sender.outbox.put(entry("a"))
    begin = time.monotonic()
    assert not sender.flush(0.3)
    assert 0.2 < time.monotonic() - begin < 30
    begin = time.monotonic()
    for key in "bcd":
        sender.outbox.put(entry(key))
        sender.flush(60)
    assert time.monotonic() - begin < 30, "none of them waits"
    assert len(told) == 1
    server.gate.set()
    sender.retry()
    assert sender.flush(60)
    assert server.got == ["a", "b", "c", "d"]


def test_a_refused_call_does_not_block_the_others(sender, server, told):
    server.mood = "refuses"
    sender.outbox.put(entry("a"))
    assert sender.flush(60)
    server.mood = "up"
    sender.outbox.put(entry("b"))
    assert sender.flush(60)
    assert server.got == ["b"]
    assert "no such experiment" in told[0]
    assert (sender.outbox.folder / "rejected.jsonl").exists()


def test_errors_without_words_are_named_by_kind_and_long_ones_cut(sender, server, told):
    def fail(entry):
        raise TimeoutError if entry.key == "a" else ValueError("x" * 500)

    sender._send = fail
    for key in "ab":
        sender.outbox.put(entry(key))
        sender.retry()
        sender.flush(60)
        sender.outbox.take(entry(key))
    assert "TimeoutError" in told[0]
    assert "x" * 197 + "..." in told[1]
