"""Writes a small run folder with every file the report reads: figures from score_split on drawn predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter

from engine.evaluation.scoring import ScoredSplit, score_split
from engine.evaluation.subgroups import subgroup_figures
from engine.types import StrArray, strings

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
MALIGNANT = ("mel", "bcc", "akiec")
SHARES = (0.05, 0.08, 0.14, 0.03, 0.16, 0.5, 0.04)
COLOURS = ("#b5705f", "#c98a86", "#8a6242", "#a5684e", "#3a2620", "#6e452e", "#a02038")
CONFIG = """name: {name}
seed: 0
data: {{format: phantom, image_size: 64, malignant: [mel, bcc, akiec]}}
loop: {{rounds: 2, mine_from: mine, generator_saw: train}}
evaluation: {{bootstrap: 200, specificity: 0.9}}
tracking: {{uri: "https://user:secret@mlflow.example/"}}
"""


def make_run(
    path: Path,
    *,
    arms: Sequence[str] = ("real", "hard"),
    rounds: int = 2,
    lesions: int = 400,
    protocol: str = "safe",
    cases: int = 30,
    cache: bool = False,
) -> Path:
    """Fill ``path`` as `hardcase run` would, with drawn predictions and blobs for lesions.

    ``cache``: write the decoded images beside the run, as its stage cache has them; malignant test lesions get pixels.
    """
    rng = np.random.default_rng(0)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(CONFIG.format(name=path.name))
    table = _table(lesions, rng)
    table.to_parquet(path / "split.parquet", index=False)
    entries = []
    for number in range(rounds + 1):
        for arm in ("real",) if number == 0 else arms:
            folder = path / "rounds" / f"{number:04d}"
            folder = folder if arm == ("real" if number == 0 else "hard") else folder / "arms" / arm
            folder.mkdir(parents=True, exist_ok=True)
            skill = 0.9 + 0.12 * number + (0.12 if arm == "hard" else 0.0)
            prob = _predictions(folder, table, skill, np.random.default_rng([number, *arm.encode()]))
            entries.append(_entry(number, arm, table, prob))
            if arm == "hard":
                _synthesis(folder, table, prob, number, cases, rng)
    if cache:
        _decoded(path, table, rng)
    (path / "figures").mkdir()
    _sheet(rng).save(path / "figures" / "contact_sheet.png")
    (path / "report.json").write_text(
        json.dumps(_report(path.name, protocol, table, entries), allow_nan=False)
    )
    return path


def _report(name: str, protocol: str, table: pd.DataFrame, entries: list[dict[str, Any]]) -> dict[str, Any]:
    best = max(entries, key=lambda e: e["val"]["balanced_accuracy"]["value"])
    return {
        "schema_version": 2,
        "name": name,
        "protocol": protocol,
        "split_digest": "5f3a" * 8,
        "config_digest": "90ab" * 8,
        "data": {
            "format": "phantom",
            "n_images": len(table),
            "n_lesions": int(table["lesion_id"].nunique()),
            "grouped_by": "lesion",
            "masks": {"file": len(table), "otsu": 0, "none": 0},
            "n_skipped": 2,
            "counts": {},
        },
        "stopping": {"action": "stop", "reason": "2 of 2 planned rounds are done"},
        "champion": {
            "round": best["round"],
            "arm": best["arm"],
            "metric": "val/balanced_accuracy",
            **best["val"]["balanced_accuracy"],
        },
        "foundation_seconds": {
            "images": 3.2,
            "embedder": 41.0,
            "vae": 160.4,
            "denoiser": 420.0,
            "judge": 65.0,
        },
        "rounds": entries,
    }


def _table(lesions: int, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for lesion in range(lesions):
        dx = CLASSES[lesion % 7] if lesion < 56 else CLASSES[rng.choice(7, p=SHARES)]
        part = ("train", "mine", "val", "test")[
            lesion // 7 % 4 if lesion < 56 else rng.choice(4, p=(0.4, 0.2, 0.2, 0.2))
        ]
        for view in range(int(rng.integers(1, 3))):
            rows.append((f"IMG_{lesion:05d}_{view}", f"L{lesion:05d}", dx, part))
    return pd.DataFrame(rows, columns=["image_id", "lesion_id", "dx", "split"])


def _decoded(path: Path, table: pd.DataFrame, rng: np.random.Generator) -> None:
    """Write the stage ``images`` of the run: its table, and an image of 64 pixels a side per row."""
    folder = path.parent / "stages" / "images-fake"
    folder.mkdir(parents=True)
    (path / "stages.json").write_text(json.dumps({"foundation/images": folder.name}))
    table[["image_id"]].to_parquet(folder / "table.parquet", index=False)
    images = np.zeros((len(table), 64, 64, 3), dtype=np.uint8)
    for row in np.flatnonzero((table["split"] == "test") & table["dx"].isin(MALIGNANT)):
        images[row] = np.asarray(lesion(table["dx"][row], rng))
    np.save(folder / "images.npy", images)


def _predictions(
    folder: Path, table: pd.DataFrame, skill: float, rng: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.float64]]:
    label = np.array([CLASSES.index(dx) for dx in table["dx"]])
    logits = rng.normal(size=(len(table), 7)) + 2 * skill * np.eye(7)[label]
    prob = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    frame = table[["image_id", "split", "dx"]].assign(
        **{f"p_{name}": prob[:, c] for c, name in enumerate(CLASSES)}
    )
    frame.to_parquet(folder / "predictions.parquet", index=False)
    return prob


def _entry(number: int, arm: str, table: pd.DataFrame, prob: Any) -> dict[str, Any]:
    label = np.array([CLASSES.index(dx) for dx in table["dx"]])
    figures = {}
    for part in ("val", "test"):
        rows = (table["split"] == part).to_numpy()
        lesion: StrArray = strings(table["lesion_id"][rows].tolist())
        split = ScoredSplit(
            prob_NC=prob[rows],
            label_N=label[rows],
            lesion_id=lesion,
            group_N=lesion,
            classes=CLASSES,
            malignant=MALIGNANT,
            threshold=0.5,
        )
        figures[part] = score_split(split, draws=200, rng=np.random.default_rng(1))
        if part == "test":
            people = np.arange(rows.sum()) % 3
            columns = {
                "sex": strings(np.array(["female", "male", ""])[people].tolist()),
                "age": strings(np.array(["30–44", "60–74", "60–74"])[people].tolist()),
                "site": strings(np.array(["back", "face", "scalp"])[people].tolist()),
                "skin_type": strings([""] * rows.sum()),
            }
            draw = np.random.default_rng(2)
            figures[part]["subgroups"] = subgroup_figures([split], columns, draws=100, rng=draw)
    made = arm == "hard"
    return {
        "round": number,
        "arm": arm,
        "generator_saw": "train",
        **figures,
        "n_real": int((table["split"] == "train").sum()),
        "n_generated": 120 if made else 0,
        "n_accepted": 74 if made else 0,
        "acceptance_rate": 74 / 120 if made else None,
        "optimizer_steps": 1500 + 600 * number,
        "seconds": {"classifier": 61.2, "predict": 4.1, "evaluate": 0.7}
        | ({"mine": 0.2, "synthesize": 92.5, "accept": 6.0} if made else {}),
        "p_value_vs_round0": None if number == 0 else 0.31,
        "digests": {"classifier": f"c{number}" * 8},
    }


def _synthesis(
    folder: Path, table: pd.DataFrame, prob: Any, number: int, cases: int, rng: np.random.Generator
) -> None:
    predicted = np.array(CLASSES)[prob.argmax(axis=1)]
    hard = table[(table["split"] == "mine") & (predicted != table["dx"])].head(cases)
    taken = predicted[hard.index]
    pd.DataFrame(
        {
            "image_id": hard["image_id"],
            "dx": hard["dx"],
            "predicted": taken,
            "score": np.linspace(0.98, 0.4, len(hard)),
        }
    ).to_parquet(folder / "hard_cases.parquet", index=False)
    (folder / "thumbnails").mkdir()
    (folder / "synthetic").mkdir()
    neighbours, samples, judged = [], [], []
    for row, (image_id, dx) in enumerate(zip(hard["image_id"], hard["dx"], strict=True)):
        lesion(dx, rng).save(folder / "thumbnails" / f"{image_id}.png")
        near = table[(table["split"] == "train") & (table["dx"] == dx)]["image_id"].head(5).tolist()
        for name in near:
            if not (folder / "thumbnails" / f"{name}.png").exists():
                lesion(dx, rng).save(folder / "thumbnails" / f"{name}.png")
        neighbours.append((image_id, dx, near, np.linspace(0.93, 0.71, len(near)).tolist()))
        for k in range(int(rng.integers(1, 9))):
            name, judge = f"r{number}_{row:03d}_{k}", float(rng.random())
            lesion(dx, rng).save(folder / "synthetic" / f"{name}.png")
            reasons = [f"judge: {dx} {judge:.2f} < 0.50"] if judge < 0.5 else []
            if rng.random() < 0.08:
                reasons.append("memorized: 0.012 < 0.034")
            samples.append((name, image_id, dx, near, [1 / max(1, len(near))] * len(near), k, f"synthetic/{name}.png",
                            not reasons, "; ".join(reasons), judge, near[0] if near else "", 0.05))  # fmt: skip
            judged.append((dx, judge >= 0.5, not reasons))
    pd.DataFrame(neighbours, columns=["image_id", "dx", "neighbour_ids", "similarity"]).to_parquet(
        folder / "neighbours.parquet", index=False
    )
    pd.DataFrame(
        samples,
        columns=["sample_id", "parent_image_id", "dx", "neighbour_ids", "weights", "seed", "file", "accepted",
                 "reasons", "judge_p", "nearest_train_id", "nearest_train_distance"],
    ).to_parquet(folder / "synthetic.parquet", index=False)  # fmt: skip
    frame = pd.DataFrame(judged, columns=["dx", "agrees", "accepted"])
    accept = {
        "agreement": float(frame["agrees"].mean()),
        "expected_agreement": 0.62,
        "agreement_ratio": float(frame["agrees"].mean()) / 0.62,
        "per_class": {
            dx: {
                "generated": len(g),
                "accepted": int(g["accepted"].sum()),
                "agreement": float(g["agrees"].mean()),
                "val_recall": 0.6,
            }
            for dx, g in frame.groupby("dx")
        },
    }
    accept |= {"judge_temperature": 1.2, "judge_val": _entry(number, "real", table, prob)["val"]}
    accept["memorized"] = {"count": 3, "rate": 3 / max(1, len(frame)), "threshold": 0.02, "percentile": 1}
    (folder / "accept.json").write_text(json.dumps(accept))
    figure = {"value": 0.0123, "low": 0.0101, "high": 0.0145}
    names = ("kid", "kid_unseen", "fid", "precision", "recall", "density", "coverage")
    whole: dict[str, Any] = {"n_real": 200, "n_synthetic": len(frame), **dict.fromkeys(names, figure)}
    per_class = {dx: {**whole, "n_synthetic": len(g), "fid": None} for dx, g in frame.groupby("dx")}
    fidelity = {"features": "the run's CLIP", "n_synthetic": len(frame), "overall": {**whole, "inception_score": figure},
                "per_class": per_class}  # fmt: skip
    (folder / "fidelity.json").write_text(json.dumps(fidelity))
    _sheet(rng).save(folder / "nearest.png")


def lesion(dx: str, rng: np.random.Generator, side: int = 64) -> Image.Image:
    """A blurred blob on skin: enough to see that pictures are in place."""
    skin = tuple(int(v) for v in np.clip(np.array([224, 184, 164]) + rng.normal(0, 10, 3), 0, 255))
    image = Image.new("RGB", (side, side), skin)  # type: ignore[arg-type]
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = rng.normal(side / 2, side / 10, 2)
        r, s = rng.uniform(side / 8, side / 4, 2)
        draw.ellipse([x - r, y - s, x + r, y + s], fill=COLOURS[CLASSES.index(dx)])
    return image.filter(ImageFilter.GaussianBlur(2))


def _sheet(rng: np.random.Generator) -> Image.Image:
    sheet = Image.new("RGB", (3 * 64, 7 * 64))
    for c, dx in enumerate(CLASSES):
        for column in range(3):
            sheet.paste(lesion(dx, rng), (64 * column, 64 * c))
    return sheet
