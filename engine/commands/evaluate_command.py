"""`hardcase evaluate`: a run's classifier on another data set. Nothing is refitted: external validation.

Temperature and operating point stay as they were fixed on the run's own val lesions.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from engine import build
from engine.artifacts import decoded_images, duplicates, lesions, predictions, scores, split
from engine.artifacts.report_json import LEAKY
from engine.artifacts.run_layout import foundation_role
from engine.artifacts.split import SplitTable
from engine.commands.classified_rows import require_writable, said_of, write_rows
from engine.commands.finished_run import Chosen, choose, local
from engine.commands.output_folder import writable_file
from engine.config import Config, parse_config
from engine.config.loading import apply_override
from engine.data.readers.image_names import left_out_line
from engine.data.splits import group_names, group_rows
from engine.errors import ConfigError, DamagedError, DataError
from engine.evaluation.intervals import lesions_behind
from engine.execution.progress import RichListener
from engine.pipeline import Pipeline
from engine.pipeline.foundation import decode
from engine.pipeline.pipeline import NoRoles
from engine.report.wording import SIMULATED_TITLE, figure_text, marks, percent_interval, protocol_words
from engine.stages import evaluate as evaluate_stage
from engine.stages import predict as predict_stage
from engine.store import Listener, RunFolder, StageFolder, write_json
from engine.types import BoolArray, strings

FREE = ("data.", "backend.", "evaluation.bootstrap")
"""What a user may say about the other data set; all else belongs to the run."""
KEPT = ("image_size", "fit", "malignant")
"""Keys of the run's own data section that the classifier depends on."""


def evaluate(
    run: Path,
    overrides: Sequence[str],
    console: Console,
    *,
    round_number: int | None = None,
    arm: str | None = None,
    json_path: Path | None = None,
    csv_path: Path | None = None,
    parquet_path: Path | None = None,
) -> dict[str, Any]:
    """Score the champion (or ``round_number``, ``arm``) on the data set that ``data.*`` overrides name.

    ``csv_path`` and ``parquet_path`` get one row per image: image_id, lesion_id, dx, and what `hardcase predict` says of it.

    Returns:
        {data, n, round, arm, protocol, metrics}, also written to ``json_path``; ``protocol`` is the run's, ``metrics`` a
        split object of report.json.

    Raises:
        ConfigError: an override of something else than data, or no data set given.
        DataError: a class the run does not know (named), bad data, a bad run folder.
    """
    chosen = choose(run, round_number, arm)
    config = evaluation_config(chosen.run.config, overrides)
    if json_path is not None:
        writable_file(json_path, "--json")
    require_writable(csv_path, parquet_path)
    result, rows = score(chosen, config, RichListener(console))
    if json_path is not None:
        write_json(json_path, result)
    where = write_rows(rows, csv_path, parquet_path)
    if result["protocol"] in LEAKY:
        console.print(". ".join(protocol_words(result["protocol"], {})), style="red")
    if result.get("simulated_labels"):
        console.print(SIMULATED_TITLE, style="red")
    console.print(_table(result))
    if result["data"]["n_skipped"] or result["data"]["left_out"]:
        counts = {"that cannot be read": result["data"]["n_skipped"], **result["data"]["left_out"]}
        console.print(f"left out {left_out_line(counts)}")
    if result["data"]["n_synthetic"]:
        console.print(
            f"{result['data']['n_synthetic']} synthetic images are left out: figures are of real images alone",
            style="yellow",
        )
    for part, count in result["data"]["seen"].items():
        console.print(
            f"{count} of these images are in the run's own {part} split: this is no external validation",
            style="yellow",
        )
    if where:
        console.print(f"{len(rows)} predictions of {chosen.marked} in {where}", markup=False)
    return result


def evaluation_config(config: Config, overrides: Sequence[str]) -> Config:
    """Return the run's config with its data section replaced by what the overrides describe."""
    for override in overrides:
        if not override.startswith(FREE):
            raise ConfigError(
                f"{override.partition('=')[0]}: evaluate refits nothing; only data.*, backend.* and "
                "evaluation.bootstrap can be given"
            )
    if not any(o.startswith(("data.format=", "data.root=")) for o in overrides):
        raise ConfigError("evaluate needs another data set: give data.format=FORMAT data.root=FOLDER")
    tree = local(config).model_dump(mode="json")
    data = tree["data"]
    fresh = {k: data[k] for k in KEPT}
    if not any(o.startswith("data.format=") for o in overrides):
        fresh = {k: v for k, v in data.items() if k not in ("root", "images", "limit", "split")}
    tree["data"] = fresh
    for override in overrides:
        apply_override(tree, override)
    given = parse_config(tree, source="evaluate")
    for key in ("image_size", "malignant"):
        if getattr(given.data, key) != getattr(config.data, key):
            raise ConfigError(
                f"data.{key}: the classifier was fitted with {getattr(config.data, key)}; leave it out"
            )
    return given


def score(chosen: Chosen, config: Config, listener: Listener) -> tuple[dict[str, Any], pd.DataFrame]:
    """Decode the data set, predict with fixed calibration, and score; returns the result object, and a row per image."""
    published = chosen.weights.parent
    wiring = build.wire(config, listener=listener, folder=chosen.run, track=False)
    from engine.data.fingerprint import fingerprint

    with tempfile.TemporaryDirectory(prefix="hardcase-evaluate-") as place:
        scratch = Path(place)
        pipeline = Pipeline(
            config, wiring.runner, NoRoles(), fingerprint(config.data, wiring.runner.cache.root)
        )
        decode(pipeline)
        images = pipeline.stages["images"]
        real_N = _one_part(images, scratch / "split", config.data.root)
        inputs = {"images": images.path, "split": scratch / "split"}
        calibrated = {"classifier": published, "calibration": published}
        predicted = build.run_stage_here(
            config,
            predict_stage.STAGE,
            predict_stage.Params.of(config),
            out=scratch / "predict",
            inputs={**inputs, **calibrated},
            seed=config.loop.seed,
            progress=listener.progress,
        )
        figures = build.run_stage_here(
            config,
            evaluate_stage.STAGE,
            evaluate_stage.Params.of(config),
            out=scratch / "evaluate",
            inputs={**inputs, "predictions": predicted},
            seed=config.loop.seed,
            progress=listener.progress,
        )
        metrics = scores.read(figures).test
        rows = _rows(chosen, images, predicted)
    facts = decoded_images.read(images.path)
    data = {
        "format": config.data.format,
        "root": config.data.root,
        "n_images": int(real_N.sum()),
        "n_lesions": lesions_in(images, real_N),
        "n_synthetic": int((~real_N).sum()),
        "grouped_by": facts.grouped_by,
        "n_skipped": len(facts.skipped),
        "left_out": facts.left_out,
        "digest": facts.digest,
        "seen": seen_images(chosen.run, images, real_N),
    }
    result = {
        "data": data,
        "n": metrics["n"],
        "round": chosen.round,
        "arm": chosen.arm,
        "protocol": chosen.protocol,
        **({"simulated_labels": True} if chosen.simulated else {}),
        "metrics": metrics,
    }
    return result, rows


def _rows(chosen: Chosen, images: StageFolder, predicted: Path) -> pd.DataFrame:
    """Return image_id, lesion_id, dx and what the classifier says, one row per image that was scored."""
    found = predictions.read(predicted, chosen.calibration.classes)
    lesion = lesions.read_lesion_of(images.path)
    rows = predictions.frame_of(found)[["image_id", "dx"]]
    rows.insert(1, "lesion_id", [lesion[name] for name in rows["image_id"]])
    return pd.concat([rows, said_of(found.prob_NC, chosen.calibration)], axis=1)


def seen_images(run: RunFolder, images: StageFolder, real_N: BoolArray) -> dict[str, int]:
    """Count the real images whose pixels occur in the run's own data set, by split; empty where its cache is gone."""
    try:
        own, parts = (run.stage(foundation_role(name)).path for name in ("images", "split"))
    except DamagedError:
        raise
    except DataError:
        return {}
    table, pixels = split.read(parts), decoded_images.open_images(own)
    rows = split.rows_of(table, parts).tolist()
    known = {_hash(pixels[row]): part for row, part in zip(rows, table.split.tolist(), strict=True)}
    other_NHWC = decoded_images.open_images(images.path)
    found = [known.get(_hash(other_NHWC[row]), "") for row in np.flatnonzero(real_N)]
    return {part: found.count(part) for part in ("train", "mine", "val", "test") if part in found}


def _hash(image: Any) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()


def lesions_in(images: StageFolder, real_N: BoolArray) -> int:
    """Count the lesions of the real images."""
    return len(set(lesions.read(images.path).lesion_id[real_N].tolist()))


def _one_part(images: StageFolder, out: Path, root: str | None = None) -> BoolArray:
    """Write a split in which every real image is test; return which images are real (N,).

    Raises:
        DataError: all are synthetic.
    """
    everything = lesions.read(images.path)
    real_N: BoolArray = everything.origin != "synthetic"
    if not real_N.any():
        raise DataError(
            f"data.root: {root} holds synthetic images alone, which say nothing about a classifier of real ones; "
            "give a folder of real images"
        )
    table = everything.take(np.flatnonzero(real_N))
    out.mkdir()
    lesion = strings(np.where(table.lesion_id == "", table.image_id, table.lesion_id).tolist())
    group = group_rows(table, duplicates.read(images.path).ids)
    whole = SplitTable(
        image_id=table.image_id,
        lesion_id=lesion,
        dx=table.dx,
        split=np.full(len(table), "test"),
        group_N=group_names(lesion, group),
        row_N=np.flatnonzero(real_N).astype(np.int64),
    )
    split.write(whole, out)
    return real_N


def _table(result: dict[str, Any]) -> Table:
    metrics = result["metrics"]
    malignant = metrics["malignant"]
    title = f"round {result['round']} {result['arm']} on {result['n']} images ({result['data']['format']})"
    leaky = result["protocol"] if result["protocol"] in LEAKY else ""
    mark = marks(leaky, simulated=bool(result.get("simulated_labels")))
    title += f" ({mark})" if mark else ""
    table = Table(title=title, caption="95 % intervals by lesion; operating point as fixed on the run's val")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name in ("balanced_accuracy", "accuracy", "auc"):
        table.add_row(name.replace("_", " "), percent_interval(metrics[name], lesions_behind(metrics, name)))
    for name in ("sensitivity", "specificity", "auc"):
        lesions = lesions_behind(metrics, f"malignant.{name}")
        table.add_row(f"malignant {name}", percent_interval(malignant[name], lesions))
    for dx, figures in metrics["per_class"].items():
        shown = figure_text(metrics, f"per_class.{dx}.sensitivity")
        table.add_row(f"sensitivity {dx} (n={figures['n']})", shown)
    return table
