"""Files are byte for byte what the stages wrote before this package: caches of old runs keep their checksums."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from engine.artifacts import conditioning, pool, predictions, split, synthetic
from engine.artifacts.calibration import Calibration
from engine.artifacts.json_record import JsonRecord
from tests.engine.artifacts import examples
from tests.engine.artifacts.examples import write_everything


def same(new: Path, old: Path) -> bool:
    return new.read_bytes() == old.read_bytes()


def test_tables(tmp_path: Path) -> None:
    written, old = write_everything(tmp_path / "new"), tmp_path / "old"
    found = examples.predicted()
    columns = {f"p_{name}": found.prob_NC[:, column] for column, name in enumerate(found.classes)}
    frame = pd.DataFrame({"image_id": found.image_id, "split": found.split, "dx": examples.DX, **columns})
    frame.to_parquet(old, index=False)
    assert same(written["predict"] / predictions.FILE, old)
    table = examples.split_table()
    frame = pd.DataFrame(
        {"image_id": table.image_id, "lesion_id": table.lesion_id, "dx": table.dx, "split": table.split,
         "group": table.group_N, "row": table.row_N}
    )  # fmt: skip
    frame["train_set"] = table.train_set_N
    frame.to_parquet(old, index=False)
    assert same(written["split"] / split.FILE, old)
    rows = examples.training_pool()
    own, added = (
        pd.DataFrame({"source": name, "row": rows.row_N[kept], "image_id": rows.image_id[kept], "dx": rows.dx[kept],
                      "origin": origin})
        for name, origin, kept in (("data", "real", slice(0, 2)), ("extra", "synthetic", slice(2, 3)))
    )  # fmt: skip
    pd.concat([own, added], ignore_index=True).to_parquet(old, index=False)
    pool.write(rows, examples.images(1, 2, 2, 3), examples.pool_facts(), tmp_path)
    assert same(tmp_path / pool.FILE, old)
    np.save(tmp_path / "old.npy", examples.images(1, 2, 2, 3))
    assert same(written["pool"] / "extra.npy", tmp_path / "old.npy")


def test_synthetic_after_conditioning(tmp_path: Path) -> None:
    for count in (2, 0):
        kept = np.arange(count)
        conditioning.write(conditioning.take(examples.conditioned(), kept), tmp_path)
        synthetic.write(examples.made().take(kept), tmp_path)
        _appended(tmp_path, tmp_path / "old")
        assert same(tmp_path / synthetic.FILE, tmp_path / "old")


def _appended(folder: Path, old: Path) -> None:
    """Append the verdicts to the table of conditioning.parquet, as the accept stage did."""
    samples = pq.read_table(folder / conditioning.FILE)
    kinds = {"file": pa.string(), "accepted": pa.bool_(), "reasons": pa.string(), "judge_p": pa.float64(),
             "judge_predicted": pa.string(), "nearest_train_id": pa.string(), "nearest_train_distance": pa.float64(),
             "policy": pa.string(), "checkpoint": pa.string(), "value": pa.float64(),
             "judge_prob": pa.list_(pa.float64())}  # fmt: skip
    values = synthetic.read_frame(folder)
    for name, kind in kinds.items():
        samples = samples.append_column(name, pa.array(values[name].tolist(), kind))
    pq.write_table(samples, old)


def test_pool_with_a_round_that_added_nothing(tmp_path: Path) -> None:
    """The empty part's columns came from object arrays, and pandas made the whole column one of objects."""
    rows, columns = examples.training_pool(), ("source", "row", "image_id", "dx", "origin")
    nothing = np.array([], dtype=object)
    parts = [
        pd.DataFrame({"source": rows.source, "row": rows.row_N, "image_id": rows.image_id, "dx": rows.dx,
                      "origin": rows.origin}),
        pd.DataFrame(dict(zip(columns, ("extra", np.arange(0), nothing, nothing, "synthetic"), strict=True))),
    ]  # fmt: skip
    pd.concat(parts, ignore_index=True).to_parquet(tmp_path / "old", index=False)
    pool.write(rows, examples.images(0, 2, 2, 3), examples.pool_facts(), tmp_path, idle_round=True)
    assert same(tmp_path / pool.FILE, tmp_path / "old")


def test_json_layouts() -> None:
    def text(record: JsonRecord, **how: object) -> str:
        return json.dumps(record.to_json(), **how)  # type: ignore[arg-type]

    facts = examples.pool_facts()
    assert facts.file_text() == text(facts, sort_keys=True, allow_nan=False, indent=2) + "\n"
    report = examples.run_report()
    assert report.file_text() == text(report, indent=1, allow_nan=False) + "\n"
    calibration = Calibration(temperature=1.0, malignant=(), threshold=None, specificity=0.9, classes=("a",),
                              melanoma=None, melanoma_threshold=None, melanoma_sensitivity=None)  # fmt: skip
    assert calibration.file_text() == (
        '{\n  "classes": [\n    "a"\n  ],\n  "malignant": [],\n  "melanoma": null,\n  "melanoma_sensitivity": null,\n'
        '  "melanoma_threshold": null,\n  "specificity": 0.9,\n  "temperature": 1.0,\n  "threshold": null\n}\n'
    )
