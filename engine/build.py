"""The composition root: from a validated config to wired objects. Ray and MLflow are imported here, inside functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from engine.checked_config import load  # noqa: F401  (what callers of `build` load configs with)
from engine.config import BackendConfig, Config
from engine.config.local_weights import weights_problems
from engine.config.pretrained_parts import parts_problems
from engine.config.tracking_place import database_problems, scratch_problems
from engine.errors import ConfigError, DataError
from engine.execution.backend import Backend, LocalBackend, StageCall, run_here
from engine.execution.noted_progress import NotedProgress
from engine.execution.progress import QuietListener
from engine.loop import Loop
from engine.stages.base import P, Stage
from engine.store import Listener, RunFolder, StageCache, StageRunner
from engine.store.side_by_side import SideBySide
from engine.store.stored_run import stored_run
from engine.tracking.base import NullTracker, Tracker
from policies import registry


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Everything a run or a command needs, built from one config."""

    config: Config
    folder: RunFolder
    runner: StageRunner | SideBySide
    backend: Backend
    tracker: Tracker

    def close(self) -> None:
        """End what still runs, and give back what the backend holds."""
        if isinstance(self.runner, SideBySide):
            self.backend.stop()
            self.runner.close()
        self.backend.close()

    def loop(self, *, data_fingerprint: str | None = None, page: bool = True) -> Loop:
        """Return the loop over these parts; ``page``: whether it draws report.html when it ends."""
        from engine.data.fingerprint import fingerprint

        return Loop(
            self.config,
            runner=self.runner,
            folder=self.folder,
            tracker=self.tracker,
            stopping=registry.make("stopping", self.config.policy.stopping),
            fingerprint=data_fingerprint or fingerprint(self.config.data, self.runner.cache.root),
            render=_write_report if page else lambda _run: None,
        )


def wire(
    config: Config,
    *,
    listener: Listener | None = None,
    fresh: bool = False,
    folder: RunFolder | None = None,
    track: bool = True,
    profile: bool = False,
) -> Wiring:
    """Build the parts; makes or reopens the run folder unless one is given. ``profile``: stages tell what takes their time.

    Raises:
        ConfigError, DataError: the run folder is another config's, not writable, or Ray does not answer.
    """
    device = choose_device(config.backend)
    folder = folder if folder is not None else RunFolder.create(config)
    backend = make_backend(config.backend, folder.layout.profile if profile else None)
    runner: StageRunner | SideBySide
    runner = make_runner(config, folder.cache_root, backend, device, listener or QuietListener(), fresh=fresh)
    if config.backend.kind == "ray" and config.backend.stages_at_once != 1:
        runner = SideBySide(replace(runner, slot=backend.slot))
    tracker = make_tracker(config) if track else NullTracker()
    return Wiring(config=config, folder=folder, runner=runner, backend=backend, tracker=tracker)


def open_run(path: Path) -> RunFolder:
    """Open a run folder; DataError where it is none."""
    return RunFolder.open(path)


def run(
    config: Config, *, listener: Listener | None = None, fresh: bool = False, profile: bool = False
) -> tuple[RunFolder, dict[str, Any]]:
    """Run the whole loop (or resume it) and write the report; returns the run folder and report.json's object.

    Args:
        config: what to run.
        listener: hears of every stage.
        fresh: compute every stage anew.
        profile: leave a trace and a table of operations of every stage that is computed, in RUN/profile.
    """
    check_models(config)
    with stored_run(config) as mirror:
        folder = RunFolder.create(config)
        listener = listener or QuietListener()
        told = listener if mirror is None else mirror.listening(listener)
        return _run(config, folder, told, fresh=fresh, profile=profile)


def _run(
    config: Config, folder: RunFolder, listener: Listener, *, fresh: bool, profile: bool
) -> tuple[RunFolder, dict[str, Any]]:
    if folder.layout.is_sweep:
        raise ConfigError(f"{folder.path}: holds a sweep of `hardcase tune`; give name=OTHER")
    lock = folder.begin()
    noted = NotedProgress(listener, folder.path)
    try:
        wiring = wire(config, listener=noted, fresh=fresh, folder=folder, profile=profile)
        try:
            report = wiring.loop().play()
        finally:
            wiring.close()
        return folder, report
    finally:
        noted.close()
        lock.release()


def check_models(config: Config) -> None:
    """Refuse what could not be loaded hours later, before anything is computed.

    Raises:
        ConfigError: a line for every key of ``model_problems``.
    """
    problems = model_problems(config)
    if problems:
        raise ConfigError("\n".join(problems))


def model_problems(config: Config) -> list[str]:
    """Return a message for each classifier that cannot be built, each path without weights, and each part that does not fit.

    Also where an optimizer lacks its library, the tracking database could not be addressed, or nodes of a cluster would not
    see the stages.
    """
    from engine.training.optimizers import optimizer_problems

    asked = config.backend.device
    # a device that is named and absent is refused elsewhere
    device = choose_device(config.backend) if asked == "auto" else asked
    return [
        *classifier_problems(config),
        *weights_problems(config),
        *parts_problems(config),
        *optimizer_problems(config, device),
        *database_problems(config),
        *scratch_problems(config),
    ]


def classifier_problems(config: Config) -> list[str]:
    """Return why the classifier or the judge cannot be built: name, image size, stem, or weights of another model.

    Both are built as their stages build them; the library's own weights (``pretrained: true``) are left to the download.
    """
    from engine.classifier.model import build_model

    problems = []
    for section in ("classifier", "judge"):
        part = getattr(config, section)
        local = part.pretrained if isinstance(part.pretrained, str) else False
        try:
            build_model(part.model, 2, config.data.image_size, local, part.small_stem)
        except ConfigError as error:
            problems.append(f"{section}.{error}")
        except DataError as error:
            problems.append(f"{section}.pretrained: {error}")
    return problems


def _write_report(path: Path) -> None:
    from engine.report.run_page import write_report

    write_report(path)


def make_runner(
    config: Config,
    root: Path,
    backend: Backend,
    device: str,
    listener: Listener,
    *,
    fresh: bool = False,
) -> StageRunner:
    """Return a runner over the stage cache at ``root``."""
    return StageRunner(
        cache=StageCache(root),
        backend=backend,
        threads=config.backend.threads,
        device=device,
        precision=config.backend.precision,
        listener=listener,
        fresh=fresh,
    )


def make_backend(config: BackendConfig, profile: Path | None = None) -> Backend:
    """Return the local backend, or Ray's; ``profile``: folder in which stages tell what takes their time."""
    if config.kind == "local":
        return LocalBackend(config.checkpoint_minutes, profile)
    from engine.execution.ray_backend import RayBackend

    return RayBackend(config, profile)


def make_tracker(config: Config) -> Tracker:
    """Return the MLflow tracker, or the one that keeps nothing."""
    if config.tracking.kind == "none":
        return NullTracker()
    from engine.tracking.mlflow_tracker import MlflowTracker

    return MlflowTracker.create(config)


def run_stage_here(
    config: Config,
    stage: Stage[P],
    params: P,
    *,
    out: Path,
    inputs: Mapping[str, Path],
    seed: int,
    progress: Callable[[str, str, int, int], None],
    profile: Path | None = None,
) -> Path:
    """Run one stage in this process into the new folder ``out``, beside the cache; return ``out``.

    ``profile``: folder for a trace and a table of what takes its time. ``inputs`` may hold more folders than the
    stage takes. Checkpoints go to ``<out>.checkpoint``. ``progress``: a listener's; the stage has no key, so it is told "".
    """
    out.mkdir()
    call = StageCall(
        stage=stage.name,
        out=out.resolve(),
        inputs={role: path.resolve() for role, path in inputs.items() if stage.takes(role)},
        params=params.to_json(),
        seed=seed,
        threads=config.backend.threads,
        device=choose_device(config.backend),
        precision=config.backend.precision,
        checkpoint=out.resolve().with_name(f"{out.name}.checkpoint"),
    )
    run_here(call, partial(progress, ""), profile=profile)
    return out


def choose_device(config: BackendConfig) -> str:
    """Return the torch device of ``backend.device``.

    Raises:
        ConfigError: a device is asked for that this machine (or, on Ray, its GPU tasks) does not have.
    """
    if config.kind == "ray":
        if config.device == "auto":
            return "cuda" if config.gpus_per_worker > 0 else "cpu"
        return config.device
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if config.device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available[config.device]:
        raise ConfigError(f"backend.device: {config.device} is not available here; use auto or cpu")
    return config.device
