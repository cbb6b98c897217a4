"""A logged model of MLflow for the classifier of each (round, arm), so that figures stand with the model they are of.

Weights stay in the run folder; those of a champion go up as well, into the same logged model (registry.py).
"""

from __future__ import annotations

from typing import Any, Final

from engine.tracking.remembered import KEY

EXTERNAL: Final = "mlflow.model.isExternal"
"""MLflow's tag of a model whose files it does not have."""


def arm_model(
    client: Any, entities: Any, experiment_id: str, *, key: str, name: str, source: str, step: int
) -> Any:
    """Return the logged model of ``key``, an output of the run ``source``; made where it is not there yet.

    Args:
        client: an MlflowClient.
        entities: the module mlflow.entities.
        experiment_id: where it belongs.
        key: the run, its (round, arm) and a digest of the weights; what was made just before a kill is found by it.
        name: what MLflow shows, without any of ``/:.%"'``.
        source: id of the child run whose figures are the model's.
        step: the round.
    """
    begun = client.search_logged_models([experiment_id], filter_string=f"tags.`{KEY}` = '{key}'")
    model = begun[0] if begun else client.create_logged_model(
        experiment_id, name=name, source_run_id=source, tags={KEY: key, EXTERNAL: "true"}
    )  # fmt: skip
    if not begun or str(model.status) != "READY":
        client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(source).outputs
    if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
        client.log_outputs(source, [entities.LoggedModelOutput(model.model_id, step)])
    return model


def upload(client: Any, model: Any, folder: str) -> None:
    """Put the files of an exported model into its logged model, which MLflow then has."""
    client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    if EXTERNAL in client.get_logged_model(model.model_id).tags:
        client.delete_logged_model_tag(model.model_id, EXTERNAL)
