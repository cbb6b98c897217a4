"""Stops the denoiser, in effect, before it memorizes: the averaged weights with the lowest held-out loss are kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from engine.artifacts.whole_files import write_text
from engine.diffusion.train import DenoiserObjective, validation_loss
from engine.training.checkpoints import fill, save_tensors
from engine.types import IntArray


@dataclass
class KeepBest:
    """A training's watcher: looks at the loss of held-out train lesions ``check`` after the steps ``moments``.

    A denoiser that begins to reproduce its training images gets worse on lesions it has not seen (Somepalli et al.
    2023); timesteps and noise of the look are fixed, so its values are comparable. What it keeps lies in ``folder``, the
    training's checkpoint folder, and survives a kill. Nothing is kept without held-out lesions or moments.
    """

    objective: DenoiserObjective
    check: IntArray
    seed: int
    moments: tuple[int, ...]
    folder: Path
    curve: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Go on from what an earlier attempt has seen."""
        if self._log.exists():
            self.curve = {int(k): float(v) for k, v in json.loads(self._log.read_text("utf-8")).items()}

    @property
    def _log(self) -> Path:
        return self.folder / "validations.json"

    @property
    def _weights(self) -> Path:
        return self.folder / "best.safetensors"

    @property
    def kept(self) -> int | None:
        """The step whose weights are kept: the lowest loss, of equals the first; None where none was looked at."""
        return min(self.curve, key=lambda step: (self.curve[step], step)) if self.curve else None

    def __call__(self, steps_done: int, averaged: Callable[[], AbstractContextManager[None]]) -> None:
        """Look, and keep the weights if they are the best so far."""
        if steps_done not in self.moments:
            return
        with averaged():
            loss = validation_loss(self.objective, self.check, self.seed)
            if loss is None or not math.isfinite(loss):
                return
            self.curve[steps_done] = loss
            if self.kept == steps_done:
                self._save()
        write_text(self._log, json.dumps(self.curve))

    def _save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        save_tensors(self.objective.model.state_dict(), self._weights)

    def restore(self) -> None:
        """Give the model the weights that were kept."""
        if self.kept is not None:
            fill(self.objective.model.state_dict(), self._weights)
