"""Packs one replicate of the proof, image by image: all that a study needs, in a file small enough to be committed.

The scored images are kept once (id, lesion, class). Of every arm the calibrated probabilities on val and test are kept, 16
bits each, so that lesions can be drawn and operating points read again without the data.

Shape legend: N images, C classes.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from engine.study.contrasts import PRIMARY
from engine.study.replicates import Endpoints, Part, Replicate, arm_figures
from engine.types import FloatArray, strings

ENDPOINTS = (PRIMARY, "malignant.specificity", "melanoma.sensitivity", "accuracy", "balanced_accuracy")
DRAWS = 2000
"""Bootstrap draws of lesions (PROTOCOL.md)."""
PARTS = ("val", "test")
_LEVELS = np.iinfo(np.uint16).max


def pack_cases(run: Replicate) -> dict[str, Any]:
    """Return everything of a replicate except its arms, as JSON."""
    return {
        "name": run.name,
        "seed": run.seed,
        "protocol": run.protocol,
        "classes": list(run.classes),
        "endpoints": {
            **asdict(run.endpoints),
            "malignant": list(run.endpoints.malignant),
            "primary": list(run.endpoints.primary),
        },
        "references": sorted(run.references),
        **({"pools": dict(run.pools)} if run.pools else {}),
        **({"added": {arm: dict(of_class) for arm, of_class in run.added.items()}} if run.added else {}),
        **({"generator_saw": run.generator_saw} if run.generator_saw else {}),
        **({} if run.whole else {"whole": False}),
        "parts": {name: "\n".join(sorted(lesions)) for name, lesions in run.parts.items()},
        **{name: _pack_part(getattr(run, name)) for name in PARTS},
    }


def scored_arm(run: Replicate, arm: str) -> dict[str, Any]:
    """Return what an arm leaves in a file: ``figures``, its endpoints, and ``outcome``, its probabilities."""
    return {"figures": point_figures(run, arm), "outcome": pack_arm(run, arm)}


def pack_arm(run: Replicate, arm: str) -> dict[str, Any]:
    """Return one arm's probabilities on val and test, as JSON; no test where it is val (while settings are chosen).

    Those of further classifier seeds are ``further``, a list of such objects.
    """
    first, *further = [
        {name: pack_levels(prob_NC) for name, prob_NC in zip(PARTS, of_seed, strict=True)}
        for of_seed in zip(*(getattr(run, name).seeds(arm) for name in PARTS), strict=True)
    ]
    alone: list[dict[str, Any]] = [
        {"val": packed["val"]} if packed["test"] == packed["val"] else packed for packed in (first, *further)
    ]
    return {**alone[0], **({"further": alone[1:]} if further else {})}


def unpack(cases: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]]) -> Replicate:
    """Return the replicate of ``pack_cases`` with the given arms of ``pack_arm``."""
    endpoints = dict(cases["endpoints"])
    if "primary" in endpoints:
        endpoints["primary"] = tuple(endpoints["primary"])
    count = len(cases["classes"])
    seeds = {arm: (packed, *packed.get("further", ())) for arm, packed in arms.items()}
    val, test = (
        _unpack_part(
            cases[name],
            {
                arm: [unpack_levels(packed.get(name, packed["val"]), count) for packed in many]
                for arm, many in seeds.items()
            },
        )
        for name in PARTS
    )
    return Replicate(
        name=cases["name"],
        seed=cases["seed"],
        protocol=cases["protocol"],
        classes=tuple(cases["classes"]),
        endpoints=Endpoints(**{**endpoints, "malignant": tuple(endpoints["malignant"])}),
        parts={name: frozenset(text.split("\n")) for name, text in cases["parts"].items()},
        references=frozenset(cases["references"]),
        pools=cases.get("pools", {}),
        added=cases.get("added", {}),
        generator_saw=cases.get("generator_saw", ""),
        whole=cases.get("whole", True),
        val=val,
        test=test,
    )


def point_figures(run: Replicate, arm: str) -> dict[str, float | None]:
    """Return an arm's endpoints on the whole test part; undefined is None."""
    point = arm_figures(run, arm, draws=1, seed=0).point
    found = {name: point.get(name, float("nan")) for name in ENDPOINTS}
    return {name: value if np.isfinite(value) else None for name, value in found.items()}


def beside(entry: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return what is reported beside the endpoints, of one object of report.json: with intervals, nothing to resample."""
    found = entry[part]
    kept = {name: found[name] for name in ("ece", "auc", "macro_f1", "challenging", "rest") if name in found}
    per_class = {
        dx: {name: figures[name] for name in ("sensitivity", "specificity", "n")}
        for dx, figures in found["per_class"].items()
    }
    counts = ("n_real", "n_generated", "n_accepted", "optimizer_steps", "seconds")
    return {"round": entry["round"], **{k: entry[k] for k in counts}, **kept, "per_class": per_class}


def _pack_part(part: Part) -> dict[str, str]:
    return {
        "image_id": "\n".join(part.image_id.tolist()),
        "lesion_id": "\n".join(part.lesion_id.tolist()),
        **({} if (part.group_N == part.lesion_id).all() else {"group": "\n".join(part.group_N.tolist())}),
        "label": " ".join(map(str, part.label_N.tolist())),
    }


def _unpack_part(found: Mapping[str, str], prob: Mapping[str, Sequence[FloatArray]]) -> Part:
    return Part(
        image_id=strings(found["image_id"].split("\n")),
        lesion_id=strings(found["lesion_id"].split("\n")),
        label_N=np.array(found["label"].split(), dtype=np.int64),
        group_N=strings(found.get("group", found["lesion_id"]).split("\n")),
        prob={arm: many[0] for arm, many in prob.items()},
        further={arm: tuple(many[1:]) for arm, many in prob.items() if len(many) > 1},
    )


def pack_levels(prob_NC: FloatArray) -> str:
    """Return text of probabilities: 16 bits each, column by column (zlib likes them so), zlib, base64."""
    level_CN = np.ascontiguousarray(np.rint(np.asarray(prob_NC).T * _LEVELS).astype("<u2"))
    return base64.b64encode(zlib.compress(level_CN.tobytes(), 9)).decode("ascii")


def unpack_levels(text: str, classes: int) -> FloatArray:
    """Return the probabilities (N, C) of ``pack``."""
    level = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<u2")
    return level.reshape(classes, -1).T.astype(np.float64) / _LEVELS
