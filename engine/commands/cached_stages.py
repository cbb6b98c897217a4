"""A stage runner on a config's cache, for commands that make no run folder."""

from __future__ import annotations

from rich.console import Console

from engine import build
from engine.artifacts.own_output import mark
from engine.artifacts.run_layout import CACHE
from engine.commands.finished_run import local
from engine.commands.output_folder import say_output_inside_data
from engine.config import Config
from engine.execution.backend import LocalBackend
from engine.execution.progress import RichListener
from engine.store import StageRunner
from engine.store.files import ensure_writable
from engine.store.local_copy import open_output


def open_cache(config: Config, console: Console) -> tuple[Config, StageRunner]:
    """Return a config for this machine alone, and a runner in this process on ``<output>/stages``.

    Raises:
        DataError: the output folder cannot be written.
    """
    config = local(config)
    root = open_output(config) / CACHE
    say_output_inside_data(config, console)
    ensure_writable(root)
    mark(root, "stages")
    device = build.choose_device(config.backend)
    return config, build.make_runner(config, root, LocalBackend(), device, RichListener(console))
