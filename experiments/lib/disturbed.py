"""A run that something happens to again and again, in a folder or in an object store."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console

from engine import build
from engine.commands.stored_runs import fetch
from engine.store import leases
from engine.store.local_copy import SCRATCH
from experiments.lib.faulted_run import begin, read_marks, send
from experiments.lib.untimed import results


class Disturbed:
    """One run that is met by faults."""

    def __init__(self, config: Path, overrides: Sequence[str], place: Path) -> None:
        self.config = config
        self.place = place
        self.overrides = [*overrides, *self.output()]
        self.notes = place / "marks.jsonl"
        place.mkdir()

    def output(self) -> list[str]:
        """The keys that say where the run lies."""
        return [f"output={self.place / 'runs'}"]

    def outputs(self) -> Path:
        """A folder in which the finished run lies with its stages."""
        return self.place / "runs"

    def stages(self) -> Path:
        """Where its stages lie on this machine."""
        return self.place / "runs" / "stages"

    def marks(self) -> list[dict[str, Any]]:
        """Every step that any process of the run has noted."""
        return read_marks(self.notes)

    def steps(self) -> int:
        """How many steps were made, each counted once; what the cache had is none."""
        made = [mark for mark in self.marks() if not mark.get("cached")]
        return len({(mark["key"], mark.get("what"), mark.get("done"), mark.get("finished")) for mark in made})

    def meet(self, kind: str, draw: random.Random, steps: int) -> dict[str, Any] | None:
        """Go on to a step drawn from those to come and let the fault happen; None where the run ended before it."""
        due = self.steps() + draw.randint(1, max(1, steps - self.steps()))
        process = begin(self.config, self.overrides, self.notes)
        while self.steps() < due:
            process.join(0.002)
            if process.exitcode is not None:
                self._check(process.exitcode)
                return None
        code = send(process, signal.SIGTERM if kind == "stop" else signal.SIGKILL)
        if code == 0:
            return None
        marks = self.marks()
        fault = {"kind": kind, "exit": code, "at": len(marks), **_last(marks)}
        if kind == "lost":
            self.lose()
        return {**fault, "flipped": self._flip(draw)} if kind == "flip" else fault

    def finish(self) -> None:
        """Go on to the end."""
        process = begin(self.config, self.overrides, self.notes)
        process.join()
        self._check(process.exitcode)

    def results(self) -> tuple[Any, dict[str, dict[str, str]]]:
        """The report without seconds, and the checksums of what every stage wrote."""
        (run,) = {path.parent for path in self.outputs().glob("*/report.json")}
        return results(run)

    def repeated(self, fault: Mapping[str, Any]) -> int | None:
        """How many steps of the piece of work in flight were made again; None where none was in flight."""
        if fault["what"] is None:
            return None
        for mark in self.marks()[fault["at"] :]:
            if (mark["key"], mark.get("what")) == (fault["key"], fault["what"]):
                return max(0, int(fault["done"]) - int(mark["done"]) + 1)
        return 0

    def lose(self) -> None:
        """Lose what this machine has of the run."""
        shutil.rmtree(self.place / "runs")

    def remove(self) -> None:
        """Remove what a run that ended right has written."""
        shutil.rmtree(self.place)

    def _flip(self, draw: random.Random) -> str | None:
        """Turn one bit of one file; returns which, None where there is none yet."""
        stages = self.stages()
        files = sorted(
            path
            for path in stages.rglob("*")
            if path.is_file()
            and path.stat().st_size
            and not {".locks", ".stored"} & set(path.parts)
            and path.name != "hardcase.json"
        )
        if not files:
            return None
        path = draw.choice(files)
        content = bytearray(path.read_bytes())
        position = draw.randrange(len(content))
        content[position] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        return path.relative_to(stages).as_posix()

    def _check(self, code: int | None) -> None:
        if code != 0:
            said = self.notes.with_suffix(".txt").read_text(encoding="utf-8")[-2000:]
            raise RuntimeError(f"{self.place}: ended with {code}: {said}")


class Stored(Disturbed):
    """One run in a bucket; what its machine has of it lies in a scratch folder."""

    def __init__(self, config: Path, overrides: Sequence[str], place: Path, bucket: str) -> None:
        self.url = f"{bucket}/{place.name}"
        super().__init__(config, overrides, place)

    def output(self) -> list[str]:
        """The bucket, and the machine's scratch folder."""
        return [f"output={self.url}", f"backend.scratch={self.place / 'machine'}"]

    def outputs(self) -> Path:
        """Fetch the run as another machine would."""
        out = self.place / "fetched"
        name = build.load(self.config, self.overrides).name
        with mock.patch.dict(os.environ, {SCRATCH: str(self.place / "reader")}):
            fetch(f"{self.url}/{name}", out, Console(quiet=True))
        return out

    def stages(self) -> Path:
        """Where the machine's copy of its stages lies, once there is one."""
        return next((self.place / "machine").glob("*/stages"), self.place / "machine" / "nothing yet")

    def lose(self) -> None:
        """Lose the machine's disk; the bucket stays, and its lease lasts until the dead machine is given up."""
        shutil.rmtree(self.place / "machine")
        time.sleep(leases.SECONDS + 5)


@contextmanager
def s3_bucket() -> Iterator[str]:
    """Start an S3 server on loopback; yields the address of a bucket, which this process and its children find."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/faults", method="PUT")).close()
    keys = {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    with mock.patch.dict(os.environ, keys):
        yield "s3://faults"
    server.stop()


def _last(marks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The stage in flight and how far its piece of work was; ``what`` is None between two."""
    last = marks[-1]
    names = {mark["key"]: mark["stage"] for mark in marks if "stage" in mark}
    inside = "what" in last and not last.get("finished")
    return {
        "stage": names[last["key"]],
        "key": last["key"],
        "what": last["what"] if inside else None,
        "done": last["done"] if inside else None,
    }
