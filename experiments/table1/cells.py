"""Trains and scores the cells of Table I, and keeps them in their set's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from engine import build
from engine.arms import START
from engine.artifacts import pool as pool_file
from engine.artifacts import predictions, split
from engine.artifacts.run_layout import arm_role
from engine.config import Config
from engine.execution.progress import RichListener
from engine.history import Fit
from engine.pipeline import Pipeline, arms
from engine.pipeline.foundation import lay_data
from engine.pipeline.run_report import protocol
from engine.store import StageFolder
from engine.study.replicates import Replicate
from engine.study.run_replicates import replicate_of
from experiments.lib import keeping
from experiments.lib.keeping import provenance, this_command
from experiments.lib.outcomes import beside, pack_cases, scored_arm
from experiments.table1.plan import MODELS, ORIGIN, PLAIN, SYNTHETIC, Request
from experiments.table1.set_files import read_set, write_set


def run(request: Request, models: Sequence[str], rows: Sequence[str]) -> Path:
    """Train and score every asked cell, keeping the set's file after each."""
    kind = "per_class" if request.per_class else "set"
    path = keeping.RESULTS / "table1" / f"{kind}_{request.number:02d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [row for row in rows if row != "Origin1000" or not request.per_class]
    config = request.load("run")
    table = read_set(path)["tables"].get(request.label) if path.exists() else None
    if table:
        keeping.require_same(
            table["config"],
            keeping.public_config(config),
            f"{path.name}, table {request.label!r}",
            "give what changed after --with, so that it has a table of its own, or move the file away",
        )
    pools: dict[str, StageFolder] = {}
    if any(row in SYNTHETIC and row != PLAIN for row in rows):
        folder, report = build.run(config, listener=RichListener(Console()))
        last = config.loop.rounds
        pools = {arm: folder.stage(arm_role(last, arm, "pool")) for arm in config.loop.arms}
        entries = {entry["arm"]: beside(entry, request.scored) for entry in report["rounds"]}
        keep(path, request, config, {"arms": entries})
    for model in models:
        for row in rows:
            if row in ORIGIN or row == PLAIN or SYNTHETIC[row] in pools:
                replicate, found = cell(request, model, row, pools.get(SYNTHETIC.get(row, "")))
                origin = provenance(this_command())
                found["made"] = {key: origin[key] for key in ("command", "date", "commit")}
                own = ORIGIN.get(row, 1.0) == 1.0  # the others have another training set
                facts = {"cases": pack_cases(replicate)} if own else {}
                keep(path, request, config, facts, {f"{model} | {row}": found})
    return path


def cell(
    request: Request, model: str, row: str, pool: StageFolder | None
) -> tuple[Replicate, dict[str, Any]]:
    """Train one model on one row's images; return the replicate with this cell for its only arm, and the cell as JSON."""
    name, small = MODELS[model]
    settings = [f"classifier.model={name}", f"classifier.small_stem={str(small).lower()}"]
    changes = [] if model == "resnet18" else settings
    config = request.load(f"{model}-{row.replace(' ', '-')}", *changes, sets=ORIGIN.get(row, 1.0))
    wiring = build.wire(config, listener=RichListener(Console()), track=False)
    try:
        pipeline = wiring.loop().pipeline
        lay_data(pipeline)
        arm = SYNTHETIC.get(row, "classical")  # the augmentation of every arm but plain real
        pool = pool or arms.pool(pipeline, 0, START, {}, {})
        return scored(pipeline, arm, pool, request)
    finally:
        wiring.close()


def scored(
    pipeline: Pipeline, arm: str, pool: StageFolder, request: Request
) -> tuple[Replicate, dict[str, Any]]:
    """Train from scratch for the config's steps, predict, and score the part whose figures count."""
    config, last = pipeline.config, pipeline.config.loop.rounds
    task = Fit(round=last, arm=arm, pool=pool, steps=config.classifier.steps, fits=[last])
    classifier = arms.fit(pipeline, task, last, None)
    predict = arms.predict(pipeline, last, arm, classifier)
    contents = pool_file.read_facts(pool.path)
    run = replicate_of(
        {arm: predictions.read(predict.path)},
        split.read(pipeline.stages["split"].path),
        config.model_dump(mode="json"),
        name=f"set {request.number}",
        protocol=protocol(config.loop, pipeline.stages["images"], pipeline.stages["split"]),
        scored=request.scored,
    )
    return run, {
        "part": request.scored,
        "n_real": contents.n_real,
        "n_synthetic": contents.n_synthetic,
        "n_rows": contents.n_rows,
        "optimizer_steps": config.classifier.steps,
        "seed": config.loop.seed,
        "seconds": round(classifier.seconds + predict.seconds, 1),
        **scored_arm(run, arm),
    }


def keep(
    path: Path, request: Request, config: Config, facts: dict[str, Any], cells: dict[str, Any] | None = None
) -> None:
    """Add facts and cells to the set's file; cells, and tables, that share their cases keep them once."""
    found: dict[str, Any] = (
        read_set(path) if path.exists() else {"set": request.number, "part": request.part, "tables": {}}
    )
    table = found["tables"].setdefault(request.label, {"cells": {}})
    table |= {**provenance(this_command(), config), **facts}
    table["cells"] |= cells or {}
    write_set(path, found)
