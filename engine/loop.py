"""The run: the order of the stages, arms, champion and stopping. No torch, ray or mlflow in it.

    fit classifier -> predict -> MINE -> CONDITION -> SYNTHESIZE -> ACCEPT -> pool -> fit -> predict -> evaluate -> STOP?

Every arm of a round trains for the same optimizer steps from the same start; val decides, test is recorded.

A stage's folder may be still to come while the stages after it are asked for already: what needs no file of another's runs
beside it, where the backend can. To read a file is to wait for it. What is published of an arm waits in ``afterwards``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.arms import ARMS, ENGINE, START
from engine.artifacts.accept import accepted_counts
from engine.artifacts.report_json import RoundEntry
from engine.artifacts.run_layout import main_arm
from engine.config import Config
from engine.history import ArmState, Fit, History, Made, Trained
from engine.labelling.answers import Answers, Reply
from engine.pipeline import Pipeline, arms, hard_cases, synthesis
from engine.pipeline.afterwards import Afterwards
from engine.pipeline.foundation import lay_data, lay_foundation
from engine.pipeline.people import People
from engine.pipeline.pipeline import Runner
from engine.pipeline.publish import Publisher
from engine.pipeline.record import Record
from engine.pipeline.round_report import RoundFacts, round_report
from engine.pipeline.run_report import settled, tracked_dataset
from engine.store import RunFolder, StageFolder
from engine.tracking.base import Tracker
from engine.types import Action, StopDecision, StoppingState
from policies.base import StoppingPolicy


class Loop:
    """One run of one config; rerunning resumes from the stage cache.

    ``play`` plays it to its end. A caller that looks between the rounds calls ``start``, ``round`` and ``finish`` itself.
    """

    def __init__(
        self,
        config: Config,
        *,
        runner: Runner,
        folder: RunFolder,
        tracker: Tracker,
        stopping: StoppingPolicy,
        fingerprint: str,
        render: Callable[[Path], object] = lambda _run: None,
        publisher: Publisher | None = None,
    ) -> None:
        """Play ``config`` with these parts; ``render`` draws report.html of a run folder that has its report.json."""
        self.config = config
        self.folder = folder
        self.tracker = tracker
        self.stopping = stopping
        self.pipeline = Pipeline(config, runner, folder, fingerprint)
        self.publisher = publisher or Publisher(folder)
        self.history = History()
        self.afterwards = Afterwards()
        self.record = Record(
            pipeline=self.pipeline,
            publisher=self.publisher,
            tracker=tracker,
            history=self.history,
            render=render,
        )
        answers = Answers(run=folder.path, source=config.loop.labels_from)
        self.people = People(
            pipeline=self.pipeline, publisher=self.publisher, answers=answers, history=self.history
        )

    def play(self) -> dict[str, Any]:
        """Play every round; publish, log and return the report."""
        with self.record.watched():
            self.start()
            for number in range(self.config.loop.rounds + 1):
                decision = self.round(number)
                if decision.action is not Action.CONTINUE:
                    break
        return self.finish(decision)

    def start(self) -> None:
        """Open the data, begin the tracked run and lay the foundation."""
        lay_data(self.pipeline, self.people.answers.of_no_round())
        images, split = (self.pipeline.stages[name] for name in ("images", "split"))
        self.publisher.split(split)
        self.tracker.start(
            config=self.config.model_dump(mode="json"),
            dataset=tracked_dataset(self.config, images, split),
            run_folder=self.folder.path,
        )
        lay_foundation(self.pipeline)

    def wait(self) -> None:
        """Wait for every stage that was asked for so far, for a caller that ends in the middle of a run."""
        self.afterwards.wait()
        self.pipeline.record_finished(all_of_them=True)

    def round(self, number: int) -> StopDecision:
        """Play a round, 0 (plain training) first, and publish the report as it stands."""
        decision = self._mined_round(number) if number else self._round_zero()
        self.afterwards.wait()
        self.pipeline.record_finished()
        self.record.publish(decision)
        return decision

    def finish(self, decision: StopDecision) -> dict[str, Any]:
        """Publish the contact sheet, the report and its page, and close the tracked run; returns the report."""
        with self.record.watched():
            if (1, ENGINE) in self.history.sources:
                made = self.history.sources[(1, ENGINE)]
                self.publisher.contact_sheet(synthesis.preview(self.pipeline, made))
            self.wait()
        report = self.record.publish(decision)
        self.record.close("FINISHED")
        return report

    def _round_zero(self) -> StopDecision:
        """Train on the classifier's own images; every arm starts from it but ``plain``, which has a start of its own."""
        self.history.start_from(self._first(START), self.config.loop.arms)
        for arm in self.config.loop.arms:
            if ARMS[arm].plain:
                self.history.arms[arm] = self._first(arm)
        self.afterwards.do((), self.record.crown)
        return StopDecision(action=Action.CONTINUE, reason="")

    def _first(self, arm: str) -> ArmState:
        """Train an arm that adds nothing in round 0."""
        pool = arms.pool(self.pipeline, 0, arm, {}, [])
        return self._train(Fit(round=0, arm=arm, pool=pool, steps=self.config.classifier.steps, fits=[0]))

    def _mined_round(self, number: int) -> StopDecision:
        """One round: mine, synthesize and accept from the hard arm's view, train it, then the arms beside it."""
        self._make_images(number, ENGINE)
        if self.people.awaiting:
            return self.people.decision()
        self._advance(number, ENGINE)
        self.history.hard.append(self.history.arms[ENGINE])
        if number == self.config.loop.rounds or self.config.loop.compare == "every_round":
            self._compare_all(number)  # whatever is decided, so they need not wait for it
            decision = self._decide(number)
        else:
            decision = self._decide(number)
            self._compare_all(number, labelled_only=decision.action is Action.CONTINUE)
        self.afterwards.do((), lambda: self.record.crown(decision.keep_round))
        return self.people.decision() if self.people.awaiting else decision

    def _compare_all(self, number: int, *, labelled_only: bool = False) -> None:
        """Ask the round's questions, then train the arms beside ``hard``; or only those with labels."""
        self.people.ask(number, self.config.loop.arms)
        for arm in sorted(self.config.loop.arms, key=lambda name: not ARMS[name].asks):
            if arm != ENGINE and (ARMS[arm].labels or not labelled_only):
                self._compare(number, arm)

    def _compare(self, number: int, arm: str) -> None:
        """Train an arm beside ``hard``, unless it waits for a person.

        One that makes images first makes those of rounds it was left out of.
        """
        waiting = len(self.people.awaiting)
        if ARMS[arm].makes_images:
            for earlier in range(self.history.trained_in[arm] + 1, number + 1):
                self._make_images(earlier, arm)
        bought = self.people.reply(number, arm) if ARMS[arm].labels else None
        if len(self.people.awaiting) == waiting and (bought is None or not bought.open):
            self._advance(number, arm, bought)

    def _make_images(self, number: int, source: str) -> None:
        """Make one round's synthetic images of one arm, and leave them to a person where the policy asks for it."""
        mined, out_of_fold = self._mine(number) if source == ENGINE else self._mined_before(number)
        condition = hard_cases.condition(self.pipeline, number, source, mined, **self._wishes(number, source))
        before = self.history.hard[number - 1]
        images = synthesis.synthesize(self.pipeline, number, source, condition, before.classifier)
        earlier = [made.accept for made in self.history.made(source, number - 1).values()]
        sheet = self.people.sheet(number, source) if synthesis.asks_for_review(self.pipeline) else None
        verdicts = None if sheet is None else synthesis.verdicts_on(sheet, condition)
        made = Made(
            mine=mined,
            condition=condition,
            synthesize=images,
            accept=synthesis.accept(
                self.pipeline,
                number,
                source,
                {"condition": condition, "synthesize": images},
                {"classifier": before.classifier, "predictions": out_of_fold or before.predict},
                earlier,
                verdicts,
            ),
            fidelity=synthesis.fidelity(self.pipeline, number, source, condition, images),
            crossfit=out_of_fold,
        )
        self.history.sources[(number, source)] = made
        if source == ENGINE:
            pictures = synthesis.thumbnails(self.pipeline, number, made)
            self.afterwards.do(
                (*made.folders.values(), pictures), lambda: self.publisher.synthesis(number, made, pictures)
            )
        if sheet is not None and verdicts is not None:
            self.people.look_at(sheet, made.accept, verdicts)

    def _mine(self, number: int) -> tuple[StageFolder, StageFolder | None]:
        """Mine the round's hard cases in the predictions of the round before, or out of fold; return those too."""
        before, made = self.history.arms[ENGINE], self.history.made(ENGINE, number - 1)
        out_of_fold = hard_cases.out_of_fold(self.pipeline, number, made)
        predictions, history = before.predict, [state.predict for state in self.history.hard[:-1]]
        if out_of_fold is not None:
            predictions = out_of_fold
            history = [stages.crossfit for stages in made.values() if stages.crossfit is not None]
        return hard_cases.mine(self.pipeline, number, before.classifier, predictions, history), out_of_fold

    def _mined_before(self, number: int) -> tuple[StageFolder, StageFolder | None]:
        hard = self.history.sources[(number, ENGINE)]
        return hard.mine, hard.crossfit

    def _wishes(self, number: int, source: str) -> dict[str, Any]:
        """What the conditioning is told: ``hard`` its val sensitivity so far, other sources what they have to match."""
        if source != ENGINE:
            parents = synthesis.images_per_parent(self.history.sources[(number, ENGINE)].accept)
            return {"parents": ARMS[source].parents, "per_parent": parents}
        return {"seen": [entry.per_class("val", "sensitivity") for entry in self._mains()]}

    def _mains(self) -> list[RoundEntry]:
        """The main arm's report of every round so far."""
        self.afterwards.wait()
        return [entry for entry in self.history.reports if entry.arm == main_arm(entry.round)]

    def _advance(self, number: int, arm: str, bought: Reply | None = None) -> None:
        """Train ``arm`` on its pool of this round, from its own weights or from scratch.

        An arm that was left out of earlier rounds runs one fit per skipped round, so its schedule matches ``hard``'s.
        """
        before = self.history.arms[arm]
        hard = self.history.made(ENGINE, number)
        own = self.history.made(ARMS[arm].source, number) if ARMS[arm].source else {}
        accepted = [accepted_counts([hard[n].accept.path]) for n in sorted(hard)]
        answers = bought.labels if bought is not None else None
        pool = arms.pool(self.pipeline, number, arm, own or hard, accepted, answers)
        if self.config.classifier.round_init == "continue":
            steps, start = self.config.classifier.round_steps, before
            fits = range(self.history.trained_in[arm] + 1, number + 1)
        else:
            steps, start = self.config.classifier.steps, None
            fits = range(number, number + 1)
        made = own.get(number) if ARMS[arm].makes_images else None
        self.history.arms[arm] = self._train(
            Fit(
                round=number,
                arm=arm,
                pool=pool,
                steps=steps,
                fits=fits,
                start=start,
                made=made,
                bought=bought,
                ask=self.history.asked.get((number, arm)),
            )
        )
        self.history.trained_in[arm] = number

    def _train(self, task: Fit) -> ArmState:
        """Train and evaluate one (round, arm); publish and log it when that is done."""
        reference = self.history.hard[0].predict if self.history.hard else None
        trained = arms.train(self.pipeline, task, reference)
        total = (task.start.steps if task.start else 0) + task.steps * len(task.fits)
        self.afterwards.do(trained.folders, lambda: self._publish(task, trained, total))
        return trained.state(total)

    def _publish(self, task: Fit, trained: Trained, total: int) -> None:
        """Publish and log one (round, arm) whose stages have finished; ``total``: its optimizer steps so far."""
        facts = RoundFacts.of(self.config, task.arm, protocol=self.record.protocol(), optimizer_steps=total)
        entry = round_report(facts, task, trained)
        self.publisher.arm(entry, trained)
        self.history.reports.append(entry)
        self.tracker.log_round(
            entry.to_json(), self.folder.arm_folder(task.round, task.arm), self.folder.path
        )

    def _decide(self, number: int) -> StopDecision:
        """Ask the stopping policy, which sees val figures of the hard arm only; a roll-back binds the champion."""
        mains = self._mains()
        watched = [entry.figure("val", self.config.evaluation.champion).value for entry in mains]
        state = StoppingState(
            round=number,
            planned=self.config.loop.rounds,
            values=tuple(float("-inf") if v is None else v for v in watched),
            val=tuple(entry.val for entry in mains),
            accepted=tuple(entry.n_accepted for entry in mains),
        )
        return settled(self.stopping.decide(state), number)
