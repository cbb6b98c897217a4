"""The console every command prints to: text is printed as it is, never read as markup or emoji codes."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from engine.artifacts.secrets import masked


def plain_console(**options: Any) -> Console:
    """Return a Rich console for text that holds names from data: ``[/b]`` and ``:smile:`` stay what they are.

    Colours come from ``style=`` or a ``Text``, also in the cells, titles and captions of tables.
    """
    return _PlainConsole(markup=False, emoji=False, **options)


class _PlainConsole(Console):
    """Masks secrets of addresses in what it prints."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts masked; other renderables as they are."""
        super().print(*(_masked(item) for item in objects), **options)


def _masked(item: Any) -> Any:
    if isinstance(item, str):
        return masked(item)
    if isinstance(item, Text) and masked(item.plain) != item.plain:
        return Text(masked(item.plain), style=item.style)
    return item
