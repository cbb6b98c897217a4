"""Writes an exported run as a folder that ``fiftyone.types.FiftyOneDataset`` imports.

metadata.json has no ``version``: FiftyOne then takes the folder for one without a database schema of its own and derives the
fields from the samples, whatever release reads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from engine.artifacts.predictions import PREFIX
from engine.artifacts.whole_files import write_text
from engine.commands.exported_run import ExportedRun
from engine.commands.image_table import write_images

DATA: Final = "data"
LABELLED: Final = ("dx", "predicted", "judge_predicted")
"""Columns that become FiftyOne's Classification."""
READING: Final = """A dataset of FiftyOne:

    fiftyone.Dataset.from_dir(dataset_dir="THIS_FOLDER", dataset_type=fiftyone.types.FiftyOneDataset)

Synthetic images that the gates rejected are in it too, to be looked at: filter by the tags accepted and rejected. Tags also
name part and origin; `dx`, `predicted` and `judge_predicted` are classifications; `prob` is in the order of
`default_classes`."""


def write(exported: ExportedRun, target: Path) -> None:
    """Fill ``target`` with data/, metadata.json and samples.json."""
    (target / DATA).mkdir()
    files = [f"{record['image_id']}.png" for record in exported.records]
    write_images(exported, range(len(files)), files, target / DATA)
    facts = exported.facts()
    metadata = {
        "name": facts["run"],
        "media_type": "image",
        "info": {"default_classes": list(exported.classes), **facts},
    }
    samples = [sample(record, exported.classes, f"{DATA}/{file}")
               for record, file in zip(exported.records, files, strict=True)]  # fmt: skip
    for name, tree in (("metadata.json", metadata), ("samples.json", {"samples": samples})):
        write_text(target / name, json.dumps(tree, allow_nan=False) + "\n")


def sample(record: dict[str, Any], classes: tuple[str, ...], filepath: str) -> dict[str, Any]:
    """Return one image as a sample; what is not known of it is left out."""
    prob = [record[f"{PREFIX}{dx}"] for dx in classes]
    known = {
        name: value
        for name, value in record.items()
        if value is not None and name not in LABELLED and not name.startswith(PREFIX)
    }
    tags = [record["split"], record["origin"]]
    if record["accepted"] is not None:
        tags.append("accepted" if record["accepted"] else "rejected")
    found: dict[str, Any] = {"filepath": filepath, "tags": tags, **known, "dx": classification(record["dx"])}
    if record["predicted"] is not None:
        found |= {"predicted": classification(record["predicted"], max(prob)), "prob": prob}
    if record["judge_predicted"] is not None:
        judged = record["judge_prob"]
        found["judge_predicted"] = classification(record["judge_predicted"], max(judged) if judged else None)
    return found


def classification(label: str, confidence: float | None = None) -> dict[str, Any]:
    """Return a label as FiftyOne stores it; ``confidence`` is a probability."""
    found: dict[str, Any] = {"_cls": "Classification", "label": label}
    return found if confidence is None else found | {"confidence": confidence}
