"""The memory part of `run --dry-run`: what each stage is planned to need, and a refusal where that is not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.config import Config
from engine.data.captions import captions
from engine.errors import ConfigError
from engine.execution.free_memory import Room, host_room, room_on
from engine.parts.dataset import open_dataset
from engine.parts.own_images import sees_unlabelled
from engine.planning.architectures import assumed
from engine.planning.plan import plan_memory, plan_stage
from engine.planning.remedies import Remedy, least, remedies
from engine.planning.setting import DataSize, Need, Setting
from engine.retrieval.tokenizer import build_tokenizer

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """What the stages of a run need, beside the room there is.

    Attributes:
        setting: the run as the pilot runs it, in this process.
        needs: by stage; stages that hold little are not in it.
        device: room where tensors lie.
        host: room in this machine's own memory.
        before: bytes that this process holds already (on a CPU they are among what the pilot measures).
        run: the run's config, whose workers may share batches.
    """

    setting: Setting
    needs: Mapping[str, Need]
    device: Room
    host: Room
    before: int
    run: Config

    @classmethod
    def of(
        cls, run: Config, here: Config, device: str, folders: Mapping[str, Path], stages: Iterable[str]
    ) -> MemoryPlan:
        """Plan the stages; ``here``: the config as the pilot runs it; ``folders``: of finished ``images`` and ``split``."""
        gpu = device.startswith("cuda")
        setting = Setting(config=here, data=data_size(here, folders), gpu=gpu)
        return cls(
            setting=setting,
            needs=plan_memory(setting, stages),
            device=room_on(device),
            host=host_room(),
            before=0 if gpu else int(psutil.Process().memory_info().rss),
            run=run,
        )

    def text(self, stage: str) -> str:
        """Return the GiB of a stage as the table shows them, "" without a plan."""
        need = self.needs.get(stage)
        return "" if need is None else f"{(need.peak + self.before) / GIB:.1f}"

    def fits(self, need: Need) -> bool:
        """Return whether the device and this machine have room for a stage."""
        return need.peak <= self.device.free and need.host <= self.host.free

    def require_room(self) -> None:
        """Return where every stage fits.

        Raises:
            ConfigError: names each stage that does not, what it needs, what is there, and the settings that make it fit.
        """
        over = {stage: need for stage, need in self.needs.items() if not self.fits(need)}
        if over:
            raise ConfigError("\n".join(line for item in over.items() for line in self._refusal(*item)))

    def lines(self) -> list[str]:
        """Return what to say above the table: the stage that needs most, and whose sizes were assumed."""
        said = []
        if self.needs:
            stage = max(self.needs, key=lambda name: self.needs[name].peak)
            said.append(f"memory: most in {stage}, {describe(self.needs[stage])}; {_room(self.device)}")
        unknown = assumed(self.run)
        if unknown:
            said.append(
                f"{' and '.join(unknown)}: not on this machine, planned as Stable Diffusion 1.5 and CLIP ViT-L/14"
            )
        return said

    def _refusal(self, stage: str, need: Need) -> list[str]:
        fits = need.peak <= self.device.free
        what = (
            f"{stage}: is planned to hold {need.host / GIB:.1f} GiB in this machine's memory; {_room(self.host)}"
            if fits
            else f"{stage}: is planned to hold {describe(need)}; {_room(self.device)}"
        )
        found = remedies(self.setting, stage, self.fits)
        return [what, *(_remedy_lines(need, found) or [self._hopeless(stage)]), *self._workers(stage)]

    def _hopeless(self, stage: str) -> str:
        """Say what the stage still needs with every setting that could help."""
        smallest = least(self.setting, stage)
        if smallest is None:
            return "  no setting of it makes it fit; run it where there is more"
        return (
            f"  no setting of it makes it fit: with {typed(smallest)} it needs {smallest.peak / GIB:.1f} GiB; "
            "run it where there is more"
        )

    def _workers(self, stage: str) -> list[str]:
        """Say what a worker of the run needs where several share a batch, which a dry run in one process cannot show."""
        shared = Setting(config=self.run, data=self.setting.data, gpu=self.setting.gpu)
        need = plan_stage(shared, stage) if shared.world > 1 else None
        if need is None:
            return []
        return [
            f"  a dry run is one process with the whole batch; one of {shared.world} workers would hold "
            f"{need.peak / GIB:.1f} GiB"
        ]


def describe(need: Need) -> str:
    """Return a need in words: the peak, when it is, and what it is made of, in GiB."""
    parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in need.parts.items() if size >= 0.05 * GIB)
    return f"{need.peak / GIB:.1f} GiB {need.moment}" + (f" ({parts})" if parts else "")


def data_size(config: Config, folders: Mapping[str, Path]) -> DataSize:
    """Return how much the generator parts learn from, from the folders of ``images`` and ``split``."""
    dataset = open_dataset(folders["images"], folders["split"], unlabelled=sees_unlabelled(config))
    learned = dataset.learned()
    texts = sorted(set(captions(dataset.table.take(learned))))
    tokenizer = build_tokenizer(texts)
    return DataSize(
        train=len(learned),
        classes=len(dataset.classes),
        captions=len(texts),
        words=len(tokenizer),
        tokens=int(tokenizer.model_max_length),
    )


def _room(room: Room) -> str:
    return f"{room.free / GIB:.1f} of {room.total / GIB:.1f} GiB of {room.what} are free"


def _remedy_lines(need: Need, found: list[Remedy]) -> list[str]:
    """Return one line per remedy: the settings as they are typed, what they save, and what is left."""
    return [
        f"  fits with {typed(remedy)}: saves {(need.peak - remedy.peak) / GIB:.1f}, needs {remedy.peak / GIB:.1f} GiB"
        for remedy in found
    ]


def typed(remedy: Remedy) -> str:
    """Return settings as they are typed behind `hardcase run CONFIG`."""
    return " ".join(f"{key}={_yaml(value)}" for key, value in remedy.settings.items())


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
