"""The MLflow tracker: keeps each call, sends it from a thread of its own, and never raises or waits for a server."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine.artifacts import champion as champion_file
from engine.artifacts.champion import Champion
from engine.artifacts.digests import checksum
from engine.artifacts.run_layout import RunLayout, arm_label
from engine.artifacts.secrets import MASK, without_secrets
from engine.errors import DataError
from engine.tracking.champion_model import export_champion
from engine.tracking.machine_watch import MachineWatch
from engine.tracking.outbox import Entry, Outbox
from engine.tracking.registry import register
from engine.tracking.run_log import RunLog
from engine.tracking.sender import LOG, RefusedError, Sender, is_refusal

if TYPE_CHECKING:
    from engine.config import Config

ExportModel = Callable[[Path, Path], None]
"""From a published classifier.safetensors to the folder of an MLflow model, whole or absent."""

GIVE_UP_AFTER = 10.0
"""Seconds a call may hold up the run when a server does not answer."""
FINISH_PATIENCE = 60.0
"""Seconds the end of a run waits for a server that answers while a model goes up; one that is silent fails before."""
LOCAL_PATIENCE = 300.0
"""Seconds for a database file on this machine, which is slow at times (its tables are made once) but never hangs."""


class MlflowTracker:
    """One experiment a config name, a parent run a loop or sweep, a child run a (round, arm) or trial.

    Without a server everything goes to ``mlflow.db`` and ``mlartifacts`` beside the output folder. A server is given
    by ``uri`` or MLFLOW_TRACKING_URI; what it does not take within ``give_up_after`` seconds is kept in
    ``RUN/tracking_outbox`` and sent when the run ends or is started again.
    """

    def __init__(
        self,
        *,
        output: Path,
        experiment: str,
        export: ExportModel,
        uri: str | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        notify: Callable[[str], None] = LOG.warning,
        system_metrics: bool = False,
    ) -> None:
        """Take the places to log to; nothing is opened before ``start``."""
        given = uri or os.environ.get("MLFLOW_TRACKING_URI") or default_uri(output)
        self.uri = without_secrets(given) if MASK in given else given  # of a run's own config.yaml
        self._local = urlsplit(self.uri).scheme in ("sqlite", "file", "")
        self._database = self.uri.removeprefix("sqlite:///") if self.uri.startswith("sqlite:///") else None
        self._artifacts = (output.resolve().parent / "mlartifacts").as_uri() if self._local else None
        self._experiment = experiment
        self._export = export
        self._patience = LOCAL_PATIENCE if self._local else give_up_after
        self._finish_patience = FINISH_PATIENCE * give_up_after / GIVE_UP_AFTER
        self._notify = notify
        self._system_metrics = system_metrics
        self._watch: MachineWatch | None = None
        self._log: RunLog | None = None
        self._open: Callable[[], RunLog] | None = None
        self._sender: Sender | None = None

    @classmethod
    def create(cls, config: Config, *, export: ExportModel | None = None) -> MlflowTracker:
        """Return the tracker of a config: its experiment is the config's name unless ``tracking.experiment`` is set."""
        return cls(
            output=Path(config.output),
            experiment=config.tracking.experiment or config.name,
            export=export or partial(export_champion, fit=config.data.fit),
            uri=config.tracking.uri,
            system_metrics=config.tracking.system_metrics,
        )

    def start(self, *, config: Mapping[str, Any], dataset: Mapping[str, Any], run_folder: Path) -> None:
        """Open or resume the parent run, and send what an earlier process could not; a store that fails is kept for."""
        quiet_mlflow(self._patience)  # imported here: its seconds are no silence of a server
        self._open = partial(self._open_log, run_folder)
        self._sender = Sender(Outbox(run_folder), self._send, notify=self._notify)
        self._call("start", "start", config=dict(config), dataset=dict(dataset))
        if self._system_metrics and self._log is not None and "run_id" in (state := self._log.state()):
            self._watch = MachineWatch(self.uri, state["run_id"])

    def _open_log(self, run_folder: Path) -> RunLog:
        """Open the store; a database file that cannot be written fails at once (MLflow would try for minutes)."""
        mlflow = quiet_mlflow(self._patience)
        if self._database is not None:
            with contextlib.closing(sqlite3.connect(self._database, timeout=60.0)) as database:
                database.execute("pragma schema_version")
                database.execute("begin immediate")
        return RunLog(
            client=mlflow.MlflowClient(self.uri),
            entities=mlflow.entities,
            run_folder=run_folder,
            uri=without_secrets(self.uri),
            experiment=self._experiment,
            artifact_location=self._artifacts,
        )

    def log_round(self, report: Mapping[str, Any], folder: Path, run_folder: Path) -> None:
        """Log one (round, arm) with its figures and files."""
        where = folder.resolve().relative_to(run_folder.resolve()).as_posix()
        key = f"log_round/{arm_label(report['round'], report['arm'])}"
        self._call("log_round", key, report=dict(report), folder=where)

    def log_trial(self, trial: Mapping[str, Any], run_folder: Path) -> None:
        """Log one trial of a sweep with its settings and its val figures per round."""
        self._call("log_trial", f"log_trial/{trial['trial']:04d}", trial=dict(trial))

    def register_champion(self, champion: Mapping[str, Any], run_folder: Path) -> None:
        """Export the champion here, then log and register it; its alias moves only when val picks it."""
        self._register(champion, run_folder, final=False)

    def finish(self, status: str, run_folder: Path) -> None:
        """Settle who is champion and close the parent run; a server that failed is tried once more."""
        if self._watch is not None:
            self._watch.stop(self._patience)
            self._watch = None
        if self._sender is not None:
            self._sender.retry()
            self._patience = max(self._patience, self._finish_patience)
        if status == "FINISHED" and Champion.present(run_folder):
            self._register(champion_file.read(run_folder).to_json(), run_folder, final=True)
        self._call("finish", "finish", status=status)

    def _register(self, champion: Mapping[str, Any], run_folder: Path, *, final: bool) -> None:
        if self._sender is None:
            return
        number, arm = int(champion["round"]), str(champion["arm"])
        weights = RunLayout(run_folder).weights(number, arm)
        try:
            weights_digest = checksum(weights)[:16]
            digest = f"{arm_label(number, arm)}/{weights_digest}"
            folder = Outbox(run_folder).folder / f"model-{weights_digest}"
            sent = {} if self._log is None else self._log.state().get("champions", {})
            if digest not in sent and not (folder / "MLmodel").exists():
                self._export(weights, folder)
        except Exception as error:
            self._notify(
                f"tracking: {weights} could not be exported ({error}); the champion is not registered"
            )
            return
        self._call(
            "register_champion",
            f"register_champion/{digest}",
            champion=dict(champion),
            digest=digest,
            model=folder.relative_to(run_folder).as_posix(),
            final=final,
        )

    def _call(self, call: str, key: str, **arguments: Any) -> None:
        if self._sender is None:
            return
        try:
            self._sender.outbox.put(Entry(call=call, key=key, arguments=arguments), first=call == "start")
        except (OSError, DataError) as error:
            self._notify(f"tracking: {key} could not be kept ({error}); it is not logged")
            return
        self._sender.flush(self._patience)

    def _send(self, entry: Entry) -> None:
        from mlflow.exceptions import MlflowException

        if self._log is None:
            assert self._open is not None
            self._log = self._open()
        try:
            if entry.call == "register_champion":
                register(self._log, **entry.arguments)
            else:
                self._log.send(entry)
        except MlflowException as error:
            if is_refusal(error):
                raise RefusedError(str(error)) from error
            raise


def default_uri(output: Path) -> str:
    """The database file beside the output folder: ``runs`` gives ``sqlite:///.../mlflow.db``."""
    return f"sqlite:///{(output.resolve().parent / 'mlflow.db').as_posix()}"


def quiet_mlflow(patience: float) -> Any:
    """Import mlflow without telemetry, chatter, progress bars, retries; requests end after ``patience`` seconds."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(math.ceil(min(patience, GIVE_UP_AFTER))))
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow
