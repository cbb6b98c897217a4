"""Turns each kept call into requests to an MLflow client; every one may be repeated without leaving a trace twice.

Run ids live in ``RUN/mlflow.json``; what was created just before a kill is found again by its ``hardcase.key`` tag.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from engine.arms import ARMS
from engine.artifacts import report_json
from engine.artifacts.csv_text import write_csv
from engine.artifacts.run_layout import RunLayout, arm_label, main_arm
from engine.artifacts.visible_text import visible
from engine.labelling.oracle import MARK
from engine.labelling.simulated import in_run, in_train
from engine.tracking.confusion import confusion_png
from engine.tracking.flatten import (
    TABLE,
    failed_attempts,
    figures_table,
    headline,
    metric_name,
    metrics,
    parameters,
)
from engine.tracking.outbox import Entry
from engine.tracking.remembered import Remembered
from engine.tracking.sender import RefusedError

ARTIFACT_KINDS = (".json", ".parquet", ".png", ".html")
KEY = "hardcase.key"
"""Tag by which what was created just before a kill is found again."""
BATCH = 100
"""Parameters, tags or metrics a request (MLflow takes 100 parameters)."""
SIMULATED = {"labels": MARK}
"""Tag and parameter of a run whose figures rest on labels of an oracle."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Marks an experiment as one of model training. MLflow 3.17 opens on traces even so, unless its address says otherwise."""


@dataclass(kw_only=True)
class RunLog(Remembered):
    """Sends the calls of one run folder; ``client`` is an MlflowClient, ``entities`` the module mlflow.entities."""

    client: Any
    entities: Any
    artifact_location: str | None = None

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
        experiment_id = self._experiment()
        state = self.state()
        run = self._run(experiment_id, state.get("run_id"), state["run_key"], config.get("name", "run"), {})
        if run.info.run_id != state.get("run_id"):
            self.remember(experiment_id=experiment_id, run_id=run.info.run_id, rounds={}, sending={})
        run_id = run.info.run_id
        self.client.update_run(run_id, status="RUNNING")
        self._params(run, parameters(config))
        if _asks_an_oracle(config) or in_train(self.run_folder):
            self._mark_simulated(run)
        tags = {k: v for k, v in dataset.items() if isinstance(v, str | int | bool) and k != "name"}
        self._batches(
            run_id, tags=[self.entities.RunTag(f"dataset.{k}", visible(str(v))) for k, v in tags.items()]
        )
        if state.get("dataset") != dataset.get("digest"):
            self.client.log_inputs(run_id, datasets=[self._dataset(dataset)])
            self.remember(dataset=dataset.get("digest"))

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
            self._metrics(run_id, metrics(report), round_number, time_ms)
            self._metrics(self.parent()[1], shown_figures, round_number, time_ms)
            self._artifacts(run_id, files)
            self._figures(run_id, report)
            self._confusion(run_id, report)

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
                self._metrics(run_id, figures, int(round_number), time_ms)
            self._metrics(run_id, {f"seconds/{k}": v for k, v in trial["seconds"].items()}, 0, time_ms)

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
        run = self._run(experiment_id, children.get(key, {}).get("run_id"), run_key, name,
                        {"mlflow.parentRunId": parent_id, **tags})  # fmt: skip
        run_id = str(run.info.run_id)
        self._params(run, params)
        stale = {k: v for k, v in tags.items() if run.data.tags.get(k) != v}
        self._batches(run_id, tags=[self.entities.RunTag(k, v) for k, v in stale.items()])
        yield run_id, self.time_of(key, digest)
        self.client.set_terminated(run_id, status="FINISHED")
        sending = {name: begun for name, begun in self.state().get("sending", {}).items() if name != key}
        self.remember(rounds={**children, key: {"run_id": run_id, "digest": digest}}, sending=sending)

    def finish(self, status: str) -> None:
        """Attach the run's own files and tags to the parent run and close it."""
        _, run_id = self.parent()
        for path in RunLayout(self.run_folder).attached:
            if path.is_file():
                self.client.log_artifact(run_id, str(path))
        report = report_json.read_if_written(self.run_folder)
        if report is not None:
            names = [n for n in ("protocol", "split_digest", "config_digest") if n in report.model_fields_set]
            tags = {name: str(getattr(report, name)) for name in names} | failed_attempts(report)
            self._batches(run_id, tags=[self.entities.RunTag(k, v) for k, v in tags.items()])
            if in_run(self.run_folder, report):
                self._mark_simulated(self.client.get_run(run_id))
        self.client.set_terminated(run_id, status=status)

    def _params(self, run: Any, params: Mapping[str, str]) -> None:
        """Log the parameters that a run does not have yet: MLflow refuses to change one."""
        known = run.data.params
        new = [self.entities.Param(k, v) for k, v in params.items() if k not in known]
        self._batches(str(run.info.run_id), params=new)

    def _mark_simulated(self, run: Any) -> None:
        self._params(run, SIMULATED)
        run_id = str(run.info.run_id)
        self._batches(run_id, tags=[self.entities.RunTag(k, v) for k, v in SIMULATED.items()])

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            return str(
                self.client.create_experiment(
                    self.experiment, artifact_location=self.artifact_location, tags=KIND
                )
            )
        if found.lifecycle_stage == "deleted":
            raise RefusedError(
                f"experiment {self.experiment} is deleted; restore it or give tracking.experiment=OTHER"
            )
        if not found.tags.keys() & KIND.keys():
            for key, value in KIND.items():
                self.client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)

    def _run(
        self, experiment_id: str, run_id: str | None, key: str, name: str, tags: Mapping[str, str]
    ) -> Any:
        """Return the run of ``key``: by id, else by its tag, else a new one."""
        query = f"tags.`{KEY}` = '{key}'"
        found = self.client.search_runs([experiment_id], filter_string=query, max_results=10)
        for run in found:
            if run_id is None or run.info.run_id == run_id:
                return run
        if found:
            return found[0]
        return self.client.create_run(experiment_id, run_name=name, tags={**tags, KEY: key})

    def _dataset(self, dataset: Mapping[str, Any]) -> Any:
        source = json.dumps({"uri": str(RunLayout(self.run_folder).split.resolve())})
        entity = self.entities.Dataset(
            name=str(dataset.get("name", "data")),
            digest=str(dataset.get("digest", ""))[:36],
            source_type="local",
            source=source,
            profile=json.dumps({"counts": dataset.get("counts", {})}),
        )
        return self.entities.DatasetInput(entity, [self.entities.InputTag("mlflow.data.context", "training")])

    def _metrics(self, run_id: str, values: Mapping[str, float], step: int, time_ms: int) -> None:
        self._batches(
            run_id,
            metrics=[self.entities.Metric(metric_name(k), v, time_ms, step) for k, v in values.items()],
        )

    def _batches(self, run_id: str, **items: list[Any]) -> None:
        for kind, entries in items.items():
            for start in range(0, len(entries), BATCH):
                self.client.log_batch(run_id, **{kind: entries[start : start + BATCH]})

    def _artifacts(self, run_id: str, folder: Path) -> None:
        files = sorted(p for p in folder.glob("*") if p.is_file()) if folder.is_dir() else []
        for path in files:
            if path.suffix in ARTIFACT_KINDS and not path.name.startswith("."):
                self.client.log_artifact(run_id, str(path))

    def _figures(self, run_id: str, report: Mapping[str, Any]) -> None:
        """Log every figure with its interval as one table, which MLflow shows as such."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "figures.csv"
            write_csv(pd.DataFrame(figures_table(report), columns=list(TABLE)), path)
            self.client.log_artifact(run_id, str(path))

    def _confusion(self, run_id: str, report: Mapping[str, Any]) -> None:
        for split in ("val", "test"):
            table = (report.get(split) or {}).get("confusion")
            if not table:
                continue
            title = f"round {report['round']} {report['arm']}, {split}"
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / f"confusion_{split}.png"
                path.write_bytes(confusion_png(table["classes"], table["counts"], title))
                self.client.log_artifact(run_id, str(path))


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
