"""The run: the order of the stages, arms, champion and stopping. No torch, ray or mlflow in it.

    fit classifier -> predict -> MINE -> CONDITION -> SYNTHESIZE -> ACCEPT -> pool -> fit -> predict -> evaluate -> STOP?

Every arm of a round trains for the same optimizer steps from the same start; val decides, test is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config import SOURCES, Config
from engine.errors import StageError
from engine.recipes import Recipes, accepted_counts
from engine.round_report import data_report, round_report, val_sensitivity
from engine.store import RunFolder, StageFolder, StageRunner, write_json
from engine.store.files import read_json
from engine.store.publish import Publisher
from engine.store.review import read_verdicts
from engine.store.run_folder import main_arm
from engine.tracking.base import Tracker
from engine.types import StopDecision, StoppingState
from policies.base import StoppingPolicy

SCHEMA_VERSION = 1
FOUNDATION = (
    "images", "split", "embedder", "index", "vae", "latents", "denoiser", "gan", "judge", "features", "challenging"
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ArmState:
    """One arm after one round: its classifier, predictions, report and the optimizer steps it has had."""

    classifier: StageFolder
    predict: StageFolder
    report: Mapping[str, Any]
    steps: int


@dataclass
class History:
    """What a run has so far: arms by name (latest state), synthesis a round and source, finished reports."""

    arms: dict[str, ArmState] = field(default_factory=dict)
    trained_in: dict[str, int] = field(default_factory=dict)
    sources: dict[tuple[int, str], dict[str, StageFolder]] = field(default_factory=dict)
    hard_predict: list[StageFolder] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)


class Loop:
    """One run of one config; ``play`` returns report.json's object. Rerunning resumes from the stage cache."""

    def __init__(
        self,
        config: Config,
        *,
        runner: StageRunner,
        folder: RunFolder,
        tracker: Tracker,
        stopping: StoppingPolicy,
        fingerprint: str,
        render: Callable[[Path], object] = lambda _run: None,
    ) -> None:
        """Play ``config`` with these parts; ``render`` draws report.html of a run folder that has its report.json."""
        self.config = config
        self.render = render
        self.folder = folder
        self.tracker = tracker
        self.stopping = stopping
        self.recipes = Recipes(config, runner, folder, fingerprint)
        self.publisher = Publisher(folder)
        self.history = History()
        self.awaiting: list[Path] = []

    def play(self) -> dict[str, Any]:
        """Play every round; publish, log and return the report."""
        self.recipes.data()
        self._begin_tracking()
        try:
            self.recipes.foundation()
            self._round_zero()
            decision = StopDecision(action="continue", reason="")
            for number in range(1, self.config.loop.rounds + 1):
                decision = self._round(number)
                if decision.action != "continue":
                    break
            self.publisher.contact_sheet(self.recipes.preview(self.history.sources[(1, "hard")]))
        except BaseException:
            self._publish_report(StopDecision(action="failed", reason="the run did not finish"))
            self._finish("FAILED")
            raise
        report = self._publish_report(decision)
        self._finish("FINISHED")
        return report

    def _finish(self, status: str) -> None:
        """Draw the report page, which the tracker attaches, and close the tracked run.

        A page that cannot be drawn is raised once the tracked run is closed, unless the run itself failed: then
        it must not hide what stopped the run.
        """
        problem: Exception | None = None
        try:
            self.render(self.folder.path)
        except Exception as error:
            problem = error
        self.tracker.finish(status, self.folder.path)
        if problem is not None and status == "FINISHED":
            raise problem

    def _begin_tracking(self) -> None:
        split = read_json(self.recipes.stages["split"].path / "split.json")
        info = read_json(self.recipes.stages["images"].path / "data.json")
        self.publisher.split(self.recipes.stages["split"])
        dataset = {"name": self.config.data.format, "digest": split["digest"], "counts": split["counts"],
                   "n_images": info["n_images"], "protocol": self.protocol}  # fmt: skip
        self.tracker.start(
            config=self.config.model_dump(mode="json"), dataset=dataset, run_folder=self.folder.path
        )

    @property
    def protocol(self) -> str:
        """Leaky where hard cases come from test, groups_unknown where images could not be grouped, else safe."""
        if self.config.loop.mine_from == "test":
            return "leaky"
        info = read_json(self.recipes.stages["images"].path / "data.json")
        return "groups_unknown" if info["grouped_by"] == "image" else "safe"

    def _round_zero(self) -> None:
        """Plain training: arm real; every arm starts from it."""
        pool = self.recipes.pool(0, "real", {}, {})
        steps = self.config.classifier.steps
        state = self._train_arm(0, "real", pool, steps, init=None, before=0)
        for arm in self.config.loop.arms:
            self.history.arms[arm] = state
            self.history.trained_in[arm] = 0
        self.history.hard_predict.append(state.predict)
        self._crown()

    def _round(self, number: int) -> StopDecision:
        """One round: mine, synthesize and accept from the hard arm's view, train it, then the arms beside it."""
        self._synthesize(number, "hard")
        if self.awaiting:
            return self._review()
        self._advance(number, "hard")
        self.history.hard_predict.append(self.history.arms["hard"].predict)
        decision = self._decide(number)
        last = number == self.config.loop.rounds or decision.action != "continue"
        if last or self.config.loop.compare == "every_round":
            for arm in self.config.loop.arms:
                if arm != "hard":
                    self._compare(number, arm)
        self._crown()
        decision = self._review() if self.awaiting else decision
        self._publish_report(decision)
        return decision

    def _review(self) -> StopDecision:
        """The run ends here until a person has looked at the images."""
        files = ", ".join(str(path) for path in self.awaiting)
        return StopDecision(action="review", reason=f"fill in {files}, then run the same command")

    def _compare(self, number: int, arm: str) -> None:
        if arm in SOURCES:
            for earlier in range(self.history.trained_in[arm] + 1, number + 1):
                self._synthesize(earlier, arm)
        if not self.awaiting:
            self._advance(number, arm)

    def _synthesize(self, number: int, source: str) -> None:
        """Make the round's synthetic images: of mined cases (hard), or to the same counts of random parents or the GAN."""
        if source == "hard":
            before = self.history.arms["hard"]
            made_before = {n: s for (n, kind), s in self.history.sources.items() if kind == "hard"}
            mined = self.recipes.mine(
                number, before.predict, self.history.hard_predict[:-1], before.classifier, made_before
            )
            seen = [val_sensitivity(r) for r in self.history.reports if r["arm"] == main_arm(r["round"])]
            made = {"mine": mined, **self.recipes.condition(number, "hard", mined, seen=seen)}
        else:
            hard = self.history.sources[(number, "hard")]
            generated = read_json(hard["accept"].path / "accept.json")["per_class"]
            counts = {dx: figures["generated"] for dx, figures in generated.items()}
            made = {
                "mine": hard["mine"],
                **self.recipes.condition(number, source, hard["mine"], counts=counts),
            }
        earlier = [
            s["accept"] for (n, kind), s in self.history.sources.items() if kind == source and n < number
        ]
        self.history.sources[(number, source)] = self.recipes.synthesize(
            number, source, made, earlier, self.history.arms["hard"].classifier
        )
        stages = self.history.sources[(number, source)]
        if source == "hard":
            self.publisher.synthesis(number, stages, self.recipes.thumbnails(number, stages))
        self._ask_for_review(number, source, stages["accept"])

    def _ask_for_review(self, number: int, source: str, accept: StageFolder) -> None:
        """Leave a sheet and a CSV where a person decides; wait where nobody has decided on anything yet."""
        if not self.recipes.reviews:
            return
        path = self.recipes.review_file(number, source)
        self.publisher.review(path, accept)
        if not read_verdicts(path):
            self.awaiting.append(path)

    def _advance(self, number: int, arm: str) -> None:
        """Train ``arm`` on its pool of this round, from its own weights (or from scratch)."""
        before = self.history.arms[arm]
        hard = {n: s for (n, kind), s in self.history.sources.items() if kind == "hard" and n <= number}
        own = {n: s for (n, kind), s in self.history.sources.items() if kind == arm and n <= number}
        counts = accepted_counts(hard[n]["accept"] for n in sorted(hard))
        pool = self.recipes.pool(number, arm, own or hard, {} if arm in ("hard", "synthetic") else counts)
        continues = self.config.classifier.round_init == "continue"
        rounds = number - self.history.trained_in[arm]
        steps = self.config.classifier.round_steps * rounds if continues else self.config.classifier.steps
        init = before.classifier if continues else None
        self.history.arms[arm] = self._train_arm(
            number, arm, pool, steps, init=init, before=before.steps if continues else 0, made=own.get(number)
        )
        self.history.trained_in[arm] = number

    def _train_arm(
        self,
        number: int,
        arm: str,
        pool: StageFolder,
        steps: int,
        *,
        init: StageFolder | None,
        before: int,
        made: Mapping[str, StageFolder] | None = None,
    ) -> ArmState:
        """Fit, predict, evaluate, publish and log one (round, arm)."""
        classifier = self.recipes.classifier(number, arm, pool, steps, init)
        predict = self.recipes.predict(number, arm, classifier)
        reference = self.history.hard_predict[0] if self.history.hard_predict else None
        evaluate = self.recipes.evaluate(number, arm, predict, reference)
        stages = {"pool": pool, "classifier": classifier, "predict": predict, "evaluate": evaluate}
        saw, sets = self.config.loop.generator_saw, self.config.data.split.train_sets
        aside = arm == "retrieved" and saw == "train" and sets is not None
        report = round_report(number, arm, saw, before + steps, made or {}, stages, reference=aside)
        self.publisher.arm(number, arm, report, classifier, predict)
        self.history.reports.append(report)
        self.tracker.log_round(report, self.folder.arm_folder(number, arm), self.folder.path)
        return ArmState(classifier=classifier, predict=predict, report=report, steps=before + steps)

    def _decide(self, number: int) -> StopDecision:
        """Ask the stopping policy, which sees val figures of the hard arm only."""
        mains = [r for r in self.history.reports if r["arm"] == main_arm(r["round"])]
        watched = [r["val"][self.config.evaluation.champion]["value"] for r in mains]
        state = StoppingState(
            round=number,
            planned=self.config.loop.rounds,
            values=tuple(float("-inf") if v is None else v for v in watched),
            val=tuple(r["val"] for r in mains),
            accepted=tuple(int(r["n_accepted"]) for r in mains),
        )
        return self.stopping.decide(state)

    def _crown(self) -> None:
        """Name the best (round, arm) by val; ties go to the earlier one. A leaky run crowns none."""
        if self.protocol == "leaky":
            return
        metric = self.config.evaluation.champion
        scored = [r for r in self.history.reports if r["val"][metric]["value"] is not None]
        if not scored:
            raise StageError(
                f"evaluation.champion: {metric} is undefined on val in every round; enlarge data.split.val"
            )
        best = max(scored, key=lambda r: (r["val"][metric]["value"], -r["round"]))
        champion = {
            "round": best["round"],
            "arm": best["arm"],
            "metric": f"val/{metric}",
            **best["val"][metric],
        }
        if self.publisher.champion(champion, after_round=max(r["round"] for r in self.history.reports)):
            self.tracker.register_champion(champion, self.folder.path)

    def _publish_report(self, decision: StopDecision) -> dict[str, Any]:
        path = self.folder.path / "champion.json"
        report = {
            "schema_version": SCHEMA_VERSION,
            "name": self.config.name,
            "protocol": self.protocol,
            "config_digest": self.recipes.config_digest,
            **data_report(
                self.config.data.format, self.recipes.stages["images"], self.recipes.stages["split"]
            ),
            "stopping": {"action": decision.action, "reason": decision.reason},
            "champion": read_json(path) if path.exists() and self.history.reports else None,
            "foundation_seconds": {
                n: round(s.seconds, 3) for n, s in self.recipes.stages.items() if n in FOUNDATION
            },
            "rounds": sorted(
                self.history.reports, key=lambda r: (r["round"], r["arm"] != main_arm(r["round"]))
            ),
        }
        write_json(self.folder.path / "report.json", report)
        return report
