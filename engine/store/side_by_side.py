"""Runs stages side by side: each begins as soon as its inputs are there, while the caller goes on to the next.

A stage's key follows from its params and the keys of its inputs, so it is known before anything has run. What is returned is
a folder that is still to come: to read anything of it but name and key is to wait for it. So the order of the stages stands
in the loop alone, and what may run at once follows from what reads what.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Final

from engine.stages.base import P, Stage
from engine.store.cache import Listener, StageFolder, StageRunner
from engine.types import Failure

WAITING: Final = 64
"""How many stages may run or wait for their inputs at once; they are taken up in the order in which they were asked for."""


class PendingStage(StageFolder):
    """A stage that runs now, or waits for its inputs. Its path, seconds and outcome are there when it is.

    Reading them raises what stopped it, or what stopped another stage of the run in the meantime.
    """

    def __init__(self, name: str, key: str, outcome: Future[StageFolder], trouble: Future[None]) -> None:
        """Take the stage's outcome to come, and the future that fails as soon as any stage of the run does."""
        vars(self).update(name=name, key=key, _outcome=outcome, _trouble=trouble)

    @property
    def ready(self) -> bool:
        """Whether the stage has finished; one that failed never has, and raises when it is read."""
        outcome: Future[StageFolder] = vars(self)["_outcome"]
        return outcome.done() and outcome.exception() is None

    @property
    def finished(self) -> StageFolder:
        """The finished folder, once it is there."""
        outcome, trouble = vars(self)["_outcome"], vars(self)["_trouble"]
        wait((outcome, trouble), return_when=FIRST_COMPLETED)
        if not outcome.done():
            trouble.result()
        found: StageFolder = outcome.result()
        return found

    @property
    def path(self) -> Path:
        """The stage's folder."""
        return self.finished.path

    @property
    def seconds(self) -> float:
        """How long its computation took."""
        return self.finished.seconds

    @property
    def cached(self) -> bool:
        """Whether the cache held it."""
        return self.finished.cached

    @property
    def failed(self) -> tuple[Failure, ...]:
        """The attempts that failed before."""
        return self.finished.failed


class SideBySide:
    """Takes the place of a ``StageRunner`` whose backend can run several stages at once."""

    def __init__(self, runner: StageRunner) -> None:
        self.runner = replace(runner, listener=OneAtATime(runner.listener))
        self.cache = runner.cache
        self.device = runner.device
        self._threads = ThreadPoolExecutor(WAITING, thread_name_prefix="stage")
        self._trouble: Future[None] = Future()
        self._lock = threading.Lock()

    def __call__(
        self, stage: Stage[P], params: P, *, inputs: Mapping[str, StageFolder] | None = None, seed: int = 0
    ) -> StageFolder:
        """Return the stage's folder, which may still be to come.

        Raises:
            StageError: the stage is not given the inputs it needs.
        """
        inputs = inputs or {}
        key = self.runner.key(stage, params, inputs=inputs, seed=seed)
        outcome = self._threads.submit(self._run, stage, params, inputs, seed)
        return PendingStage(stage.name, key, outcome, self._trouble)

    def close(self) -> None:
        """Wait for the threads; the backend was told to stop what still runs, and what has not begun never does."""
        self._fail(RuntimeError("the run is over"))
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(self, stage: Stage[P], params: P, inputs: Mapping[str, StageFolder], seed: int) -> StageFolder:
        try:
            ready = {role: _finished(folder) for role, folder in inputs.items()}
            if self._trouble.done():
                self._trouble.result()
            return self.runner(stage, params, inputs=ready, seed=seed)
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        """Note the first trouble."""
        with self._lock:
            if not self._trouble.done():
                self._trouble.set_exception(error)


def _finished(folder: StageFolder) -> StageFolder:
    return folder.finished if isinstance(folder, PendingStage) else folder


class OneAtATime:
    """A listener that may be told from several threads; the one inside hears one thing at a time."""

    def __init__(self, inner: Listener) -> None:
        self.inner = inner
        self._lock = threading.Lock()

    def stage_started(self, name: str, key: str) -> None:
        """Pass it on."""
        with self._lock:
            self.inner.stage_started(name, key)

    def progress(self, key: str, what: str, done: int, total: int) -> None:
        """Pass it on."""
        with self._lock:
            self.inner.progress(key, what, done, total)

    def stage_finished(self, folder: StageFolder) -> None:
        """Pass it on."""
        with self._lock:
            self.inner.stage_finished(folder)
