"""The run: the order of the stages, arms, champion and stopping. No torch, ray or mlflow in it.

    fit classifier -> predict -> MINE -> CONDITION -> SYNTHESIZE -> ACCEPT -> pool -> fit -> predict -> evaluate -> STOP?

Every arm of a round trains for the same optimizer steps from the same start; val decides, test is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from engine.config import SOURCES, Config
from engine.errors import StoppedError
from engine.history import ArmState, History
from engine.pipeline import Recipes, accepted_counts
from engine.pipeline.publish import Publisher
from engine.pipeline.review import read_verdicts
from engine.pipeline.round_report import round_report, val_sensitivity
from engine.pipeline.run_report import champion_of, protocol, run_report, settled, tracked_dataset
from engine.store import RunFolder, StageFolder, StageRunner
from engine.store.files import read_json
from engine.store.run_folder import main_arm
from engine.tracking.base import Tracker
from engine.types import StopDecision, StoppingState
from policies.base import StoppingPolicy


class Loop:
    """One run of one config; rerunning resumes from the stage cache.

    ``play`` plays it to its end. A caller that looks between the rounds calls ``start``, ``round`` and ``finish`` itself.
    """

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
        with self.watched():
            self.start()
            for number in range(self.config.loop.rounds + 1):
                decision = self.round(number)
                if decision.action != "continue":
                    break
        return self.finish(decision)

    def start(self) -> None:
        """Open the data, begin the tracked run and lay the foundation."""
        self.recipes.data()
        images, split = (self.recipes.stages[name] for name in ("images", "split"))
        self.publisher.split(split)
        self.tracker.start(
            config=self.config.model_dump(mode="json"),
            dataset=tracked_dataset(self.config, images, split),
            run_folder=self.folder.path,
        )
        self.recipes.foundation()

    def round(self, number: int) -> StopDecision:
        """Play a round, 0 (plain training) first, and publish the report as it stands."""
        decision = self._mined_round(number) if number else self._round_zero()
        self.publish(decision)
        return decision

    def finish(self, decision: StopDecision) -> dict[str, Any]:
        """Publish the contact sheet, the report and its page, and close the tracked run; returns the report."""
        with self.watched():
            if (1, "hard") in self.history.sources:
                self.publisher.contact_sheet(self.recipes.preview(self.history.sources[(1, "hard")]))
        report = self.publish(decision)
        self._close("FINISHED")
        return report

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Whatever fails inside leaves a report that says so and a tracked run that is closed as failed."""
        try:
            yield
        except BaseException as error:
            if "split" in self.recipes.stages:
                stopped = isinstance(error, StoppedError | KeyboardInterrupt)
                with suppress(OSError):  # a full disk must not hide what stopped the run, nor leave it open
                    self.publish(StopDecision(action="failed", reason="the run did not finish"))
                self._close("KILLED" if stopped else "FAILED")
            raise

    def publish(self, decision: StopDecision) -> dict[str, Any]:
        """Write report.json as it stands and return it."""
        path = self.folder.path / "champion.json"
        report = run_report(
            self.config,
            config_digest=self.recipes.config_digest,
            foundation=self.recipes.stages,
            rounds=self.history.reports,
            champion=read_json(path) if path.exists() and self.history.reports else None,
            decision=decision,
            device=self.recipes.runner.device,
        )
        self.publisher.json(self.folder.path / "report.json", report)
        return report

    def _close(self, status: str) -> None:
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

    def _round_zero(self) -> StopDecision:
        """Plain training: arm real; every arm starts from it."""
        pool = self.recipes.pool(0, "real", {}, {})
        steps = self.config.classifier.steps
        state = self._train_arm(0, "real", pool, steps, start=None, fits=[0])
        self.history.start_from(state, self.config.loop.arms)
        self._crown()
        return StopDecision(action="continue", reason="")

    def _mined_round(self, number: int) -> StopDecision:
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
        self._crown(decision.keep_round)
        return self._review() if self.awaiting else decision

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
            mined = self.recipes.mine(
                number,
                before.predict,
                self.history.hard_predict[:-1],
                before.classifier,
                self.history.made("hard", number - 1),
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
        earlier = [stages["accept"] for stages in self.history.made(source, number - 1).values()]
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
        """Train ``arm`` on its pool of this round, from its own weights (or from scratch).

        An arm that was left out of the rounds before catches up: a fit a round, so that its schedule is that of ``hard``.
        """
        before = self.history.arms[arm]
        hard, own = self.history.made("hard", number), self.history.made(arm, number)
        counts = accepted_counts(hard[n]["accept"] for n in sorted(hard))
        pool = self.recipes.pool(number, arm, own or hard, {} if arm in ("hard", "synthetic") else counts)
        if self.config.classifier.round_init == "continue":
            steps, start = self.config.classifier.round_steps, before
            fits = range(self.history.trained_in[arm] + 1, number + 1)
        else:
            steps, start = self.config.classifier.steps, None
            fits = range(number, number + 1)
        self.history.arms[arm] = self._train_arm(
            number, arm, pool, steps, start=start, fits=fits, made=own.get(number)
        )
        self.history.trained_in[arm] = number

    def _train_arm(
        self,
        number: int,
        arm: str,
        pool: StageFolder,
        steps: int,
        *,
        start: ArmState | None,
        fits: Sequence[int],
        made: Mapping[str, StageFolder] | None = None,
    ) -> ArmState:
        """Fit ``steps`` for each round of ``fits``, predict, evaluate, publish and log one (round, arm)."""
        classifiers: list[StageFolder] = []
        init = start.classifier if start else None
        for fit in fits:
            init = self.recipes.classifier(number, arm, pool, steps, init, fit)
            classifiers.append(init)
        predict = self.recipes.predict(number, arm, classifiers[-1])
        reference = self.history.hard_predict[0] if self.history.hard_predict else None
        evaluate = self.recipes.evaluate(number, arm, predict, reference)
        stages = {"pool": pool, "classifier": classifiers[-1], "predict": predict, "evaluate": evaluate}
        saw, sets = self.config.loop.generator_saw, self.config.data.split.train_sets
        aside = arm == "retrieved" and saw == "train" and sets is not None
        total = (start.steps if start else 0) + steps * len(classifiers)
        report = round_report(
            number, arm, saw, self._protocol(), total, made or {}, stages, classifiers[:-1], reference=aside
        )
        self.publisher.arm(number, arm, report, classifiers[-1], predict)
        self.history.reports.append(report)
        self.tracker.log_round(report, self.folder.arm_folder(number, arm), self.folder.path)
        return ArmState(classifier=classifiers[-1], predict=predict, report=report, steps=total)

    def _decide(self, number: int) -> StopDecision:
        """Ask the stopping policy, which sees val figures of the hard arm only; a roll-back binds the champion."""
        mains = [r for r in self.history.reports if r["arm"] == main_arm(r["round"])]
        watched = [r["val"][self.config.evaluation.champion]["value"] for r in mains]
        state = StoppingState(
            round=number,
            planned=self.config.loop.rounds,
            values=tuple(float("-inf") if v is None else v for v in watched),
            val=tuple(r["val"] for r in mains),
            accepted=tuple(int(r["n_accepted"]) for r in mains),
        )
        return settled(self.stopping.decide(state), number)

    def _protocol(self) -> str:
        return protocol(self.config.loop.mine_from, self.recipes.stages["images"])

    def _crown(self, keep_round: int | None = None) -> None:
        """Name the best (round, arm) by val, none after ``keep_round`` where given. A leaky run crowns none."""
        if self._protocol() == "leaky":
            return
        champion = champion_of(self.history.reports, self.config.evaluation.champion, keep_round)
        if self.publisher.champion(champion, after_round=max(r["round"] for r in self.history.reports)):
            self.tracker.register_champion(champion, self.folder.path)
