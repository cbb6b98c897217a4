"""The commands `hardcase review`, `watch`, `query` and `label`: what people are asked, and what they answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.groups import Arm, Out, Round, Run
from engine.execution.console import plain_console

Host = Annotated[
    str, typer.Option("--host", help="Address to listen on; another than loopback is open to the network.")
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0: a free one.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]


def review(
    run: Run,
    reader: Annotated[
        str | None, typer.Option("--reader", help="Who answers; default: the page asks.")
    ] = None,
    show_guess: Annotated[
        bool,
        typer.Option("--show-guess", help="Show the model's guess before the answer; answers say so."),
    ] = False,
    host: Host = "127.0.0.1",
    port: Port = 0,
    open_browser: Open = False,
) -> None:
    """Label unlabelled images and review synthetic ones on a page in the browser."""
    from engine.commands import review_command

    review_command.review(
        run,
        plain_console(),
        reader=reader,
        show_guess=show_guess,
        host=host,
        port=port,
        open_browser=open_browser,
    )


def watch(run: Run, host: Host = "127.0.0.1", port: Port = 0, open_browser: Open = False) -> None:
    """Watch a run on a page in the browser: rounds, classes, the stage in progress; read-only."""
    from engine.commands import review_command

    review_command.watch(run, plain_console(), host=host, port=port, open_browser=open_browser)


def query(
    run: Run,
    out: Out,
    count: Annotated[int, typer.Option("--count", min=1, help="Images to ask about.")] = 50,
    policy: Annotated[
        str | None,
        typer.Option("--policy", help="Name of a query policy; default: the config's policy.query."),
    ] = None,
    round_number: Round = None,
    arm: Arm = None,
) -> None:
    """Choose the unlabelled images that readers should look at next, and write them with a CSV for the answers."""
    from engine.commands import query_command

    query_command.query(run, count, out, plain_console(), policy=policy, round_number=round_number, arm=arm)


def label(
    run: Run,
    answers: Annotated[
        Path | None,
        typer.Argument(
            metavar="[ANSWERS]",
            help="CSV or TSV with columns image_id, dx, reader, or Label Studio's JSON export. dx: a class of the run, "
            "unsure, withdraw, or empty. Without a file: where labelling stands.",
        ),
    ] = None,
    reader: Annotated[
        str | None, typer.Option("--reader", help="Whose the answers are that name no reader.")
    ] = None,
    guess_shown: Annotated[
        bool, typer.Option("--guess-shown", help="The model's guess was in sight before these answers.")
    ] = False,
    withdraw: Annotated[
        str | None,
        typer.Option("--withdraw", metavar="IMAGE", help="Take --reader's answer to this image back."),
    ] = None,
    oracle: Annotated[
        bool,
        typer.Option("--oracle", help="Uncover hidden labels of open questions (data.split.hide_labels)."),
    ] = False,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="With --oracle: at most so many; default: all.")
    ] = None,
) -> None:
    """Take readers' answers about unlabelled images into a run, all of a file or nothing; without one, show agreement."""
    from engine.commands import label_command

    label_command.label(
        run, plain_console(), answers=answers, reader=reader, guess_shown=guess_shown, withdraw=withdraw, oracle=oracle,
        count=count,
    )  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands to the command line, in this order."""
    for command in (review, watch, query, label):
        app.command()(command)
