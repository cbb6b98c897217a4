"""Stops the denoiser, in effect, before it memorizes: the averaged weights with the lowest held-out loss are kept."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.artifacts.digests import checksum
from engine.artifacts.json_text import parse_json
from engine.artifacts.whole_files import write_text
from engine.diffusion.train import DenoiserObjective, validation_loss
from engine.errors import StageError
from engine.training.checkpoints import (
    checkpoints_in,
    digest_of,
    fill,
    learned_tensors,
    save_tensors,
    set_aside_from,
)  # fmt: skip
from engine.training.set_aside import set_aside
from engine.types import IntArray


@dataclass
class KeepBest:
    """A training's watcher: looks at the loss of held-out train lesions ``check`` after the steps ``moments``.

    A denoiser that begins to reproduce its training images gets worse on lesions it has not seen (Somepalli et al.
    2023); timesteps and noise of the look are fixed, so its values are comparable. What it keeps lies in ``folder``, the
    training's checkpoint folder, and survives a kill. Nothing is kept without held-out lesions or moments.

    Make it before the training resumes: where its files are damaged it sets aside the checkpoints that lie behind them,
    so that the looks come again.
    """

    objective: DenoiserObjective
    check: IntArray
    seed: int
    moments: tuple[int, ...]
    folder: Path
    curve: dict[int, float] = field(default_factory=dict)
    weights_digest: str = ""

    def __post_init__(self) -> None:
        """Go on from what an earlier attempt has seen, as far as it is whole."""
        why = self._read_log()
        if why:
            self._begin_again(why)
        elif self.kept is not None and not self._weights_are_whole():
            lost = "its best weights are damaged"
            set_aside_from(self.folder, self.kept, lost)
            set_aside(self._weights(self.kept), lost, f"step {self.kept} is computed again")

    @property
    def _log(self) -> Path:
        return self.folder / "validations.json"

    def _weights(self, step: int) -> Path:
        return self.folder / f"best-{step:08d}.safetensors"

    @property
    def kept(self) -> int | None:
        """The step whose weights are kept: the lowest loss, of equals the first; None where none was looked at."""
        return min(self.curve, key=lambda step: (self.curve[step], step)) if self.curve else None

    def looks_at(self, steps_done: int) -> bool:
        """Whether a look comes after so many steps, and there is something to look at."""
        return steps_done in self.moments and len(self.check) > 0

    def __call__(self, steps_done: int) -> None:
        """Look, and keep the weights if they are the best so far."""
        loss = validation_loss(self.objective, self.check, self.seed)
        if loss is not None and math.isfinite(loss):
            self.curve[steps_done] = loss
        if self.kept == steps_done:
            self._save(steps_done)
        self._write_log()

    def restore(self) -> None:
        """Give the model the weights that were kept.

        Raises:
            StageError: they were damaged since they were written.
        """
        if self.kept is None:
            return
        if not self._weights_are_whole():
            raise StageError(f"{self._weights(self.kept)}: is damaged; rerun to resume from before it")
        fill(learned_tensors(self.objective.model), self._weights(self.kept))

    def _save(self, step: int) -> None:
        save_tensors(learned_tensors(self.objective.model), self._weights(step))
        self.weights_digest = checksum(self._weights(step))

    def _write_log(self) -> None:
        """Write curve and checksums, then drop the weights that are no longer the best."""
        facts: dict[str, Any] = {
            "curve": {str(k): v for k, v in self.curve.items()},
            "weights": self.weights_digest,
        }
        write_text(self._log, json.dumps({**facts, "digest": digest_of(facts)}))
        for path in self.folder.glob("best-*.safetensors"):
            if self.kept is None or path != self._weights(self.kept):
                path.unlink(missing_ok=True)

    def _read_log(self) -> str:
        """Read curve and checksum; return why they cannot be used ("": they can, or nothing was looked at yet)."""
        if not self._log.exists():
            looked = any(len(self.check) and steps >= self.moments[0] for steps, _ in checkpoints_in(self.folder)
                         if self.moments)  # fmt: skip
            return "its held-out losses are missing" if looked else ""
        try:
            facts = parse_json(self._log.read_text(encoding="utf-8"))
            digest = facts.pop("digest")
            curve = {int(k): float(v) for k, v in facts["curve"].items()}
            if digest != digest_of(facts) or not set(curve) <= set(self.moments):
                return "its held-out losses are damaged or of another plan"
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return "its held-out losses are damaged or of another plan"
        self.curve, self.weights_digest = curve, facts["weights"]
        return ""

    def _weights_are_whole(self) -> bool:
        path = self._weights(self.kept or 0)
        return path.is_file() and checksum(path) == self.weights_digest

    def _begin_again(self, why: str) -> None:
        """Set aside what lies in the folder; the log last, so that another worker that looks now does the same."""
        set_aside_from(self.folder, 0, why)
        for path in self.folder.glob("best-*.safetensors"):
            set_aside(path, why, "training begins at the start")
        set_aside(self._log, why, "training begins at the start")
