"""In-process stand-ins for what a stage is given: a context, and tiny learnable `images`, `split` folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from engine.artifacts import decoded_images, duplicates, lesions
from engine.artifacts.decoded_images import DataFacts
from engine.artifacts.duplicates import DuplicatePairs
from engine.artifacts.split import SplitFacts
from engine.parts.context import ChunkWorker, StageContext
from engine.stages.base import Params
from engine.training.plan import TrainEnv
from engine.types import UNLABELLED, LesionTable, strings

PATTERN = ("train", "val", "train", "mine", "test", "train", "train", "train", "mine", "test")
"""Part of the i-th lesion of a class; five lesions a class reach every part."""


def kill_at_5(fit: Any) -> None:
    """Launch a training and end it, as a killed process would be, after its fifth step."""

    def progress(what: str, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    fit(TrainEnv(progress=progress))


def map_in_process(worker: ChunkWorker[Any, Any], chunks: Sequence[Any], what: str) -> Iterator[Any]:
    """Apply the worker to every chunk here."""
    function = worker.load()
    for chunk in chunks:
        yield function(chunk)


def launch_in_process(fit: Callable[[TrainEnv], None]) -> None:
    """Run the training here, as the only worker."""
    fit(TrainEnv())


def no_progress(what: str, done: int, total: int) -> None:
    """Ignore progress."""


def make_context(
    out: Path,
    inputs: Mapping[str, Path],
    seed: int = 0,
    checkpoint: Path | None = None,
    map: Any = map_in_process,
    launch: Any = launch_in_process,
    progress: Any = no_progress,
) -> StageContext:
    """Build the context of a stage that fills ``out`` (made here) in this process on one CPU thread."""
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = checkpoint or out.with_name(out.name + ".checkpoint")
    checkpoint.mkdir(parents=True, exist_ok=True)
    return StageContext(
        out=out,
        inputs=dict(inputs),
        seed=seed,
        threads=1,
        device="cpu",
        precision="float32",
        checkpoint=checkpoint,
        progress=progress,
        map=map,
        launch=launch,
    )


def run_stage(
    module: ModuleType, out: Path, inputs: Mapping[str, Path], params: Params, **context: Any
) -> Path:
    """Run a stage's module in this process as a worker does: params come as JSON, inputs are those it knows alone.

    ``inputs`` may hold more folders than the stage takes; ``context`` is passed to ``make_context``. Returns ``out``.
    """
    stage = module.STAGE
    known = {role: folder for role, folder in inputs.items() if stage.takes(role)}
    stage.check_inputs(known)
    tree = json.loads(json.dumps(params.to_json(), allow_nan=False))
    module.run(make_context(out, known, **context), module.Params.from_json(tree))
    return out


def blob(label: int, n_classes: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw skin with an ellipse coloured by class; image (H,W,3) uint8 and mask (H,W) uint8 0/255."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1) - 0.5
    centre = rng.uniform(-0.1, 0.1, 2)
    radius = rng.uniform(0.2, 0.35, 2)
    inside = ((x - centre[0]) / radius[0]) ** 2 + ((y - centre[1]) / radius[1]) ** 2 < 1
    angle = 2 * np.pi * label / n_classes
    colour = 120 + 90 * np.cos(angle - np.array([0.0, 2.1, 4.2]))
    image = np.where(inside[..., None], colour, np.array([225.0, 190.0, 170.0]))
    image = image + rng.normal(0, 12, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), (inside * 255).astype(np.uint8)


def make_dataset_folders(
    tmp: Path,
    n_lesions: int = 30,
    classes: Sequence[str] = ("bkl", "mel", "nv"),
    size: int = 16,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Write tiny ``images`` and ``split`` stage folders under ``tmp`` as ARCHITECTURE.md has them.

    ``n_lesions`` lesions in all, classes in turn; every third of a class has a second photograph; parts
    follow PATTERN within each class. Classes differ by colour, so a small network learns them in tens of steps.

    Returns:
        The two folders, ``tmp/images`` and ``tmp/split``.
    """
    rng = np.random.default_rng(seed)
    names = sorted(classes)
    rows: list[dict[str, Any]] = []
    pictures, masks = [], []
    for lesion in range(n_lesions):
        label = lesion % len(names)
        for view in range(2 if (lesion // len(names)) % 3 == 0 else 1):
            picture, mask = blob(label, len(names), size, rng)
            pictures.append(picture)
            masks.append(mask)
            rows.append(
                {
                    "image_id": f"IMG_{lesion:04d}_{view}",
                    "lesion_id": f"LES_{lesion:04d}",
                    "dx": names[label],
                    "part": PATTERN[(lesion // len(names)) % len(PATTERN)],
                    "age": np.nan if lesion % 10 == 9 else float(20 + lesion % 60),
                    "sex": ("female", "male", "")[lesion % 3],
                    "localization": ("back", "face", "")[lesion % 3],
                    "skin_type": "",
                }
            )
    frame = pd.DataFrame(rows)
    images, split = tmp / "images", tmp / "split"
    _write_images(images, frame, np.stack(pictures), np.stack(masks), names)
    _write_split(split, frame)
    return images, split


def add_train_sets(split: Path, out: Path, only: Sequence[int] | None = None) -> Path:
    """Copy a split folder with its train lesions dealt to training sets 0 and 1 in turn; ``only`` as in the split stage."""
    frame = pd.read_parquet(split / "split.parquet")
    train = (frame["split"] == "train").to_numpy()
    lesions = {name: i % 2 for i, name in enumerate(sorted(set(frame["lesion_id"][train])))}
    frame["train_set"] = np.where(train, [lesions.get(name, -1) for name in frame["lesion_id"]], -1)
    if only is not None:
        frame = frame[~train | frame["train_set"].isin(only)]
    out.mkdir(parents=True)
    frame.to_parquet(out / "split.parquet", index=False)
    (out / "split.json").write_text((split / "split.json").read_text(encoding="utf-8"), encoding="utf-8")
    return out


def hide(split: Path, out: Path) -> Path:
    """Copy a split folder; two of three train lesions lose their label, as stage split does it."""
    frame = pd.read_parquet(split / "split.parquet")
    train = sorted(set(frame.loc[frame["split"] == "train", "lesion_id"]))
    gone = frame["lesion_id"].isin([name for n, name in enumerate(train) if n % 3])
    frame.loc[gone, ["split", "dx"]] = [UNLABELLED, ""]
    out.mkdir(parents=True)
    frame.to_parquet(out / "split.parquet", index=False)
    (out / "split.json").write_text((split / "split.json").read_text(encoding="utf-8"), encoding="utf-8")
    return out


def _write_images(
    folder: Path, frame: pd.DataFrame, pictures: np.ndarray, masks: np.ndarray, classes: Sequence[str]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", pictures)
    np.save(folder / "masks.npy", masks)
    empty = strings([""] * len(frame))
    columns = {
        k: strings(frame[k].tolist())
        for k in ("image_id", "lesion_id", "dx", "sex", "localization", "skin_type")
    }
    table = LesionTable(
        **columns,
        patient_id=empty,
        split=empty,
        origin=strings(["real"] * len(frame)),
        age=frame["age"].to_numpy(dtype=np.float64),
        path=empty,
        mask_path=empty,
    )
    lesions.write(table, folder)
    none = strings([])
    pairs = DuplicatePairs(
        first_P=none, second_P=none, distance_P=np.zeros(0), exact_P=np.zeros(0, bool), turn_P=none,
        placement_P4=np.zeros((0, 4)),
    )  # fmt: skip
    duplicates.write(pairs, folder)
    facts = DataFacts(
        classes=tuple(classes),
        n_images=len(frame),
        n_lesions=int(frame["lesion_id"].nunique()),
        counts={str(dx): int(n) for dx, n in frame["dx"].value_counts().sort_index().items()},
        grouped_by="lesion",
        masks={"file": len(frame), "otsu": 0, "none": 0},
        masks_degenerate=0,
        skipped=(),
        image_size=int(pictures.shape[1]),
        digest="fake",
    )
    decoded_images.write(facts, folder)


def _write_split(folder: Path, frame: pd.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    parts = frame[["image_id", "lesion_id", "dx"]].assign(split=frame["part"], row=np.arange(len(frame)))
    parts.to_parquet(folder / "split.parquet", index=False)
    counts = {
        str(part): {str(dx): int(n) for dx, n in group["dx"].value_counts().sort_index().items()}
        for part, group in parts.groupby("split")
    }
    facts = SplitFacts(
        counts=counts, grouped_by="lesion", merged_groups=0, unused=0, left_out=0, digest="fake"
    )
    facts.write(folder)
