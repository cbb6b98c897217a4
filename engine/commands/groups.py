"""The grouped commands `hardcase export`, `data` and `config`, and the arguments that all commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.artifacts.secrets import masked
from engine.commands.stored_runs import here
from engine.execution.console import plain_console

if TYPE_CHECKING:
    from engine.config import Config
    from engine.store import StageRunner

ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="YAML config, for example from `hardcase init`.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Config overrides: loop.rounds=3 data.root=DIR."),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, <output>/<name>.")]
ReadRun = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder, <output>/<name>, or s3://...", callback=here)
]
"""A run that a command reads and does not change."""
Round = Annotated[
    int | None, typer.Option("--round", min=0, help="Round of the classifier; default: the champion's.")
]
Arm = Annotated[str | None, typer.Option("--arm", help="Arm of the classifier; default: the champion's.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to make.")]


def with_home(text: str) -> str:
    """Return an argument as a shell would give it after a space: in ``--out=~/x`` it leaves the ``~`` alone."""
    option, _, value = text.partition("=")
    tilde = option.startswith("--") and value.startswith("~")
    return f"{option}={os.path.expanduser(value)}" if tilde else text  # noqa: PTH111  (the method raises for an unknown ~user)


export_app = typer.Typer(help="Write a run's data or model for others to use.", no_args_is_help=True)
data_app = typer.Typer(help="Look at a config's data set before anything is trained.", no_args_is_help=True)
config_app = typer.Typer(help="Explain config keys, or show a config in full.", no_args_is_help=True)


@export_app.command("data")
def export_data(
    run: ReadRun,
    out: Out,
    layout: Annotated[
        str,
        typer.Option(
            "--format", help="ham10000, coco, fiftyone (rejected ones too), imagefolder, webdataset."
        ),
    ] = "ham10000",
) -> None:
    """Real and accepted synthetic images in the layout of a tool, marked and traceable."""
    from engine.commands import export_data as command

    command.export_data(run, out, plain_console(), layout=layout)


@export_app.command("model")
def export_model(
    run: ReadRun,
    out: Out,
    round_number: Round = None,
    arm: Arm = None,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="With ONNX (extra `export`).")] = True,
) -> None:
    """Weights, ONNX, preprocessing, temperature, thresholds and a model card."""
    from engine.commands import export_model as command

    command.export_model(run, out, plain_console(), round_number=round_number, arm=arm, onnx=onnx)


@data_app.command("describe")
def data_describe(
    config: ConfigFile,
    overrides: Overrides = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Counts by class and split, metadata coverage, masks, duplicates."""
    loaded, runner = _data(config, overrides)
    from engine.commands import data_commands

    data_commands.describe(loaded, runner, plain_console(), json_path=json)


@data_app.command("split")
def data_split(
    config: ConfigFile,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the split here, as .csv or .parquet.")
    ] = None,
) -> None:
    """Split the lesions and show the counts."""
    loaded, runner = _data(config, overrides)
    from engine.commands import data_commands

    data_commands.split(loaded, runner, plain_console(), out=out)


@data_app.command("preview")
def data_preview(
    config: ConfigFile,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.")] = Path("preview.png"),
) -> None:
    """A contact sheet of every class with the lesion masks outlined."""
    loaded, runner = _data(config, overrides)
    from engine.commands import data_commands

    data_commands.preview(loaded, runner, plain_console(), out=out)


@data_app.command("audit")
def data_audit(
    config: ConfigFile,
    overrides: Overrides = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the findings here.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to make: pictures of the findings, side by side.")
    ] = None,
) -> None:
    """Near-duplicates, label conflicts, broken masks, columns that give the diagnosis away.

    data.find_second_photographs=false leaves the search by keypoints out: near-copies are found, second photographs not.
    """
    loaded, runner = _data(config, overrides)
    from engine.commands import audit_command

    audit_command.audit(loaded, runner, plain_console(), json_path=json, out=out)


@config_app.command("explain")
def config_explain(
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="Dotted key; none: the whole tree.")
    ] = None,
) -> None:
    """Say what a config key means, its type, bounds and default."""
    from engine.commands import config_command

    config_command.explain(key, plain_console())


@config_app.command("show")
def config_show(config: ConfigFile, overrides: Overrides = None) -> None:
    """Validate a config and print it in full, defaults included."""
    from engine.checked_config import load
    from engine.config import dump_yaml

    typer.echo(masked(dump_yaml(load(config, overrides or []))), nl=False)


def _data(config: Path, overrides: list[str] | None) -> tuple[Config, StageRunner]:
    """The config and a stage runner on its cache, for the data commands."""
    from engine.checked_config import load

    loaded = load(config, overrides or [])  # before anything heavy: a wrong key is named at once
    from engine.commands import cached_stages

    return cached_stages.open_cache(loaded, plain_console())
