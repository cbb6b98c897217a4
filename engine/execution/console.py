"""The console every command prints to: text is printed as it is, never read as markup or emoji codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.text import Text

from engine.artifacts.secrets import masked
from engine.artifacts.visible_text import visible


def plain_console(**options: Any) -> Console:
    """Return a Rich console for text that holds names from data: ``[/b]`` and ``:smile:`` stay what they are.

    Colours come from ``style=`` or a ``Text``, also in the cells, titles and captions of tables.
    """
    return _PlainConsole(markup=False, emoji=False, **options)


def quiet_console() -> Console:
    """Return a console that shows nothing, for callers that are programs."""
    return plain_console(quiet=True)


class _PlainConsole(Console):
    """Masks secrets of addresses in what it prints, and shows control characters of names instead of obeying them."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts masked; other renderables as they are."""
        super().print(*(_masked(item) for item in objects), **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text of a string: of a cell, a title, a caption."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render anything, tables and bars too; no text in it reaches the terminal as a command."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def _masked(item: Any) -> Any:
    if isinstance(item, str):
        return masked(item)
    if isinstance(item, Text) and masked(item.plain) != item.plain:
        return Text(masked(item.plain), style=item.style)
    return item
