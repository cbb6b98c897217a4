"""Stage ``thumbnails``: small pictures of hard cases and their neighbours, and contact sheets, for people to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from engine.artifacts import hard_cases, neighbours, synthesized, synthetic
from engine.config import Config
from engine.parts.context import StageContext
from engine.parts.dataset import Dataset, open_dataset
from engine.report.blocks.cases import pick
from engine.report.sheets import CAPTIONED_COLUMNS, CELL, captioned_sheet
from engine.stages import base
from engine.stages.outputs import File
from engine.types import ImageArray, strings

MOST = 40
"""Pictures per sheet."""


class Params(base.Params):
    """How many pictures a sheet holds."""

    most: int

    @classmethod
    def of(cls, _config: Config) -> Params:
        """Return the same for every run."""
        return cls(most=MOST)


def run(context: StageContext, params: Params) -> None:
    """Write ``thumbnails/<image_id>.png``, ``hard_cases.png``, ``synthetic.png`` and ``nearest.png``."""
    dataset = open_dataset(context.inputs["images"], context.inputs["split"], unlabelled=True)
    cases = hard_cases.read(context.inputs["mine"])
    shown = pick(cases.true, [True] * len(cases), params.most)
    picked = cases.image_id[shown].tolist()
    retrieved = neighbours.read(context.inputs["condition"]).rows()
    ids = [*picked, *(name for case, found in retrieved if case in picked for name, _ in found)]
    folder = context.out / "thumbnails"
    folder.mkdir()
    for image_id in sorted(set(ids)):
        _picture(dataset, image_id).save(folder / f"{image_id}.png")
    if picked:
        tiles = [np.asarray(_picture(dataset, image_id)) for image_id in picked]
        captions = [f"{cases.true[row]} as {cases.predicted[row]}" for row in shown]
        captioned_sheet(tiles, captions, context.out / "hard_cases.png")
    frame = synthetic.read_frame(context.inputs["accept"])
    if len(frame):
        images = synthesized.open_images(context.inputs["synthesize"])
        _synthetic_sheet(frame, images, params.most, context.out / "synthetic.png")
        _nearest_sheet(frame, images, dataset, context.out / "nearest.png")


def _picture(dataset: Dataset, image_id: str) -> Image.Image:
    row = dataset.rows[dataset.positions(strings([image_id]))[0]]
    image = Image.fromarray(np.asarray(dataset.images_NHWC[row]))
    return image.resize((CELL, CELL), Image.Resampling.BICUBIC)


def _synthetic_sheet(frame: pd.DataFrame, images_SHWC: ImageArray, most: int, path: Path) -> None:
    share = -(-most // frame["dx"].nunique())
    frame = frame.groupby("dx", sort=True).head(share).sort_values(["dx", "sample_id"])
    captions = [
        f"{dx} {'accepted' if accepted else 'rejected'}"
        for dx, accepted in zip(frame["dx"], frame["accepted"], strict=True)
    ]
    captioned_sheet([np.asarray(image) for image in images_SHWC[frame.index.to_numpy()]], captions, path)


def _nearest_sheet(frame: pd.DataFrame, images_SHWC: ImageArray, dataset: Dataset, path: Path) -> None:
    """The samples that come nearest to a train image, each beside that image: copies would be seen here."""
    pairs = frame.nsmallest(2 * CAPTIONED_COLUMNS, "nearest_train_distance", keep="first")
    tiles: list[ImageArray] = []
    captions: list[str] = []
    for row, (_, sample) in zip(pairs.index.to_numpy().tolist(), pairs.iterrows(), strict=True):
        tiles += [
            np.asarray(images_SHWC[row]),
            np.asarray(_picture(dataset, str(sample["nearest_train_id"]))),
        ]
        captions += [f"{sample['dx']} {sample['nearest_train_distance']:.3f}", "train image"]
    captioned_sheet(tiles, captions, path)


STAGE = base.Stage(
    name="thumbnails",
    version=2,
    params=Params,
    run=run,
    inputs=("images", "split", "mine", "condition", "synthesize", "accept"),
    files=(
        File("thumbnails/<image_id>.png", "hard cases and their neighbours"),
        File("hard_cases.png", "contact sheet of hard cases"),
        File("synthetic.png", "contact sheet of synthetic images, class by class"),
        File("nearest.png", "the synthetic images nearest to a train image, each beside it"),
    ),
)
