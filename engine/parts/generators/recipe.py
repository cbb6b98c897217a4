"""What every generator's worker is made of: where the conditioning and the images lie, and how to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.artifacts import conditioning
from engine.artifacts.conditioning import Samples
from engine.config import SynthesisConfig
from engine.parts.dataset import Dataset, open_dataset


@dataclass(frozen=True, kw_only=True)
class GeneratorRecipe:
    """A picklable recipe over the ``synthesize`` stage's inputs; ``pretrained`` is the denoiser's."""

    inputs: Mapping[str, Path]
    synthesis: SynthesisConfig
    pretrained: str | None
    device: str
    threads: int
    precision: str

    def open(self) -> tuple[Samples, Dataset]:
        """Set the thread count; return the samples to make and the data set."""
        torch.set_num_threads(self.threads)
        samples = conditioning.read_samples(self.inputs["condition"])
        return samples, open_dataset(self.inputs["images"], self.inputs["split"])
