"""What a run will compute: the loop played on a runner that computes nothing and counts every stage it comes to.

Every round is played to its end, every generated image counts as accepted. Between stages the loop reads a few facts of
finished folders; this runner leaves those and no others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engine.artifacts import asked
from engine.artifacts.accept import AcceptFacts, ClassYield
from engine.artifacts.asked import AskedFacts
from engine.artifacts.fidelity import Fidelity
from engine.artifacts.generator_parts import LikelihoodFacts
from engine.artifacts.json_record import JsonRecord
from engine.artifacts.pool import PoolFacts
from engine.artifacts.scores import Scores
from engine.config import Config
from engine.loop import Loop
from engine.pipeline.publish import NullPublisher
from engine.stages import ask
from engine.stages.base import P, Sizes, Stage
from engine.store import RunFolder, StageFolder
from engine.store.cache import stage_key
from engine.tracking.base import NullTracker
from policies import registry

NOTHING_ASKED: Final = AskedFacts(classes=(), policy="", wanted=0, unlabelled=0, open=0, left_out={})
"""Questions that readers need not answer, so that the plan goes on."""


@dataclass(frozen=True)
class Work:
    """What there is to do in one stage: how often it runs, and its optimizer steps, chunks or images in all."""

    runs: int = 0
    units: int = 0


@dataclass
class PlanRunner:
    """Counts stages. Takes the place of ``StageRunner``; a stage asked for twice counts once, as in the cache.

    ``data``: the finished folders of ``images`` and ``split``, which are read for real.
    """

    sizes: Sizes
    data: Mapping[str, StageFolder]
    place: Path
    device: str = "cpu"
    work: dict[str, Work] = field(default_factory=dict)
    known: dict[str, StageFolder] = field(default_factory=dict)

    def __call__(
        self, stage: Stage[P], params: P, *, inputs: Mapping[str, StageFolder], seed: int = 0
    ) -> StageFolder:
        """Count the stage and return a folder with the facts the loop reads."""
        stage.check_inputs(inputs)
        key = stage_key(
            stage.name,
            version=stage.version,
            params=params.to_json(),
            seed=seed,
            threads=1,
            device=self.device,
            precision="float32",
            inputs={role: folder.key for role, folder in inputs.items()},
        )
        if key not in self.known:
            before = self.work.get(stage.name, Work())
            units = before.units + stage.units(params, self.sizes)
            self.work[stage.name] = Work(before.runs + 1, units)
            self.known[key] = self.data.get(stage.name) or self._folder(stage.name, key)
        return self.known[key]

    def _folder(self, name: str, key: str) -> StageFolder:
        path = self.place / f"{name}-{key}"
        path.mkdir()
        facts = self._facts().get(name)
        if facts is not None:
            facts.write(path)
        if name == ask.STAGE.name:
            asked.write(asked.nothing(), NOTHING_ASKED, path)
        return StageFolder(name=name, key=key, path=path, seconds=0.0, cached=False)

    def _facts(self) -> Mapping[str, JsonRecord]:
        """The file of each stage that the loop reads between stages."""
        figure = {"value": 0.5, "low": 0.5, "high": 0.5}
        figures: dict[str, Any] = dict.fromkeys(
            ("accuracy", "balanced_accuracy", "macro_f1", "auc"), figure
        ) | {"per_class": {}}
        made, real = self.sizes.samples, self.sizes.train
        return {
            "pool": PoolFacts(arm="", n_rows=real, n_real=real, n_synthetic=0, counts={}, added={}, short={}),
            "evaluate": Scores(val=figures, test=figures, p_value_vs_round0=None),
            "accept": AcceptFacts(
                per_class={"": ClassYield(generated=made, accepted=made, per_parent=[1] * made)}
            ),
            "fidelity": Fidelity(features=""),
            "likelihood": LikelihoodFacts(n=0, part="", given="", bits_per_dimension={}),
        }


def plan_work(config: Config, sizes: Sizes, data: Mapping[str, StageFolder]) -> dict[str, Work]:
    """Return the work of a run by stage, in the order it comes to them.

    Args:
        config: the run's.
        sizes: how much data there is.
        data: finished folders of the stages ``images`` and ``split``.
    """
    policy = config.policy.model_copy(
        update={"acceptance": {"name": "all"}, "stopping": {"name": "max_rounds"}}
    )
    with tempfile.TemporaryDirectory(prefix="hardcase-plan-") as place:
        planned = config.model_copy(update={"output": place, "policy": policy})
        folder = RunFolder.create(planned)
        runner = PlanRunner(sizes=sizes, data=data, place=Path(place))
        loop = Loop(
            planned,
            runner=runner,
            folder=folder,
            tracker=NullTracker(),
            stopping=registry.make("stopping", policy.stopping),
            fingerprint="",
            publisher=NullPublisher(folder),
        )
        loop.play()
    return runner.work
