"""The sections that change no result: ``backend`` (but for threads, device and precision) and ``tracking``."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, field_validator

from engine.config.places import Address, Folder
from engine.config.sections import Section

_USER_AND_PASSWORD: Final = re.compile(r"(?!file:|sqlite:)[^.~][^@\s]*:[^@\s]*@")


def _number_or_range(workers: object) -> object:
    """Return a number as it stands, a list of two as a tuple; refuse what is neither."""
    if isinstance(workers, int) and not isinstance(workers, bool) and workers >= 0:
        return workers
    if (
        isinstance(workers, list | tuple)
        and len(workers) == 2
        and all(type(count) is int for count in workers)
    ):
        fewest, most = workers
        if 1 <= fewest <= most:
            return fewest, most
    raise ValueError("give a number, 0 or more, or [fewest, most] with 1 <= fewest <= most")


Workers = Annotated[int | tuple[int, int], BeforeValidator(_number_or_range)]
"""A number of workers, or the fewest and the most of an elastic training."""


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
    train_workers: Workers = Field(
        0,
        description="Ray Train workers per training; 0: in the stage's own task; [fewest, most]: as many as the cluster "
        "has room for, also when machines go or come in the middle of a training",
    )
    shard_optimizer: bool = Field(
        False,
        description="of each weight one train worker alone keeps Adam's moments and the average (ZeRO stage 1): less memory "
        "per worker, same results",
    )
    map_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="actors per map over images; 0: in the stage's own task"
    )
    gpus_per_worker: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="GPUs a task, train worker or map actor asks for"
    )
    stages_at_once: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="on Ray: how many stages may run side by side; null: as many as CPUs and GPUs allow when the run begins "
        "(give a number where the cluster grows later); 1: one after the other",
    )
    checkpoint_minutes: Annotated[float, Field(ge=0.0)] = Field(
        0.0,
        description="least minutes between two checkpoints of a training; 0: one every checkpoint_every steps. "
        "A checkpoint of Stable Diffusion is 15 GB",
    )
    scratch: Folder | None = Field(
        None,
        description="folder for this machine's copies where output is s3://...; null: HARDCASE_SCRATCH, else a cache folder",
    )
    scratch_gb: Annotated[float, Field(gt=0.0)] = Field(
        100.0, description="copies of stages that no process uses are removed above this"
    )
    precision: Literal["float32", "bf16", "fp16"] = Field(
        "float32",
        description="autocast precision; bf16 for a GPU, or a CPU that multiplies it natively; fp16 for a GPU",
    )

    @property
    def most_train_workers(self) -> int:
        """Ray Train workers that a training has at most; 0: none."""
        return self.train_workers if isinstance(self.train_workers, int) else self.train_workers[1]


class TrackingConfig(Section):
    """Where rounds are logged."""

    kind: Literal["mlflow", "none"] = Field("mlflow", description="mlflow or none")
    uri: Address | None = Field(
        None, description="tracking server; null: MLFLOW_TRACKING_URI, else mlflow.db beside output"
    )
    experiment: str | None = Field(None, description="experiment name; null: the config's name")
    system_metrics: bool = Field(
        False, description="log processor, memory, disk and GPUs of the machine that drives the run"
    )

    @field_validator("uri")
    @classmethod
    def _password_has_a_scheme(cls, uri: str | None) -> str | None:
        """Refuse a password that nothing could mask: only an address with :// shows where one stands."""
        if uri is not None and "://" not in uri and _USER_AND_PASSWORD.match(uri):
            raise ValueError(
                "user and password stand without a scheme before them; begin with http:// or another"
            )
        return uri
