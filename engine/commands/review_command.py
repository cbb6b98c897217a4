"""`hardcase review` and `hardcase watch`: a web page on this machine for labels, verdicts, and the run in progress."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path

from rich.console import Console

from engine import build
from engine.artifacts.run_layout import RunLayout
from engine.artifacts.visible_text import visible
from engine.errors import ConfigError, DataError


def review(
    run: Path,
    console: Console,
    *,
    reader: str | None = None,
    show_guess: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
    open_browser: bool = False,
) -> None:
    """Serve the work lists of a run until Ctrl-C.

    Args:
        run: the run folder.
        console: where the address goes.
        reader: the only reader; None: each browser is asked for a name.
        show_guess: whether the model's guess is shown before the answer; answers say so.
        host: address to listen on; another one than loopback is warned about.
        port: 0: a free one.
        open_browser: whether a browser is opened.

    Raises:
        ConfigError: the extra ``review`` is not installed, the reader's name is none, or the address cannot be used.
        DataError: no run folder, or a file in it is damaged.
    """
    need_extra()
    from engine.review.reader_names import reader_name
    from engine.review.server import Place, review_desk, serve

    name = None if reader is None else reader_name(reader)
    folder, place = build.open_run(run), Place(host=host, port=port)
    _warn(place.open_to_others, host, console)
    serve(
        place,
        lambda access: review_desk(folder, access, reader=name, show_guess=show_guess),
        lambda address: _say(address, "label and review", console),
        open_browser=open_browser,
    )
    say_closed(run, console)


def say_closed(run: Path, console: Console) -> None:
    """Say where the answers are, and what trains with them."""
    config = RunLayout(run).config
    for line in (
        f"closed   every answer is in {run}; the same command goes on where this one stopped",
        f"next     hardcase run {shlex.quote(str(config))}   (goes on with the answers)",
    ):
        console.print(line, soft_wrap=True, highlight=False)


def watch(
    run: Path, console: Console, *, host: str = "127.0.0.1", port: int = 0, open_browser: bool = False
) -> None:
    """Serve the page of a run, finished or in progress, until Ctrl-C; nothing is written (errors as ``review``)."""
    need_extra()
    from engine.review.server import Place, serve, watch_desk

    if not RunLayout(run).config.is_file():
        raise DataError(
            f"{run}: no run folder (config.yaml is missing); give the folder `hardcase run` printed"
        )
    place = Place(host=host, port=port)
    _warn(place.open_to_others, host, console)
    serve(
        place,
        lambda access: watch_desk(run, access),
        lambda address: _say(address, "watch", console),
        open_browser=open_browser,
    )


def need_extra() -> None:
    """Raise ConfigError unless the web server is installed."""
    absent = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if absent:
        raise ConfigError(f"{' and '.join(absent)}: not installed; run pip install 'hardcase[review]'")


def _say(address: str, what: str, console: Console) -> None:
    """Print the address in full: the console masks tokens, and whoever started the server needs this one."""
    console.file.write(f"open     {visible(address)}\n")
    console.file.flush()
    console.print(f"         to {what}; the address is a key, keep it to yourself. Ctrl-C ends.")


def _warn(open_to_others: bool, host: str, console: Console) -> None:
    if open_to_others:
        console.print(
            f"warning  --host {host}: other machines can reach the page, unencrypted; whoever reads along on the network "
            "can answer. Use it in a network you trust, or forward a port over SSH instead",
            style="yellow",
            soft_wrap=True,
        )
