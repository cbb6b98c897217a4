"""What an error says to a user: one red message and an exit code."""

from __future__ import annotations

import shlex
import sys

from rich.text import Text

from engine.artifacts.machine_faults import mendable
from engine.artifacts.visible_text import visible
from engine.errors import HardcaseError, StoppedError
from engine.execution.console import plain_console


def say_what_to_mend(error: BaseException) -> int:
    """Print what a user can mend as one message and return its exit code; any other error is raised again."""
    if isinstance(error, HardcaseError):
        say_error(str(error))
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | StoppedError):
        again = shlex.join(["hardcase", *sys.argv[1:]])
        by = f"stopped by {error.name}" if isinstance(error, StoppedError) else "interrupted"
        say_error(f"{by}; what was done is kept, this goes on where it stopped: {again}")
        return error.exit_code if isinstance(error, StoppedError) else 130
    found = mendable(error)
    if found is not None:
        return say_what_to_mend(found)
    raise error


def say_error(message: str) -> None:
    """Print one red message on stderr."""
    plain_console(stderr=True, soft_wrap=True, highlight=False).print(
        Text(f"error: {visible(message)}", style="red")
    )
