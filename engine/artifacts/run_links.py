"""Refuses a run folder with links that lead out of it: files would be written, or shown, that belong to something else."""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import DataError


def refuse_links_out(run: Path) -> None:
    """Return where no file or folder below ``run`` is a link to a place outside it; ``run`` itself may be a link.

    Raises:
        DataError: there is one; names it and the remedy.
    """
    home = run.resolve()
    for place, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
                raise DataError(
                    f"{run / path.relative_to(home)}: is a link to {path.readlink()}, outside the run folder, where nothing "
                    "is read or written; put the file or folder itself there, or remove the link"
                )
