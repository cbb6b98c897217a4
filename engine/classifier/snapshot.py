"""Saves a fit's averaged weights on its way, so that images can be predicted as they were after few steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from engine.classifier.weights import ClassifierMeta, save_classifier
from engine.training.checkpoints import set_aside_from
from engine.training.set_aside import is_sealed, seal


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A file of weights to write after ``step`` optimizer steps; ``identity`` names what it is made by, for its seal."""

    step: int
    weights: Path
    identity: str

    @property
    def whole(self) -> bool:
        """Whether the file lies there, undamaged and of this fit; one that is not of use is set aside."""
        return is_sealed(self.weights, self.identity, f"step {self.step} is computed again")


@dataclass(frozen=True, kw_only=True)
class SnapshotWatcher:
    """A training's watcher (``engine.training.loop.Watcher``) that writes a ``Snapshot``.

    Make it with ``begin``, before the training resumes.
    """

    snapshot: Snapshot
    model: nn.Module
    meta: ClassifierMeta

    @classmethod
    def begin(
        cls, snapshot: Snapshot, model: nn.Module, meta: ClassifierMeta, checkpoint: Path
    ) -> SnapshotWatcher:
        """Return the watcher; without a whole file checkpoints from its step on are set aside: the step must come again."""
        if not snapshot.whole:
            set_aside_from(checkpoint, snapshot.step, f"{snapshot.weights.name} is missing or damaged")
        return cls(snapshot=snapshot, model=model, meta=meta)

    def looks_at(self, steps_done: int) -> bool:
        """Whether the weights are written after so many steps."""
        return steps_done == self.snapshot.step

    def __call__(self, steps_done: int) -> None:
        """Write the weights after their step."""
        save_classifier(self.model, self.meta, self.snapshot.weights)
        seal(self.snapshot.weights, self.snapshot.identity)
