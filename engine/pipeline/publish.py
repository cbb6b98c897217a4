"""Copies what people read from the stage cache into the run folder (the contract of ARCHITECTURE.md)."""

from __future__ import annotations

from pathlib import Path

from engine.artifacts import (
    champion,
    classifier_fit,
    conditioning,
    hard_cases,
    neighbours,
    predictions,
    report_json,
    split,
    synthetic,
)
from engine.artifacts.accept import AcceptFacts
from engine.artifacts.calibration import Calibration
from engine.artifacts.champion import Champion
from engine.artifacts.fidelity import Fidelity
from engine.artifacts.report_json import RoundEntry
from engine.artifacts.review import write_blank
from engine.artifacts.run_layout import REVIEW_SHEET, SHEETS, THUMBNAILS
from engine.artifacts.synthesized import PICTURES, STATES
from engine.history import Made, Trained
from engine.store.cache import StageFolder
from engine.store.files import copy_file, copy_folder
from engine.store.run_folder import RunFolder

OF_A_ROUND = (
    ("mine", hard_cases.FILE),
    ("condition", conditioning.FILE),
    ("condition", neighbours.FILE),
    ("accept", synthetic.FILE),
    ("accept", AcceptFacts.FILE),
    ("fidelity", Fidelity.FILE),
)
"""Files of a round's folder, by the stage that wrote them."""


class Publisher:
    """Publishes stage folders; every call may be repeated (a resumed run does)."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.layout = folder.layout

    def split(self, stage: StageFolder) -> None:
        """RUN/split.parquet: image_id, lesion_id, dx, split, group; with training sets each image's train_set (-1: none)."""
        split.publish(stage.path, self.folder.path)

    def synthesis(self, number: int, made: Made, thumbnails: StageFolder) -> None:
        """RUN/rounds/NNNN: hard cases, conditioning, synthetic images with verdicts, small pictures."""
        target = self.layout.round_folder(number)
        for stage, name in OF_A_ROUND:
            copy_file(made.folders[stage].path / name, target / name)
        copy_folder(made.synthesize.path / PICTURES, self.layout.pictures(number))
        copy_folder(thumbnails.path / THUMBNAILS, self.layout.thumbnails(number))
        for picture in (*(thumbnails.path / name for name in SHEETS), made.synthesize.path / STATES):
            if picture.exists():
                copy_file(picture, target / picture.name)

    def review(self, path: Path, accept: StageFolder) -> None:
        """Write the blank CSV of verdicts and the sheet beside it."""
        write_blank(path, synthetic.read_sample_ids(accept.path).tolist())
        if (accept.path / REVIEW_SHEET).exists():
            copy_file(accept.path / REVIEW_SHEET, path.with_suffix(".png"))

    def arm(self, entry: RoundEntry, trained: Trained) -> None:
        """One (round, arm): predictions, calibration, weights, report."""
        target = self.layout.arm_folder(entry.round, entry.arm)
        for stage, name in (
            (trained.predict, predictions.FILE),
            (trained.predict, Calibration.FILE),
            (trained.classifier, classifier_fit.WEIGHTS),
        ):
            copy_file(stage.path / name, target / name)
        report_json.write_round(entry, target)

    def champion(self, crowned: Champion, after_round: int) -> bool:
        """RUN/champion.json as val sees it after a round; returns whether it changed.

        A resumed run passes its first rounds again: what it crowned after a later one stays, also where that was
        going back to an early round (``after_round`` in the file).
        """
        weights = self.layout.relative(self.layout.weights(crowned.round, crowned.arm))
        entry = crowned.model_copy(update={"classifier": weights, "after_round": after_round})
        kept = champion.read_if_crowned(self.folder.path)
        if kept is not None:
            again = {**kept.to_json(), "after_round": after_round} == entry.to_json()
            if again or kept.crowned_after > after_round:
                return False
        champion.write(entry, self.folder.path)
        return True

    def contact_sheet(self, preview: StageFolder) -> None:
        """RUN/figures/*.png."""
        for picture in sorted(preview.path.glob("*.png")):
            copy_file(picture, self.layout.figures / picture.name)


class NullPublisher(Publisher):
    """Publishes nothing."""

    def split(self, stage: StageFolder) -> None:
        """Do nothing."""

    def synthesis(self, number: int, made: Made, thumbnails: StageFolder) -> None:
        """Do nothing."""

    def review(self, path: Path, accept: StageFolder) -> None:
        """Do nothing."""

    def arm(self, entry: RoundEntry, trained: Trained) -> None:
        """Do nothing."""

    def champion(self, crowned: Champion, after_round: int) -> bool:
        """Return that nothing changed."""
        return False

    def contact_sheet(self, preview: StageFolder) -> None:
        """Do nothing."""
