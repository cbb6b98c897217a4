"""Copies what people read from the stage cache into the run folder (the contract of ARCHITECTURE.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from engine.artifacts.digests import checksum
from engine.artifacts.whole_files import whole_file
from engine.pipeline.review import write_blank
from engine.store.cache import StageFolder
from engine.store.files import checksums, copy_file, copy_folder, json_text
from engine.store.run_folder import RunFolder
from engine.store.verified import PublishedFiles


class Publisher:
    """Publishes stage folders; every call may be repeated (a resumed run does)."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.published = PublishedFiles(folder.path)

    def _copy(self, files: Mapping[Path, Path]) -> None:
        """Copy {target: source}, their checksums noted first."""
        self.published.expect({target: checksum(source) for target, source in files.items()})
        for target, source in files.items():
            copy_file(source, target)

    def _copy_folder(self, source: Path, target: Path) -> None:
        self.published.expect({target / name: digest for name, digest in checksums(source).items()})
        copy_folder(source, target)

    def json(self, path: Path, value: Any) -> None:
        """Write a JSON file of the run folder, its checksum noted first."""
        self.published.write(path, json_text(value))

    def split(self, split: StageFolder) -> None:
        """RUN/split.parquet: image_id, lesion_id, dx, split, group; with training sets each image's train_set (-1: none)."""
        frame = pd.read_parquet(split.path / "split.parquet")
        target = self.folder.path / "split.parquet"
        with whole_file(target) as partial:
            frame.drop(columns="row").to_parquet(partial, index=False)
            self.published.expect({target: checksum(partial)})

    def synthesis(self, number: int, stages: Mapping[str, StageFolder], thumbnails: StageFolder) -> None:
        """RUN/rounds/NNNN: hard cases, conditioning, synthetic images with verdicts, small pictures."""
        target = self.folder.path / "rounds" / f"{number:04d}"
        tables = (
            ("mine", "hard_cases.parquet"),
            ("condition", "conditioning.parquet"),
            ("condition", "neighbours.parquet"),
            ("accept", "synthetic.parquet"),
            ("accept", "accept.json"),
            ("fidelity", "fidelity.json"),
        )
        self._copy({target / name: stages[stage].path / name for stage, name in tables})
        self._copy_folder(stages["synthesize"].path / "synthetic", target / "synthetic")
        self._copy_folder(thumbnails.path / "thumbnails", target / "thumbnails")
        pictures = [thumbnails.path / name for name in ("hard_cases.png", "synthetic.png", "nearest.png")]
        pictures.append(stages["synthesize"].path / "states.png")
        self._copy({target / picture.name: picture for picture in pictures if picture.exists()})

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
        classifier: StageFolder,
        predict: StageFolder,
    ) -> None:
        """One (round, arm): predictions, calibration, weights, report."""
        target = self.folder.arm_folder(number, arm)
        made = {
            "predictions.parquet": predict,
            "calibration.json": predict,
            "classifier.safetensors": classifier,
        }
        self._copy({target / name: stage.path / name for name, stage in made.items()})
        self.json(target / "report.json", report)

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
        self.json(path, {**entry, "after_round": after_round})
        return True

    def contact_sheet(self, preview: StageFolder) -> None:
        """RUN/figures/*.png."""
        pictures = sorted(Path(preview.path).glob("*.png"))
        self._copy({self.folder.path / "figures" / picture.name: picture for picture in pictures})
