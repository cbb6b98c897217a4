"""What two plays of one config have in common, whatever they took."""

from __future__ import annotations

from typing import Any, Final

TIMED: Final = frozenset({"seconds", "foundation_seconds", "failed_attempts"})
"""Keys of report.json that differ between two plays."""


def untimed(value: Any) -> Any:
    """Return a report, or a part of one, without them."""
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if key not in TIMED}
    return [untimed(inner) for inner in value] if isinstance(value, list) else value
