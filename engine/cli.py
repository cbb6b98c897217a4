"""The command line: parses arguments, calls a function of `engine.commands`, turns errors into one message.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted, 143 and 129 stopped by SIGTERM and SIGHUP. Nothing heavy is
imported before a command runs.
"""

from __future__ import annotations

import io
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from engine.artifacts.secrets import masked
from engine.artifacts.visible_text import visible
from engine.commands import reader_commands, run_commands
from engine.commands.groups import (
    ConfigFile,
    Overrides,
    config_app,
    data_app,
    export_app,
    with_home,
)
from engine.errors import StoppedError
from engine.execution import stop_signals
from engine.execution.console import plain_console
from engine.execution.said_errors import say_error, say_what_to_mend


class Commands(TyperGroup):
    """A group whose commands end in an exit code and at most one message, whoever calls them."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse what was typed; ``--out=~/x`` is expanded here, since a shell does so only after a space."""
        return super().parse_args(ctx, [with_home(text) for text in args])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; user errors become a red message on stderr."""
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt, StoppedError) as error:
            raise typer.Exit(say_what_to_mend(error)) from None


app = typer.Typer(
    cls=Commands,
    name="hardcase",
    help="Finds the skin lesions a classifier gets wrong, synthesizes more of them, retrains, and tells whether it "
    "helped. Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(export_app, name="export")
app.add_typer(data_app, name="data")
app.add_typer(config_app, name="config")


def _version(value: bool) -> None:
    if value:
        from engine import __version__

        typer.echo(f"hardcase {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan, sizes, a short timed pilot, hours.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute every stage anew; default: resume.")
    ] = False,
    folds: Annotated[
        str | None,
        typer.Option(
            "--folds", metavar="0-4", help="A run per fold of data.split.folds, then their study page."
        ),
    ] = None,
    sets: Annotated[
        str | None,
        typer.Option(
            "--sets", metavar="0-9", help="A run per training set, likewise; with --folds: of every fold."
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Leave a trace and a table of operations per stage in RUN/profile."),
    ] = False,
) -> None:
    """Run the loop of a config, or resume it; with --folds or --sets a whole study."""
    if folds is not None or sets is not None:
        from engine.commands import run_study

        run_study.run_study(
            config,
            overrides or [],
            plain_console(),
            folds=folds,
            sets=sets,
            fresh=fresh,
            dry_run=dry_run,
            profile=profile,
        )
        return
    from engine.commands import run_command

    run_command.run(config, overrides or [], plain_console(), fresh=fresh, dry_run=dry_run, profile=profile)


@app.command()
def demo(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Overrides of the demo's config: loop.rounds=1 output=DIR."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan, sizes, a short timed pilot, hours.")
    ] = False,
) -> None:
    """Run the whole loop on drawn phantoms in minutes, without data or a GPU, into runs/demo, or resume it."""
    from engine.commands import run_command

    run_command.run(run_command.DEMO, overrides or [], plain_console(), dry_run=dry_run)


@app.command()
def tune(
    config: ConfigFile,
    overrides: Overrides = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Forget the sweep of this name; finished stages stay in the cache."),
    ] = False,
) -> None:
    """Search the config's search_space for the best policy on val, or resume the search."""
    from engine.commands import tune_command

    tune_command.tune(config, overrides or [], plain_console(), fresh=fresh)


run_commands.register(app)
reader_commands.register(app)


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Data folder.")],
    out: Annotated[Path, typer.Option("--out", help="Config to write.")] = Path("hardcase.yaml"),
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of the images, where they lie apart from the table."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="Column of the diagnosis, where a table gives it a name of its own."),
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option("--unlabelled", help="Folder of further images that have no diagnosis, to ask about."),
    ] = None,
) -> None:
    """Look at a data folder (or a table) and write a commented config for it."""
    from engine.commands import init_command

    init_command.init(directory, out, plain_console(), images=images, label=label, unlabelled=unlabelled)


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="Check what this config needs.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Versions, devices, disk, tracking, Ray; with a config: missing weights, and what would be slow and why."""
    from engine.commands import doctor_command

    if not doctor_command.doctor(config, overrides or [], plain_console()):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the `hardcase` command."""
    stop_signals.install()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale that lacks ✓ ends no run
    try:
        app()
    except Exception:
        sys.stderr.write(visible(masked(traceback.format_exc())))
        say_error(
            "this is a bug in hardcase; please report it with the lines above and what `hardcase doctor` prints"
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
