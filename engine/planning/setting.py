"""What a plan of memory starts from: the config, how much data there is, and whether tensors lie on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.config import BackendConfig, Config
from engine.config.sections import OptimConfig
from engine.training.plan import TrainEnv


@dataclass(frozen=True, kw_only=True)
class DataSize:
    """How much there is to learn from.

    Attributes:
        train: images that generator parts learn from.
        classes: their classes.
        captions: different captions among them.
        words: entries of the small CLIP's vocabulary.
        tokens: tokens of its prompts, padding included.
    """

    train: int
    classes: int
    captions: int
    words: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run as a plan sees it; ``gpu``: tensors lie on a GPU, else in this machine's own memory."""

    config: Config
    data: DataSize
    gpu: bool

    def of(self, config: Config) -> Setting:
        """Return the same with another config."""
        return replace(self, config=config)

    @property
    def side(self) -> int:
        """Side of an image, pixels."""
        return self.config.data.image_size

    @property
    def precision(self) -> str:
        """Precision of autocast."""
        return self.config.backend.precision

    @property
    def env(self) -> TrainEnv:
        """The process of one of its trainings, as far as a plan goes."""
        return TrainEnv(device="cuda" if self.gpu else "cpu", precision=self.precision)

    @property
    def world(self) -> int:
        """Workers that share a training: the fewest, whose shares of a batch are largest."""
        return fewest_workers(self.config.backend)

    @property
    def owners(self) -> int:
        """Workers among whom moments and average are shared out; 1: each keeps all."""
        return self.world if self.config.backend.shard_optimizer else 1

    @property
    def latent(self) -> tuple[int, int, int]:
        """(c, h, w) of what is diffused."""
        vae = self.config.vae
        if vae.kind == "identity":
            return (3, self.side, self.side)
        cells = self.side // vae.downsample
        return (vae.latent_channels, cells, cells)

    def piece(self, section: OptimConfig) -> int:
        """Return how many examples pass through a part at a time while it trains, on the worker with most."""
        share = -(-section.batch_size // self.world)
        return -(-share // self.accumulate(section))

    @staticmethod
    def accumulate(section: OptimConfig) -> int:
        """Return in how many pieces a worker's share of a batch is passed through."""
        return int(getattr(section, "accumulate", 1))


def fewest_workers(backend: BackendConfig) -> int:
    """Return how many workers share a training at least."""
    workers = backend.train_workers
    fewest = workers if isinstance(workers, int) else workers[0]
    return max(1, fewest) if backend.kind == "ray" else 1


@dataclass(frozen=True, kw_only=True)
class Need:
    """The memory of a stage when it holds most.

    Attributes:
        moment: when that is, as "in a step".
        parts: bytes by what they are; together the peak of the device.
        host: bytes of this machine's own memory; on a CPU they are among ``parts``, and this is 0.
    """

    moment: str
    parts: dict[str, int]
    host: int = 0

    @property
    def peak(self) -> int:
        """Bytes that the device has to hold."""
        return sum(self.parts.values())


def largest(moments: Sequence[tuple[str, dict[str, int]]], *, host: Sequence[int], gpu: bool) -> Need:
    """Return the need of a stage from what it holds at several moments.

    Args:
        moments: (name, bytes by part) of the device.
        host: bytes held in this machine's own memory all along, beside a device's.
        gpu: whether the device has memory of its own.
    """
    name, parts = max(moments, key=lambda moment: sum(moment[1].values()))
    if gpu:
        return Need(moment=name, parts=parts, host=sum(host))
    return Need(moment=name, parts=parts | ({"data": parts.get("data", 0) + sum(host)} if any(host) else {}))
