"""The page of all rows: ratios against targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEAD = """# The engine beside what one would write without it

`make bench` (`make bench-full`: all sizes) writes `result.json` of every row and this page.
Processor seconds of one thread, ways
taken in turns in one process; the median ratio and, in brackets, the least and the most of the turns. A ratio of 2: ours is
twice as fast. {machine}

![how far every row is from its target](ratios.png)

| what | ours | alternative | ratio | target | met |
|---|---|---|---|---|---|
"""


def page(rows: Mapping[str, Mapping[str, Any]], made: str, notes: str) -> str:
    """Return the README of the results: a line per row, the alternatives' settings, and the notes."""
    lines = [line(name, row) for name, row in rows.items()]
    settings = [f"- {name}: {row['alternative']}." for name, row in rows.items()]
    return (
        HEAD.format(machine=made)
        + "\n".join(lines)
        + "\n\nThe alternatives as they were set:\n\n"
        + "\n".join(settings)
        + "\n\n"
        + notes
    )


def line(name: str, row: Mapping[str, Any]) -> str:
    """Return a row of the table; further alternatives stand behind the first."""
    met = {None: "", True: "yes", False: "no"}[row["met"]]
    if "sizes" in row:
        last = row["sizes"][-1]
        ours = f"{last['seconds']:.2f} s, {last['peak_mib']:,.0f} MiB at {last['images']:,}"
        slopes = f"time n^{row['time_slope']:.2f}, memory n^{row['memory_slope']:.2f}"
        slopes += f"; {row['minutes_at_400k']:.0f} min at 400,000"
        return f"| {name} | {ours} | | {slopes} | memory n^{row['target']} | {met} |"
    if "value" in row:
        value, unit = row["value"], row["unit"]
        found = f"{value['median']:.2f} ({value['least']:.2f} to {value['most']:.2f}) {unit}".rstrip()
        target = "" if row["target"] is None else f"at most {row['target']:g} {unit}".rstrip()
        return f"| {name} | {found} | | | {target} | {met} |"
    speeds, unit = row["per_second"], row["unit"]
    others = "; ".join(f"{other} {rate(speeds[other])}" for other in row["ratio"])
    ratios = "; ".join(
        f"{one['median']:.2f} ({one['least']:.2f} to {one['most']:.2f})" for one in row["ratio"].values()
    )
    recall = f", recall {row['recall']:.3f}" if "recall" in row else ""
    target = "" if row["target"] is None else f"{row['target']:g}"
    return f"| {name} | {rate(speeds['ours'])} {unit}/s{recall} | {others} | {ratios} | {target} | {met} |"


def reached(row: Mapping[str, Any]) -> float | None:
    """Return how far a row is: 1 is its target, 2 twice as good; None without a target, and for slopes."""
    if row["target"] is None or "sizes" in row:
        return None
    if "value" in row:
        return float(row["target"] / row["value"]["median"])
    return float(next(iter(row["ratio"].values()))["median"] / row["target"])


def rate(per_second: float) -> str:
    """Return a rate with three digits."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"
