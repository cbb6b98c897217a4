"""What a run asks of its machine, as MLflow's own monitor sees it: processor, memory, disk, network and GPUs."""

from __future__ import annotations

import threading
from typing import Any

from engine.tracking.sender import LOG


class MachineWatch:
    """Logs ``system/...`` of this machine to a run every ten seconds, beside it: it never raises and is never waited for.

    MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL sets the seconds. Workers on other machines are not seen.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        """Begin to watch, in a thread, for the parent run ``run_id`` of the server at ``uri``."""
        self._monitor: Any = None
        self._beginning = self._beside(self._begin, uri, run_id)

    def stop(self, patience: float) -> None:
        """Send what is left and end; after ``patience`` seconds without the server's answer, without it."""
        self._beside(self._end).join(patience)

    def _begin(self, uri: str, run_id: str) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
        self._monitor.start()

    def _end(self) -> None:
        self._beginning.join()
        if self._monitor is not None:
            self._monitor.finish()

    @staticmethod
    def _beside(work: Any, *arguments: Any) -> threading.Thread:
        def guarded() -> None:
            try:
                work(*arguments)
            except Exception as error:
                LOG.warning("tracking: this machine is not watched (%s)", error)

        thread = threading.Thread(target=guarded, name="hardcase-machine-watch", daemon=True)
        thread.start()
        return thread
