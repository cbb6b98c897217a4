"""Kept calls survive, keep their order and are kept once."""

import multiprocessing
import threading

import pytest

from engine.tracking.outbox import Entry, Outbox
from engine.tracking.sender import Sender


def entry(key, **arguments):
    return Entry(call="log_round", key=key, arguments=arguments)


@pytest.fixture
def outbox(tmp_path):
    return Outbox(tmp_path)


def test_calls_come_back_in_order_in_another_process(outbox, tmp_path):
    outbox.put(entry("a", x=1))
    outbox.put(entry("b", report={"value": None, "name": "mélanome"}))
    assert Outbox(tmp_path).entries() == [
        entry("a", x=1),
        entry("b", report={"value": None, "name": "mélanome"}),
    ]


def test_a_repeated_call_is_kept_once_as_and_where_it_was_put_last(outbox):
    for kept in (entry("a", x=1), entry("b"), entry("a", x=2)):
        outbox.put(kept)
    assert outbox.entries() == [entry("b"), entry("a", x=2)]


def test_a_call_that_the_others_need_goes_first(outbox):
    for kept in (entry("start", x=1), entry("a")):
        outbox.put(kept)
    outbox.put(entry("start", x=2), first=True)
    assert outbox.entries() == [entry("start", x=2), entry("a")]


def test_a_call_that_changed_while_it_was_sent_stays(outbox):
    outbox.put(entry("a", x=1))
    outbox.put(entry("a", x=2))
    outbox.take(entry("a", x=1))
    assert outbox.entries() == [entry("a", x=2)]
    outbox.take(entry("a", x=2))
    assert not outbox.folder.exists()


def test_files_of_a_kept_call_are_not_removed_with_the_last_line(outbox):
    outbox.put(entry("a"))
    (outbox.folder / "model-1").mkdir()
    outbox.take(entry("a"))
    assert [p.name for p in outbox.folder.iterdir()] == ["model-1"]


def test_a_line_cut_by_a_kill_is_dropped(outbox):
    outbox.put(entry("a"))
    with (outbox.folder / "calls.jsonl").open("a") as log:
        log.write('{"call": "log_ro')
    assert outbox.entries() == [entry("a")]


def test_rejected_calls_are_kept_apart_with_the_reason(outbox):
    outbox.put(entry("a", x=1))
    outbox.reject(entry("a", x=1), "no such experiment")
    assert outbox.entries() == []
    assert '"reason": "no such experiment"' in (outbox.folder / "rejected.jsonl").read_text()


def test_nan_is_refused(outbox):
    with pytest.raises(ValueError, match="JSON"):
        outbox.put(entry("a", x=float("nan")))


def put_many(folder, name):
    for number in range(20):
        Outbox(folder).put(entry(f"{name}{number}"))


def test_two_processes_lose_nothing(outbox, tmp_path):
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=put_many, args=(tmp_path, name)) for name in "ab"]
    for process in processes:
        process.start()
    for number in range(20):
        outbox.put(entry(f"c{number}"))
    for process in processes:
        process.join(240)
        process.kill()  # one that hangs
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(outbox.entries()) == 60


def test_one_sender_at_a_time(outbox, tmp_path):
    """Two would ask the server for the run of a call before either has made it, and then both make one."""
    outbox.put(entry("a"))
    said, sent = [], []
    with Outbox(tmp_path).sending() as ours:
        assert ours
        second = Sender(outbox, sent.append, notify=said.append)
        assert not second.flush(60.0)
    assert not sent and "another process is sending" in said[0]
    second.retry()
    assert second.flush(60.0) and sent == [entry("a")]


def test_two_threads_lose_nothing(outbox):
    def put(name):
        for number in range(30):
            outbox.put(entry(f"{name}{number}"))

    threads = [threading.Thread(target=put, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outbox.entries()) == 90
