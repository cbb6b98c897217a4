"""The commands on finished runs: evaluate, predict, report, compare, power, synthesize, fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.groups import Arm, Out, Overrides, ReadRun, Round
from engine.commands.stored_runs import all_here
from engine.errors import ConfigError
from engine.execution.console import plain_console


def evaluate(
    run: ReadRun,
    overrides: Overrides = None,
    round_number: Round = None,
    arm: Arm = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write {data, n, round, arm, metrics} here.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write a row per image here.")] = None,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="The same rows as parquet.")] = None,
) -> None:
    """Score a run's classifier on another data set: data.format=isic data.root=DIR. Nothing is refitted."""
    from engine.commands import evaluate_command

    evaluate_command.evaluate(
        run, overrides or [], plain_console(), round_number=round_number, arm=arm, json_path=json, csv_path=csv,
        parquet_path=parquet,
    )  # fmt: skip


def predict(
    run: ReadRun,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Image files, or folders of them.")
    ],
    csv: Annotated[Path | None, typer.Option("--csv", help="CSV file to write.")] = None,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="The same rows as parquet.")] = None,
    round_number: Round = None,
    arm: Arm = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Name unreadable images and go on.")] = False,
) -> None:
    """Classify image files: calibrated probabilities, malignant score, above the operating point or not."""
    if csv is None and parquet is None:
        raise ConfigError("predict: has nowhere to write; give --csv FILE, --parquet FILE, or both")
    from engine.commands import predict_command

    predict_command.predict(
        run, images, plain_console(), csv_path=csv, parquet_path=parquet, round_number=round_number, arm=arm,
        skip_bad=skip_bad,
    )  # fmt: skip


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN [RUN...]", help="Run folders, <output>/<name>, or s3://...")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to make for the study of several runs.")
    ] = None,
) -> None:
    """Answer whether hard cases helped: render RUN/report.html again, or of several runs one study page and JSON."""
    from engine.commands import report_command

    report_command.report(runs, plain_console(), out=out)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders, or s3://...", callback=all_here)
    ],
    round_number: Round = None,
    arm: Arm = None,
    figure: Annotated[
        str | None,
        typer.Option(
            "--figure", help="Show this figure first; exploratory, for the study was not planned on it."
        ),
    ] = None,
) -> None:
    """Show runs side by side; the paired difference where they share the split."""
    from engine.commands import compare_command

    compare_command.compare(runs, plain_console(), round_number=round_number, arm=arm, figure=figure)


def power(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Finished runs of one study.", callback=all_here),
    ],
    effect: Annotated[
        float,
        typer.Option("--effect", help="Difference to be found, in units of the figure: 0.02 is 2 points."),
    ] = 0.02,
    figure: Annotated[
        str | None, typer.Option("--figure", help="One figure; default: those that the study was planned on.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write components and plans here.")] = None,
) -> None:
    """Say how many training sets, seeds and test lesions a difference needs, and what these runs could have shown."""
    from engine.commands import power_command

    power_command.power(runs, plain_console(), effect=effect, figure=figure, json_path=json)


def synthesize(
    run: ReadRun,
    dx: Annotated[str, typer.Option("--class", help="Class to make, for example mel.")],
    out: Out,
    count: Annotated[int, typer.Option("--count", min=1, help="Number of images.")] = 64,
    seed: Annotated[int, typer.Option("--seed", help="Other images for another seed.")] = 0,
    states: Annotated[
        int,
        typer.Option(
            "--states", min=0, max=24, help="Draw so many looks on the way from noise into states.png."
        ),
    ] = 0,
    profile: Annotated[
        bool, typer.Option("--profile", help="Leave a trace and a table of operations in OUT/profile.")
    ] = False,
) -> None:
    """Make new images of one class with a run's generator, each with its provenance."""
    from engine.commands import synthesize_command

    synthesize_command.synthesize(
        run, dx, count, out, plain_console(), seed=seed, states=states, profile=profile
    )


def fetch(
    url: Annotated[str, typer.Argument(metavar="URL", help="s3://BUCKET/PREFIX/NAME of a run.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Output folder to bring it to.")],
) -> None:
    """Copy a run and its stages from an object store into a folder, for commands that work in a run folder."""
    from engine.commands import stored_runs

    stored_runs.fetch(url, directory, plain_console())


def register(app: typer.Typer) -> None:
    """Add the commands to the command line, in this order."""
    for command in (evaluate, predict, report, compare, power, synthesize, fetch):
        app.command()(command)
