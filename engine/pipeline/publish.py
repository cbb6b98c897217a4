"""Copies what people read from the stage cache into the run folder (the contract of ARCHITECTURE.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from engine.artifacts.whole_files import whole_file
from engine.history import Made, Trained
from engine.pipeline.review import write_blank
from engine.store.cache import StageFolder
from engine.store.files import copy_file, copy_folder, write_json
from engine.store.run_folder import RunFolder


class Publisher:
    """Publishes stage folders; every call may be repeated (a resumed run does)."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def split(self, split: StageFolder) -> None:
        """RUN/split.parquet: image_id, lesion_id, dx, split, group; with training sets each image's train_set (-1: none)."""
        frame = pd.read_parquet(split.path / "split.parquet")
        with whole_file(self.folder.path / "split.parquet") as partial:
            frame.drop(columns="row").to_parquet(partial, index=False)

    def synthesis(self, number: int, made: Made, thumbnails: StageFolder) -> None:
        """RUN/rounds/NNNN: hard cases, conditioning, synthetic images with verdicts, small pictures."""
        target = self.folder.path / "rounds" / f"{number:04d}"
        for stage, name in (
            ("mine", "hard_cases.parquet"),
            ("condition", "conditioning.parquet"),
            ("condition", "neighbours.parquet"),
            ("accept", "synthetic.parquet"),
            ("accept", "accept.json"),
            ("fidelity", "fidelity.json"),
        ):
            copy_file(made.folders[stage].path / name, target / name)
        copy_folder(made.synthesize.path / "synthetic", target / "synthetic")
        copy_folder(thumbnails.path / "thumbnails", target / "thumbnails")
        pictures = [thumbnails.path / name for name in ("hard_cases.png", "synthetic.png", "nearest.png")]
        for picture in (*pictures, made.synthesize.path / "states.png"):
            if picture.exists():
                copy_file(picture, target / picture.name)

    def review(self, path: Path, accept: StageFolder) -> None:
        """Write the blank CSV of verdicts and the sheet beside it."""
        frame = pd.read_parquet(accept.path / "synthetic.parquet", columns=["sample_id"])
        write_blank(path, frame["sample_id"].tolist())
        if (accept.path / "review.png").exists():
            copy_file(accept.path / "review.png", path.with_suffix(".png"))

    def arm(
        self,
        number: int,
        arm: str,
        report: Mapping[str, Any],
        trained: Trained,
    ) -> None:
        """One (round, arm): predictions, calibration, weights, report."""
        target = self.folder.arm_folder(number, arm)
        copy_file(trained.predict.path / "predictions.parquet", target / "predictions.parquet")
        copy_file(trained.predict.path / "calibration.json", target / "calibration.json")
        copy_file(trained.classifier.path / "classifier.safetensors", target / "classifier.safetensors")
        write_json(target / "report.json", report)

    def champion(self, champion: Mapping[str, Any], after_round: int) -> bool:
        """RUN/champion.json as val sees it after a round; returns whether it changed.

        A resumed run passes its first rounds again: what it crowned after a later one stays, also where that was
        going back to an early round (``after_round`` in the file).
        """
        path = self.folder.path / "champion.json"
        weights = self.folder.arm_folder(champion["round"], champion["arm"]) / "classifier.safetensors"
        entry = {**champion, "classifier": weights.relative_to(self.folder.path).as_posix()}
        if path.exists():
            kept = self.folder.champion()
            crowned_after = kept.pop("after_round", kept["round"])
            if kept == entry or crowned_after > after_round:
                return False
        write_json(path, {**entry, "after_round": after_round})
        return True

    def contact_sheet(self, preview: StageFolder) -> None:
        """RUN/figures/*.png."""
        for picture in sorted(Path(preview.path).glob("*.png")):
            copy_file(picture, self.folder.path / "figures" / picture.name)


class NullPublisher(Publisher):
    """Publishes nothing."""

    def split(self, split: StageFolder) -> None:
        """Do nothing."""

    def synthesis(self, number: int, made: Made, thumbnails: StageFolder) -> None:
        """Do nothing."""

    def review(self, path: Path, accept: StageFolder) -> None:
        """Do nothing."""

    def arm(self, number: int, arm: str, report: Mapping[str, Any], trained: Trained) -> None:
        """Do nothing."""

    def champion(self, champion: Mapping[str, Any], after_round: int) -> bool:
        """Return that nothing changed."""
        return False

    def contact_sheet(self, preview: StageFolder) -> None:
        """Do nothing."""
