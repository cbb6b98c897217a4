"""The console every command prints to: text is printed as it is, never read as markup or emoji codes."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def plain_console(**options: Any) -> Console:
    """Return a Rich console for text that holds names from data: ``[/b]`` and ``:smile:`` stay what they are.

    Colours come from ``style=`` or a ``Text``, also in the cells, titles and captions of tables.
    """
    return Console(markup=False, emoji=False, **options)
