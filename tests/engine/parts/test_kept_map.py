"""A map that ends early is gone on with: no chunk twice, the same results, damage found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.diffusion.states import State
from engine.diffusion.synthesis import Synthesized
from engine.errors import StoppedError
from engine.execution.backend import LocalMap
from engine.parts import kept_map
from engine.parts.kept_map import KeptMap

CHUNKS = [np.arange(n, n + 4) for n in range(0, 40, 4)]


@dataclass
class Worker:
    """Squares rows, or makes images of them; counts what it was given, and stops before one chunk."""

    images: bool = False
    stop_at: int = -1
    seen: list[int] = field(default_factory=list)

    def load(self) -> Callable[[Any], Any]:
        return self._one

    def _one(self, rows: Any) -> Any:
        if rows[0] == self.stop_at:
            raise StoppedError(15)
        self.seen.append(int(rows[0]))
        if not self.images:
            return rows.astype(np.float64) ** 2
        side = np.full((len(rows), 2, 2, 3), rows[0], dtype=np.uint8)
        states = (State(timestep=7.5, noisy_BHWC=side, clean_BHWC=side + 1),) if rows[0] == 0 else ()
        return Synthesized(images_BHWC=side, evaluations=int(rows[0]), states=states)


def mapped(
    folder: Path, worker: Worker, chunks: Sequence[Any] = CHUNKS, marks: list[Any] | None = None
) -> Iterator[Any]:
    seen = [] if marks is None else marks
    return KeptMap(LocalMap(lambda *mark: seen.append(mark)), folder)(worker, chunks, "squares")


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("map-*/*.npz"))


def test_a_stopped_map_goes_on_where_it_was(tmp_path: Path) -> None:
    first, again, marks = Worker(stop_at=24), Worker(), []
    with pytest.raises(StoppedError):
        list(mapped(tmp_path, first))
    assert first.seen == [0, 4, 8, 12, 16, 20]
    found = list(mapped(tmp_path, again, marks=marks))
    assert again.seen == [24, 28, 32, 36] and marks[0] == ("squares", 7, 10)
    for rows, result in zip(CHUNKS, found, strict=True):
        np.testing.assert_array_equal(result, rows.astype(np.float64) ** 2)
        assert result.dtype == np.float64


def test_kept_results_are_read_shard_by_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All images of a big round are more than the memory has."""
    monkeypatch.setattr(kept_map, "EVERY_SECONDS", 0.0)
    list(mapped(tmp_path, Worker()))
    assert len(shards(tmp_path)) == len(CHUNKS)
    opened: list[str] = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda path, **how: opened.append(str(path)) or load(path, **how))
    results = mapped(tmp_path, Worker())
    for count in (1, 2, 3):
        next(results)
        assert len(opened) == count


def test_images_and_states_come_back_as_they_were(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        list(mapped(tmp_path, Worker(images=True, stop_at=8)))
    found, expected = list(mapped(tmp_path, Worker(images=True))), list(map(Worker(images=True)._one, CHUNKS))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.images_BHWC, other.images_BHWC)
        assert (one.evaluations, one.images_BHWC.dtype) == (other.evaluations, np.uint8)
    (state,) = found[0].states
    assert state.timestep == 7.5 and (state.clean_BHWC == 1).all() and found[1].states == ()


def test_a_killed_map_has_what_was_written_while_it_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_map, "EVERY_SECONDS", -1.0)
    running = mapped(tmp_path, Worker())
    for _ in range(3):
        next(running)
    assert len(shards(tmp_path)) == 3, "written before the results are handed on"
    again = Worker()
    assert len(list(mapped(tmp_path, again))) == 10
    assert again.seen[0] == 12


def test_a_whole_map_of_seconds_writes_nothing(tmp_path: Path) -> None:
    assert len(list(mapped(tmp_path, Worker()))) == 10 and list(mapped(tmp_path, Worker(), chunks=[])) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "pickle"])
def test_a_damaged_shard_is_made_again_and_what_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(kept_map, "EVERY_SECONDS", -1.0)
    with pytest.raises(StoppedError):
        list(mapped(tmp_path, Worker(stop_at=24)))
    victim = shards(tmp_path)[2]
    content = bytearray(victim.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 4
        victim.write_bytes(content)
    elif damage == "cut":
        victim.write_bytes(content[:-20])
    elif damage == "gone":
        victim.unlink()
    else:
        np.savez(tmp_path / "foreign.npz", **{"0/array": np.array([print], dtype=object)})
        foreign = tmp_path / "foreign.npz"
        digest = kept_map.checksum(foreign)[:32]
        victim.unlink()
        foreign.rename(victim.with_name(f"00000002-00000001-{digest}.npz"))
    again = Worker()
    found = list(mapped(tmp_path, again))
    assert again.seen[0] == 8
    np.testing.assert_array_equal(np.concatenate(found), np.arange(40.0) ** 2)
    assert len(list(tmp_path.glob("map-*/*.damaged"))) == (damage != "gone")


def test_other_chunks_and_other_maps_of_a_stage_have_shards_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        list(mapped(tmp_path, Worker(stop_at=8)))
    other = Worker()
    list(mapped(tmp_path, other, chunks=CHUNKS[1:]))
    assert other.seen[0] == 4
    twice = KeptMap(LocalMap(lambda *_: None), tmp_path)
    first, second = Worker(), Worker()
    list(twice(first, CHUNKS, "fold 0"))
    list(twice(second, CHUNKS, "fold 1"))
    assert first.seen[0] == 8 and second.seen[0] == 0
