"""The sections that change no result: ``backend`` (but for threads, device and precision) and ``tracking``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.config.sections import Section


class BackendConfig(Section):
    """Where stages run."""

    kind: Literal["local", "ray"] = Field("local", description="in this process, or as Ray tasks")
    address: str | None = Field(
        None, description="Ray head (ray://host:10001 or host:6379); null: start Ray here"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="where tensors live; auto: a GPU if there is one"
    )
    threads: Annotated[int, Field(ge=1)] = Field(
        2, description="torch threads per stage; results differ between 1 and 2"
    )
    train_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="Ray Train workers a training; 0: in the stage's own task"
    )
    map_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="actors per map over images; 0: in the stage's own task"
    )
    gpus_per_worker: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="GPUs a task, train worker or map actor asks for"
    )
    checkpoint_minutes: Annotated[float, Field(ge=0.0)] = Field(
        0.0,
        description="least minutes between two checkpoints of a training; 0: one every checkpoint_every steps. "
        "A checkpoint of Stable Diffusion is 15 GB",
    )
    precision: Literal["float32", "bf16", "fp16"] = Field(
        "float32", description="autocast precision; bf16 or fp16 for a GPU"
    )


class TrackingConfig(Section):
    """Where rounds are logged."""

    kind: Literal["mlflow", "none"] = Field("mlflow", description="mlflow or none")
    uri: str | None = Field(
        None, description="tracking server; null: MLFLOW_TRACKING_URI, else mlflow.db beside output"
    )
    experiment: str | None = Field(None, description="experiment name; null: the config's name")
