"""How much memory is there: the system's word, and the limits of containers, from files written here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.execution import free_memory
from engine.execution.free_memory import container_limits, host_room


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a process's control group, two below the root."""
    place = tmp_path / "cgroup" / "pod" / "box"
    place.mkdir(parents=True)
    (tmp_path / "process").write_text("0::/pod/box\n", encoding="utf-8")
    monkeypatch.setattr(free_memory, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(free_memory, "PROCESS", tmp_path / "process")
    system = SimpleNamespace(available=8000, total=10_000)
    monkeypatch.setattr(free_memory.psutil, "virtual_memory", lambda: system)
    return place


def write_v2(folder: Path, limit: str, used: int, inactive: int) -> None:
    (folder / "memory.max").write_text(f"{limit}\n", encoding="ascii")
    (folder / "memory.current").write_text(f"{used}\n", encoding="ascii")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive}\n", encoding="ascii")


def test_without_a_limit_the_system_says_what_is_free(group: Path) -> None:
    write_v2(group, "max", 900, 0)
    room = host_room()
    assert (room.free, room.total, room.what) == (8000, 10_000, "this machine")


def test_a_container_has_its_limit_without_what_is_used_but_with_its_file_cache(group: Path) -> None:
    write_v2(group, "5000", 3000, 1000)
    room = host_room()
    assert (room.free, room.total, room.what) == (5000 - (3000 - 1000), 5000, "this container")


def test_the_tightest_of_nested_groups_counts(group: Path) -> None:
    write_v2(group, "6000", 1000, 0)
    write_v2(group.parent, "4000", 3500, 0)
    assert host_room().free == 500
    assert sorted(container_limits()) == [(4000, 3500), (6000, 1000)]


def test_groups_of_version_1(group: Path, tmp_path: Path) -> None:
    place = tmp_path / "cgroup" / "memory"
    place.mkdir()
    (place / "memory.limit_in_bytes").write_text("7000", encoding="ascii")
    (place / "memory.usage_in_bytes").write_text("2500", encoding="ascii")
    (place / "memory.stat").write_text("total_inactive_file 500\n", encoding="ascii")
    assert host_room().free == 7000 - 2000


def test_a_machine_without_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "CGROUP", tmp_path / "none")
    monkeypatch.setattr(free_memory, "PROCESS", tmp_path / "none")
    assert container_limits() == []
    assert 0 < host_room().free <= host_room().total
