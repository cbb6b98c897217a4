"""What a run remembers of a tracking server in ``mlflow.json``, so that nothing is sent twice."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.artifacts.json_text import parse_json
from engine.artifacts.run_layout import RunLayout
from engine.store import write_json

KEY = "hardcase.key"
"""Tag by which what was created just before a kill is found again."""


@dataclass(kw_only=True)
class Remembered:
    """``mlflow.json`` of one run folder, as far as it is of this server and experiment."""

    run_folder: Path
    uri: str
    experiment: str

    def state(self) -> dict[str, Any]:
        """Return mlflow.json's object; an empty one when the run was tracked elsewhere before."""
        path = RunLayout(self.run_folder).tracking
        try:
            state: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            state = {}
        if not _is_state(state) or (state["tracking_uri"], state["experiment"]) != (
            self.uri,
            self.experiment,
        ):
            state = {"tracking_uri": self.uri, "experiment": self.experiment, "run_key": uuid.uuid4().hex,
                     "rounds": {}}  # fmt: skip
            write_json(path, state)
        return state

    def remember(self, **changes: Any) -> None:
        """Merge ``changes`` into mlflow.json."""
        write_json(RunLayout(self.run_folder).tracking, {**self.state(), **changes})

    def time_of(self, key: str, digest: str) -> int:
        """Return the time (ms) at which this content was begun to be sent; kept on the disk until it is sent."""
        sending = self.state().get("sending", {})
        if sending.get(key, {}).get("digest") != digest:
            sending = {**sending, key: {"digest": digest, "time": int(time.time() * 1000)}}
            self.remember(sending=sending)
        return int(sending[key]["time"])


def _is_state(state: Any) -> bool:
    """Whether an object of mlflow.json is one that this version goes on with."""
    kinds = {"tracking_uri": str, "experiment": str, "run_key": str, "rounds": dict}
    return (
        isinstance(state, dict)
        and all(isinstance(state.get(name), kind) for name, kind in kinds.items())
        and re.fullmatch(r"[0-9a-f]{32}", state["run_key"]) is not None
    )
