"""Turns each kept call into requests to an MLflow client; every one may be repeated without leaving a trace twice.

Run ids live in ``RUN/mlflow.json``; what was created just before a kill is found again by its ``hardcase.key`` tag.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.arms import ARMS
from engine.artifacts import report_json
from engine.artifacts.classifier_fit import WEIGHTS
from engine.artifacts.digests import checksum
from engine.artifacts.run_layout import RunLayout, arm_label, main_arm
from engine.artifacts.visible_text import visible
from engine.errors import HardcaseError
from engine.labelling.oracle import MARK
from engine.labelling.simulated import in_run, in_train
from engine.tracking.arm_model import arm_model
from engine.tracking.flatten import failed_attempts, headline, metrics, parameters
from engine.tracking.outbox import Entry
from engine.tracking.repeatable import Requests
from engine.tracking.round_files import log_files
from engine.tracking.saved_view import VERDICT
from engine.tracking.sender import RefusedError

BESIDES = "run"
"""Folder of a parent run's files other than the report, so that this is the one file on top."""
PARTS = {"val": "validation", "test": "testing"}
"""Parts that have figures, and what MLflow calls their use."""
SIMULATED = {"labels": MARK}
"""Tag and parameter of a run whose figures rest on labels of an oracle."""


@dataclass(kw_only=True)
class RunLog(Requests):
    """Sends the calls of one run folder."""

    def send(self, entry: Entry) -> None:
        """Send one call; raises RefusedError where it cannot succeed, whatever the client raises otherwise."""
        calls: dict[str, Callable[..., None]] = {
            "start": self.start,
            "log_round": self.log_round,
            "log_trial": self.log_trial,
            "finish": self.finish,
        }
        if entry.call not in calls:
            raise RefusedError(f"there is no call {entry.call[:40]!r}")
        calls[entry.call](**entry.arguments)

    def parent(self) -> tuple[str, str]:
        """Return (experiment id, parent run id); RefusedError where the run was never started."""
        state = self.state()
        if "run_id" not in state:
            raise RefusedError("the parent run does not exist on this server")
        return state["experiment_id"], state["run_id"]

    def start(self, config: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
        """Open or resume the parent run: parameters, tags, dataset."""
        experiment_id = self.open_experiment()
        state = self.state()
        run = self.find_or_create(
            experiment_id, state.get("run_id"), state["run_key"], config.get("name", "run"), {}
        )
        if run.info.run_id != state.get("run_id"):
            self.remember(experiment_id=experiment_id, run_id=run.info.run_id, rounds={}, sending={})
        run_id = run.info.run_id
        self.client.update_run(run_id, status="RUNNING")
        self.params(run, parameters(config))
        if _asks_an_oracle(config) or in_train(self.run_folder):
            self._mark_simulated(run)
        tags = {k: v for k, v in dataset.items() if isinstance(v, str | int | bool) and k != "name"}
        self.batches(
            run_id, tags=[self.entities.RunTag(f"dataset.{k}", visible(str(v))) for k, v in tags.items()]
        )
        name, digest = str(dataset.get("name", "data")), str(dataset.get("digest", ""))
        if state.get("dataset") != digest:
            profile = json.dumps({"counts": dataset.get("counts", {})})
            self.client.log_inputs(run_id, datasets=[self.dataset(name, digest, "training", profile)])
        self.remember(dataset=digest, dataset_name=name)

    def log_round(self, report: Mapping[str, Any], folder: str) -> None:
        """Log one (round, arm) as a child run and its headline figures on the parent."""
        round_number, arm = int(report["round"]), str(report["arm"])
        files = within(self.run_folder, folder)
        tags = {k: str(report[k]) for k in ("round", "arm", "protocol") if k in report}
        tags |= {f"digest.{k}": str(v) for k, v in report.get("digests", {}).items()}
        shown = {k: str(report[k]) for k in ("round", "arm", "generator_saw") if k in report}
        if (report.get("labels") or {}).get("simulated") or in_train(self.run_folder):
            tags, shown = tags | SIMULATED, shown | SIMULATED
        with self._child(
            arm_label(round_number, arm), f"round {round_number} {arm}", report, tags, shown
        ) as child:
            if child is None:
                return
            run_id, time_ms = child
            shown_figures = headline(report, arm == main_arm(round_number))
            self._arm_metrics(run_id, report, files, time_ms)
            self.metrics(self.parent()[1], shown_figures, round_number, time_ms)
            log_files(self.client, run_id, files, report)
            self.show_arm(arm, time_ms)

    def log_trial(self, trial: Mapping[str, Any]) -> None:
        """Log one trial of a sweep as a child run: its settings, its val figures with step = round."""
        number = int(trial["trial"])
        tags = {"trial": str(number), "trial.status": str(trial["status"])}
        with self._child(
            f"trial/{number:04d}", f"trial {number}", trial, tags, parameters(trial["settings"])
        ) as child:
            if child is None:
                return
            run_id, time_ms = child
            for round_number, figures in trial["val"].items():
                self.metrics(run_id, figures, int(round_number), time_ms)
            self.metrics(run_id, {f"seconds/{k}": v for k, v in trial["seconds"].items()}, 0, time_ms)

    @contextmanager
    def _child(
        self,
        key: str,
        name: str,
        content: Mapping[str, Any],
        tags: Mapping[str, str],
        params: Mapping[str, str],
    ) -> Iterator[tuple[str, int] | None]:
        """Open the child run of ``key`` and close it at the end; None where this content was sent before.

        Yields its id, and the time that its metrics carry: that of the first attempt to send this content. MLflow keeps a
        metric that comes twice once, but with another time it would be another one.
        """
        experiment_id, parent_id = self.parent()
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        children = self.state()["rounds"]
        if children.get(key, {}).get("digest") == digest:
            yield None
            return
        run_key = f"{self.state()['run_key']}/{key}"
        run = self.find_or_create(experiment_id, children.get(key, {}).get("run_id"), run_key, name,
                        {"mlflow.parentRunId": parent_id, **tags})  # fmt: skip
        run_id = str(run.info.run_id)
        self.params(run, params)
        stale = {k: v for k, v in tags.items() if run.data.tags.get(k) != v}
        self.batches(run_id, tags=[self.entities.RunTag(k, v) for k, v in stale.items()])
        yield run_id, self.time_of(key, digest)
        self.client.set_terminated(run_id, status="FINISHED")
        sending = {name: begun for name, begun in self.state().get("sending", {}).items() if name != key}
        self.remember(rounds={**children, key: {"run_id": run_id, "digest": digest}}, sending=sending)

    def finish(self, status: str) -> None:
        """Attach the run's own files and tags to the parent run and close it."""
        _, run_id = self.parent()
        layout = RunLayout(self.run_folder)
        besides = BESIDES if layout.page.is_file() else None
        for path in layout.attached:
            if path.is_file():
                self.client.log_artifact(run_id, str(path), None if path == layout.page else besides)
        report = report_json.read_if_written(self.run_folder)
        if report is not None:
            names = [n for n in ("protocol", "split_digest", "config_digest") if n in report.model_fields_set]
            tags = {name: str(getattr(report, name)) for name in names} | failed_attempts(report)
            tags |= verdict_of(self.run_folder) if report.rounds else {}
            self.batches(run_id, tags=[self.entities.RunTag(k, v) for k, v in tags.items()])
            if in_run(self.run_folder, report):
                self._mark_simulated(self.client.get_run(run_id))
        self.client.set_terminated(run_id, status=status)

    def _mark_simulated(self, run: Any) -> None:
        self.params(run, SIMULATED)
        run_id = str(run.info.run_id)
        self.batches(run_id, tags=[self.entities.RunTag(k, v) for k, v in SIMULATED.items()])

    def _arm_metrics(self, run_id: str, report: Mapping[str, Any], files: Path, time_ms: int) -> None:
        """Log all figures of a (round, arm), those of val and test tied to its model and to the part they are of."""
        number, arm, state, flat = int(report["round"]), str(report["arm"]), self.state(), metrics(report)
        if (weights := files / WEIGHTS).is_file():
            model = self.logged_model(number, arm, checksum(weights)[:16], run_id)
            name, digest = state.get("dataset_name", "data"), str(state.get("dataset") or "")
            for part, use in PARTS.items():
                own = {key: flat.pop(key) for key in tuple(flat) if key.startswith(f"{part}/")}
                if own:
                    dataset = self.dataset(f"{name}, {part}", digest, use)
                    self.client.log_inputs(run_id, datasets=[dataset])
                    tied = {
                        "model_id": model.model_id,
                        "dataset_name": dataset.dataset.name,
                        "dataset_digest": dataset.dataset.digest,
                    }
                    self.metrics(run_id, own, number, time_ms, tied)
        self.metrics(run_id, flat, number, time_ms)

    def logged_model(self, number: int, arm: str, digest: str, source: str) -> Any:
        """Return the logged model of a (round, arm) with these weights, an output of the run ``source``."""
        key = f"{self.state()['run_key']}/{arm_label(number, arm)}/{digest}"
        return arm_model(
            self.client, self.entities, self.parent()[0],
            key=key, name=f"round {number} {arm}", source=source, step=number,
        )  # fmt: skip


def verdict_of(run_folder: Path) -> dict[str, str]:
    """Return the tags that say whether hard cases helped: a word, and MLflow's description; none where it cannot be told."""
    from engine.report.blocks.evidence import run_answer

    try:
        found = run_answer(run_folder)
    except HardcaseError:
        return {}
    return {VERDICT: found.verdict, "mlflow.note.content": f"{found.sentence} Why: {found.reason}."}


def within(run_folder: Path, name: str) -> Path:
    """Return a file or folder of the run; RefusedError where it leads out of it: nothing else is ever sent."""
    path = run_folder / name
    if not path.resolve().is_relative_to(run_folder.resolve()):
        raise RefusedError(f"{name} does not lie in the run folder")
    return path


def _asks_an_oracle(config: Mapping[str, Any]) -> bool:
    """Whether a run with this config buys labels of an oracle."""
    loop = config.get("loop") or {}
    arms = [ARMS[name] for name in loop.get("arms") or [] if name in ARMS]
    return loop.get("labels_from") == "oracle" and any(arm.labels for arm in arms)
