"""Keeps what a map has made so far, so that an attempt after a killed or stopped one makes no chunk a second time.

Results go to ``map-<number>-<identity>/<first>-<count>-<checksum>.npz`` in the attempt's checkpoint folder, every few
seconds, and once more where the map ends early. The number counts the maps of an attempt, which come in the same order in
every attempt; the identity is a digest of the chunks. A shard that is damaged is set aside, and its chunks are made again.
Results do not depend on how a map was cut, since every chunk is computed on its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import pickle
import re
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from engine.artifacts.digests import checksum
from engine.parts.context import ChunkWorker, Map
from engine.training.set_aside import set_aside

C = TypeVar("C")
R = TypeVar("R")

EVERY_SECONDS: Final = 20.0
"""Results of this long are lost at most when a process is killed; a shorter map writes nothing."""
_NAME: Final = re.compile(r"(\d{8})-(\d{8})-([0-9a-f]{32})\.npz")
_ARRAY, _IMAGES, _EVALUATIONS, _STATES = "array", "images", "evaluations", "states"


@dataclass(frozen=True)
class KeptMap:
    """Maps as ``inner`` does, and goes on where an attempt before has got to."""

    inner: Map
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __call__(
        self, worker: ChunkWorker[C, R], chunks: Sequence[C], what: str, before: int = 0
    ) -> Iterator[R]:
        """Yield one result per chunk, in order: first those that are kept, then those that are made now."""
        digest = hashlib.sha256(pickle.dumps(list(chunks), protocol=5)).hexdigest()[:16]
        shards = _Shards(self.folder / f"map-{next(self.numbers):03d}-{digest}")
        kept = 0
        for results in shards.read():
            kept += len(results)
            yield from results
        if kept and kept == len(chunks):
            return
        made, first, since = [], kept, time.monotonic()
        complete = False
        try:
            for result in self.inner(worker, chunks[kept:], what, before + kept):
                made.append(result)
                if time.monotonic() - since > EVERY_SECONDS:
                    shards.write(first, made)
                    made, first, since = [], first + len(made), time.monotonic()
                yield result
            complete = True
        finally:
            if made and not complete:
                with contextlib.suppress(OSError):  # a full disk must not hide what ended the map
                    shards.write(first, made)


@dataclass(frozen=True)
class _Shards:
    """The kept results of one map."""

    folder: Path

    def write(self, first: int, results: Sequence[Any]) -> None:
        """Write the results of the chunks from number ``first``, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unnamed = self.folder / ".unnamed.npz"
        arrays = {f"{n}/{name}": a for n, result in enumerate(results) for name, a in _pack(result).items()}
        np.savez(unnamed, **arrays)
        unnamed.replace(self.folder / f"{first:08d}-{len(results):08d}-{checksum(unnamed)[:32]}.npz")

    def read(self) -> Iterator[list[Any]]:
        """Yield the results of the first chunks shard by shard, as far as whole ones go without a gap."""
        found = 0
        for path in sorted(self.folder.glob("*.npz")) if self.folder.is_dir() else ():
            match = _NAME.fullmatch(path.name)
            if match is None or int(match[1]) != found:
                continue
            try:
                if checksum(path)[:32] != match[3]:
                    raise ValueError("its checksum differs")
                with np.load(path, allow_pickle=False) as arrays:
                    results = _results(arrays, int(match[2]))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                set_aside(path, f"is damaged ({error})", "its chunks are made again")
                break
            found += len(results)
            yield results


def _pack(result: Any) -> dict[str, Any]:
    """Return a chunk's result, an array or what ``synthesize`` maps to, as named arrays."""
    if isinstance(result, np.ndarray):
        return {_ARRAY: result}
    states = {
        f"{_STATES}/{n}/{name}": value
        for n, state in enumerate(result.states)
        for name, value in vars(state).items()
    }
    return {_IMAGES: result.images_BHWC, _EVALUATIONS: result.evaluations, **states}


def _results(arrays: Mapping[str, Any], count: int) -> list[Any]:
    """Return the results that ``_pack`` made arrays of, ``count`` of them."""
    parts: list[dict[str, Any]] = [{} for _ in range(count)]
    for name in arrays:
        number, _, rest = name.partition("/")
        parts[int(number)][rest] = arrays[name]
    return [_unpack(one) for one in parts]


def _unpack(part: Mapping[str, Any]) -> Any:
    if _IMAGES not in part:
        return part[_ARRAY]
    from engine.diffusion.states import State  # imports torch
    from engine.diffusion.synthesis import Synthesized

    states: dict[int, dict[str, Any]] = {}
    for name, value in part.items():
        if name.startswith(f"{_STATES}/"):
            _, number, field_name = name.split("/")
            states.setdefault(int(number), {})[field_name] = value if value.ndim else float(value)
    return Synthesized(
        images_BHWC=part[_IMAGES],
        evaluations=int(part[_EVALUATIONS]),
        states=tuple(State(**states[number]) for number in sorted(states)),
    )
