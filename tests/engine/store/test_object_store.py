"""An object store: conditional writes, outages that are outlived, and one clear error where none can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConfigError, HardcaseError, StoreError
from engine.store import object_store
from engine.store.object_store import ObjectStore
from engine.store.store_answers import ChangedError
from tests.s3_server import Fault, Proxy


@pytest.fixture
def store(bucket: str) -> ObjectStore:
    return ObjectStore(f"{bucket}/runs")


def test_a_condition_decides_which_of_two_writers_succeeds(store: ObjectStore) -> None:
    assert store.read("a/b") is None
    first = store.write("a/b", b"1", new=True)
    with pytest.raises(ChangedError):
        store.write("a/b", b"2", new=True)
    second = store.write("a/b", b"2", replacing=first)
    with pytest.raises(ChangedError):
        store.write("a/b", b"3", replacing=first)
    with pytest.raises(ChangedError):
        store.write("a/none", b"3", replacing=first)
    found = store.read("a/b")
    assert found is not None
    assert (found.data, found.tag) == (b"2", second)
    assert store.list("a") == {"b": second}


def test_a_write_whose_answer_was_lost_is_recognised_as_its_own(store: ObjectStore, proxy: Proxy) -> None:
    proxy.faults.append("lose answer")
    tag = store.write("once", b"mine", new=True)
    assert store.tag("once") == tag


def test_what_another_writer_replaces_while_it_is_read_is_read_again(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease renewed between the two requests of a read: the answer is 412, which says nothing of a write's condition."""
    store.write("lease", b"old")
    opened: list[str] = []
    files = store._files
    open_file = files.open

    def opening(path: str, mode: str) -> object:
        found = open_file(path, mode)
        assert found.details["ETag"]
        if not opened:
            ObjectStore(store.url).write("lease", b"newer")
        opened.append(path)
        return found

    monkeypatch.setattr(files, "open", opening)
    found = store.read("lease")
    assert found is not None
    assert (found.data, len(opened)) == (b"newer", 2)
    assert found.tag == store.tag("lease")


def test_short_outages_are_outlived(store: ObjectStore, proxy: Proxy, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 2000)
    proxy.faults.extend(["drop", "busy", "slow"])
    store.upload(source, "large")
    proxy.faults.extend(["cut short", "drop", "slow"])
    assert store.download("large", target)
    assert target.read_bytes() == source.read_bytes()
    assert not store.download("none", tmp_path / "none")


def test_a_silent_server_is_one_error_with_the_url_and_the_same_call_goes_on(
    bucket: str, proxy: Proxy
) -> None:
    store = ObjectStore(f"{bucket}/runs", patience=0.5)
    proxy.always = "drop"
    with pytest.raises(
        StoreError, match=rf"^{bucket}/runs/a: the object store has not answered for 0 s .*goes on$"
    ):
        store.write("a", b"1", new=True)
    proxy.always = None
    assert store.write("a", b"1", new=True)


@pytest.mark.parametrize(
    ("prefix", "fault", "said"),
    [
        ("s3://no-such-bucket/x", None, "s3://no-such-bucket/x: there is no bucket no-such-bucket; make it"),
        ("{bucket}/x", "refuse", "{bucket}/x: the server refuses (InvalidAccessKeyId: The key does not exist); set AWS_PRO"),
        ("{bucket}/x", "no conditions", "{bucket}/x: the server ignores the condition of a write"),
    ],
)  # fmt: skip
def test_what_the_server_refuses_is_said_at_once(
    bucket: str, proxy: Proxy, prefix: str, fault: Fault | None, said: str
) -> None:
    proxy.always = fault
    with pytest.raises(StoreError) as caught:
        ObjectStore(prefix.format(bucket=bucket)).check()
    assert str(caught.value).startswith(said.format(bucket=bucket))
    assert caught.value.exit_code == 2
    assert proxy.requests < 8  # the bucket's own among them: nothing is tried again and again


def test_absent_credentials_are_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match=r"no credentials were found .*AWS_PROFILE"):
        ObjectStore(bucket).check()


def test_a_sound_server_passes_the_check_and_keeps_nothing_of_it(store: ObjectStore) -> None:
    store.check()
    assert store.list("") == {}


def test_what_this_machine_refuses_is_no_outage_there(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "FIRST_PAUSE", 60.0)
    store.write("a", b"1")
    with pytest.raises(OSError, match="name too long"):
        store.download("a", tmp_path / ("x" * 300))
    with pytest.raises(FileNotFoundError):
        store.upload(tmp_path / "absent", "b")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "gs://bucket/x",
            "output: gs://bucket/x is a URL, and of these only s3://BUCKET/PREFIX can hold runs",
        ),
        ("s3://", "output: s3:// names no bucket; give s3://BUCKET/PREFIX"),
        ("s3://key:hidden@bucket/x", "output: s3://***@bucket/x holds credentials or parameters"),
        ("s3://bucket/x?secret=hidden", "output: s3://bucket/x?secret=*** holds credentials"),
        ("s3://bucket/a/../b", "output: s3://bucket/a/../b has an empty part, . or .."),
    ],
)
def test_an_address_at_which_nothing_can_lie_is_refused_without_its_secrets(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ObjectStore(url)
    assert str(caught.value).startswith(said)
    assert "hidden" not in str(caught.value)
    assert isinstance(caught.value, HardcaseError)
