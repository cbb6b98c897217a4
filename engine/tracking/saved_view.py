"""A saved view of an experiment in MLflow's pages: figures as columns of the run list, and a chart with a line per arm.

MLflow keeps such a view in a tag of the experiment. By itself its list shows no figures, and it draws a chart per metric.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from engine.artifacts.json_text import parse_json
from engine.artifacts.run_layout import RunLayout
from engine.tracking.flatten import HEADLINE, HEADLINE_PARTS, headline_name

VIEW: Final = "hardcase"
"""Its key in the address of a page: ``?viewStateShareKey=hardcase``."""
TAG: Final = f"mlflow.sharedViewState.{VIEW}"
PACKED: Final = "deflate;"
"""How MLflow's pages mark a state that is compressed (zlib) and in base64."""
NAME: Final = "Arms by round"
"""What MLflow's menu "Views" calls it."""
SECTION: Final = "arms-by-round"
SECTION_STATE: Final[Mapping[str, Any]] = {
    "uuid": SECTION,
    "name": NAME,
    "columns": 2,  # so that a legend has room for the arm
    "cardHeight": 420,
    "display": True,
    "isReordered": True,
    "deleted": False,
    "isGenerated": False,
}
VERDICT: Final = "verdict"
"""Tag of a parent run: helped, hurt or not shown."""
COLUMN_PIXELS: Final = 240
"""Room for ``test malignant sensitivity/hard`` as a heading."""
COLUMNS: Final = (
    ("test", "malignant sensitivity", "hard"),
    ("test", "malignant sensitivity", "real"),
    ("test", "malignant specificity", "hard"),
    ("test", "malignant AUC", "hard"),
    ("test", "malignant AUC", "real"),
    ("test", "balanced accuracy", "hard"),
)
"""Figures that the run list shows, most telling first; an arm that did not run leaves its column out."""


def page(run_folder: Path | None) -> str:
    """Return the address, behind host and port, of MLflow's page with a run's arms by round; of all experiments for None.

    MLflow 3 opens on its pages for language models unless the address says otherwise.
    """
    experiment = None if run_folder is None else _experiment(run_folder)
    if experiment is None:
        return "/#/experiments?workflowType=machine_learning"
    view = f"viewStateShareKey={VIEW}&compareRunsMode=CHART&workflowType=machine_learning"
    return f"/#/experiments/{experiment}/runs?{view}"


def _experiment(run_folder: Path) -> int | None:
    """Return the id of a run's experiment; None where the view was not sent to it (yet)."""
    try:
        state = parse_json(RunLayout(run_folder).tracking.read_text(encoding="utf-8"))
        return int(state["experiment_id"]) if state["view"] else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def with_arm(found: str | None, arm: str, now_ms: int) -> str | None:
    """Return the tag's text with ``arm`` among its lines; None where nothing is to be written.

    ``found`` is the tag as it is. A view that somebody has saved over in MLflow's pages is theirs, and stays.
    """
    kept = _read(found)
    if found is not None and kept is None:
        return None
    arms = () if kept is None else _arms(kept["state"])
    if arm in arms:
        return None
    made = now_ms if kept is None else kept["createdAt"]
    state = _packed(state_of((*arms, arm)))
    return json.dumps({"name": NAME, "createdAt": made, "updatedAt": made, "state": state})


def state_of(arms: Iterable[str]) -> dict[str, Any]:
    """Return the state of MLflow's page of runs: its columns, and one line chart per headline figure of test and val."""
    arms = tuple(arms)
    columns = [f"metrics.`{headline_name(part, words, arm)}`" for part, words, arm in COLUMNS if arm in arms]
    verdict = f"tags.`{VERDICT}`"
    charts = [_chart(part, words, arms) for part in HEADLINE_PARTS for words in HEADLINE]
    return {
        "selectedColumns": [verdict, *columns],
        "columnOrder": [verdict, *columns],
        "columnWidths": dict.fromkeys(columns, COLUMN_PIXELS),
        "compareRunCharts": charts,
        "compareRunSections": [SECTION_STATE],
        "isAccordionReordered": True,
        "arms": arms,
    }


def _chart(part: str, words: str, arms: tuple[str, ...]) -> dict[str, Any]:
    """Return one line chart: a figure of a part by round, a line per arm."""
    names = [headline_name(part, words, arm) for arm in arms]
    return {
        "uuid": f"{SECTION}-{part}-{words}".replace(" ", "-"),
        "type": "LINE",
        "metricKey": names[0],
        "selectedMetricKeys": names,
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "lineSmoothness": 0,
        "displayPoints": True,
        "range": {"yMin": 0, "yMax": 1},  # all are shares; a magnified axis makes noise look like a gain
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": True,
        "runsCountToCompare": 10,
        "metricSectionId": SECTION,
        "deleted": False,
        "isGenerated": False,
    }


def _read(found: str | None) -> dict[str, Any] | None:
    """Return a view as this module wrote it; None where there is none, or somebody changed it."""
    try:
        kept = parse_json(found or "null")
        mine = kept["createdAt"] == kept["updatedAt"] and isinstance(_arms(kept["state"]), tuple)
    except (TypeError, KeyError, ValueError):
        return None
    return dict(kept) if mine else None


def _packed(state: Mapping[str, Any]) -> str:
    """Return a state as MLflow's pages pack theirs: servers before 3.17 keep 5,000 characters of a tag."""
    return PACKED + base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()


def unpacked(state: str) -> dict[str, Any]:
    """Return a packed state (ValueError: it is none)."""
    if not state.startswith(PACKED):
        raise ValueError("not packed")
    try:
        found = parse_json(zlib.decompress(base64.b64decode(state.removeprefix(PACKED))))
    except zlib.error as error:
        raise ValueError("not packed") from error
    return dict(found)


def _arms(state: str) -> tuple[str, ...]:
    return tuple(str(arm) for arm in unpacked(state)["arms"])
