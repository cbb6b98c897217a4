"""Requests to an MLflow client, each of which may be repeated without leaving a trace twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.artifacts.run_layout import RunLayout
from engine.tracking import saved_view
from engine.tracking.flatten import metric_name
from engine.tracking.remembered import KEY, Remembered
from engine.tracking.sender import LOG, RefusedError, is_refusal

BATCH = 100
"""Parameters, tags or metrics a request (MLflow takes 100 parameters)."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Marks an experiment as one of model training. MLflow 3.17 opens on traces even so, unless its address says otherwise."""

ABOUT = {
    "mlflow.note.content": "**hardcase**: with and without synthetic hard cases. Helped? List view, column *verdict*. "
    "Next step: report.html of a run"
}
"""One line, which MLflow shows above the runs of an experiment that hardcase made."""


@dataclass(kw_only=True)
class Requests(Remembered):
    """What a run folder asks of a server; ``client`` is an MlflowClient, ``entities`` the module mlflow.entities."""

    client: Any
    entities: Any
    artifact_location: str | None = None

    def params(self, run: Any, params: Mapping[str, str]) -> None:
        """Log the parameters that a run does not have yet: MLflow refuses to change one."""
        known = run.data.params
        new = [self.entities.Param(k, v) for k, v in params.items() if k not in known]
        self.batches(str(run.info.run_id), params=new)

    def open_experiment(self) -> str:
        """Return the experiment's id, made where it is not there; RefusedError where somebody deleted it."""
        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            found = self._new_experiment()
        if found.lifecycle_stage == "deleted":
            raise RefusedError(
                f"experiment {self.experiment} is deleted; restore it or give tracking.experiment=OTHER"
            )
        if not found.tags.keys() & KIND.keys():
            for key, value in KIND.items():
                self.client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)

    def _new_experiment(self) -> Any:
        """Make the experiment; where another run has made it since this one looked it is that one."""
        from mlflow.exceptions import MlflowException

        try:
            made = self.client.create_experiment(
                self.experiment, artifact_location=self.artifact_location, tags=KIND | ABOUT
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return self.client.get_experiment_by_name(self.experiment)
        return self.client.get_experiment(made)

    def show_arm(self, arm: str, time_ms: int) -> None:
        """Add an arm to the saved view of the experiment; a server that will not have it is left without one."""
        from mlflow.exceptions import MlflowException

        experiment_id = self.state()["experiment_id"]
        found = self.client.get_experiment(experiment_id).tags.get(saved_view.TAG)
        if (text := saved_view.with_arm(found, arm, time_ms)) is not None:
            try:
                self.client.set_experiment_tag(experiment_id, saved_view.TAG, text)
            except MlflowException as error:
                if not is_refusal(error):
                    raise
                LOG.warning("the view of arms by round was refused: %s", error)
                return
        self.remember(view=saved_view.VIEW)

    def find_or_create(
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

    def dataset(self, name: str, digest: str, use: str, profile: str | None = None) -> Any:
        """Return the input of a run that names images, and their use: training, validation, testing."""
        source = json.dumps({"uri": str(RunLayout(self.run_folder).split.resolve())})
        entity = self.entities.Dataset(name, digest[:36], source_type="local", source=source, profile=profile)
        return self.entities.DatasetInput(entity, [self.entities.InputTag("mlflow.data.context", use)])

    def metrics(
        self,
        run_id: str,
        values: Mapping[str, float],
        step: int,
        time_ms: int,
        tied: Mapping[str, str] | None = None,
    ) -> None:
        """Log figures; ``tied``: model_id, dataset_name, dataset_digest of what they belong to."""
        metric, tied = self.entities.Metric, tied or {}
        self.batches(
            run_id, metrics=[metric(metric_name(k), v, time_ms, step, **tied) for k, v in values.items()]
        )

    def batches(self, run_id: str, **items: list[Any]) -> None:
        """Log metrics, params or tags, BATCH per request."""
        for kind, entries in items.items():
            for start in range(0, len(entries), BATCH):
                self.client.log_batch(run_id, **{kind: entries[start : start + BATCH]})
