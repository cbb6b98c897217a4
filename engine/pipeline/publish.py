"""Copies what people read from the stage cache into the run folder (the contract of ARCHITECTURE.md)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from engine.artifacts import (
    asked,
    classifier_fit,
    conditioning,
    hard_cases,
    neighbours,
    predictions,
    split,
    synthetic,
)
from engine.artifacts import champion as champion_file
from engine.artifacts.accept import AcceptFacts
from engine.artifacts.asked import AskedFacts
from engine.artifacts.calibration import Calibration
from engine.artifacts.champion import Champion
from engine.artifacts.digests import checksum
from engine.artifacts.fidelity import Fidelity
from engine.artifacts.report_json import RoundEntry, RunReport
from engine.artifacts.review import write_blank
from engine.artifacts.run_layout import REVIEW_SHEET, SHEETS, THUMBNAILS, seed_folder
from engine.artifacts.synthesized import PICTURES, STATES
from engine.history import Made, Trained
from engine.store.cache import StageFolder
from engine.store.files import checksums, copy_file, copy_folder
from engine.store.run_folder import RunFolder
from engine.store.verified import PublishedFiles

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
        self.published = PublishedFiles(folder.path)

    def _copy(self, files: Mapping[Path, Path]) -> None:
        """Copy {target: source}, their checksums noted first."""
        self.published.expect({target: checksum(source) for target, source in files.items()})
        for target, source in files.items():
            copy_file(source, target)

    def _copy_folder(self, source: Path, target: Path) -> None:
        self.published.expect({target / name: digest for name, digest in checksums(source).items()})
        copy_folder(source, target)

    def split(self, stage: StageFolder) -> None:
        """RUN/split.parquet: image_id, lesion_id, dx, split, group; with training sets each image's train_set (-1: none)."""
        with tempfile.TemporaryDirectory(prefix="hardcase-split-") as place:
            split.publish(stage.path, Path(place))
            self._copy({self.layout.split: split.SCHEMA.path(Path(place))})

    def report(self, report: RunReport) -> None:
        """RUN/report.json."""
        self.published.put(report, self.folder.path)

    def synthesis(self, number: int, made: Made, thumbnails: StageFolder) -> None:
        """RUN/rounds/NNNN: hard cases, conditioning, synthetic images with verdicts, small pictures."""
        target = self.layout.round_folder(number)
        self._copy({target / name: made.folders[stage].path / name for stage, name in OF_A_ROUND})
        self._copy_folder(made.synthesize.path / PICTURES, self.layout.pictures(number))
        self._copy_folder(thumbnails.path / THUMBNAILS, self.layout.thumbnails(number))
        pictures = (*(thumbnails.path / name for name in SHEETS), made.synthesize.path / STATES)
        self._copy({target / picture.name: picture for picture in pictures if picture.exists()})

    def review(self, path: Path, accept: StageFolder) -> None:
        """Write the blank CSV of verdicts and the sheet beside it."""
        write_blank(path, synthetic.read_sample_ids(accept.path).tolist())
        if (accept.path / REVIEW_SHEET).exists():
            copy_file(accept.path / REVIEW_SHEET, path.with_suffix(".png"))

    def questions(self, number: int, arm: str, ask: StageFolder) -> Path:
        """The images that one arm asks about in a round; returns their folder."""
        target = self.layout.arm_folder(number, arm)
        self._copy({target / name: ask.path / name for name in (asked.FILE, AskedFacts.FILE)})
        return target

    def arm(self, entry: RoundEntry, trained: Trained) -> None:
        """One (round, arm): predictions, calibration, weights, report."""
        target = self.layout.arm_folder(entry.round, entry.arm)
        for fit in trained.seeds:
            folder = target if fit is trained.first else target / seed_folder(fit.seed)
            files = (
                (fit.predict, predictions.FILE),
                (fit.predict, Calibration.FILE),
                (fit.classifier, classifier_fit.WEIGHTS),
            )
            self._copy({folder / name: stage.path / name for stage, name in files})
        self.published.put(entry, target)

    def champion(self, crowned: Champion, after_round: int) -> bool:
        """RUN/champion.json as val sees it after a round; returns whether it changed.

        A resumed run passes its first rounds again: what it crowned after a later one stays, also where that was
        going back to an early round (``after_round`` in the file).
        """
        weights = self.layout.relative(self.layout.weights(crowned.round, crowned.arm))
        entry = crowned.model_copy(update={"classifier": weights, "after_round": after_round})
        kept = champion_file.read_if_crowned(self.folder.path)
        if kept is not None:
            again = {**kept.to_json(), "after_round": after_round} == entry.to_json()
            if again or kept.crowned_after > after_round:
                return False
        self.published.put(entry, self.folder.path)
        return True

    def contact_sheet(self, preview: StageFolder) -> None:
        """RUN/figures/*.png."""
        pictures = sorted(preview.path.glob("*.png"))
        self._copy({self.layout.figures / picture.name: picture for picture in pictures})


class NullPublisher(Publisher):
    """Publishes nothing."""

    def split(self, stage: StageFolder) -> None:
        """Do nothing."""

    def report(self, report: RunReport) -> None:
        """Do nothing."""

    def synthesis(self, number: int, made: Made, thumbnails: StageFolder) -> None:
        """Do nothing."""

    def review(self, path: Path, accept: StageFolder) -> None:
        """Do nothing."""

    def questions(self, number: int, arm: str, ask: StageFolder) -> Path:
        """Return where they are."""
        return ask.path

    def arm(self, entry: RoundEntry, trained: Trained) -> None:
        """Do nothing."""

    def champion(self, crowned: Champion, after_round: int) -> bool:
        """Return that nothing changed."""
        return False

    def contact_sheet(self, preview: StageFolder) -> None:
        """Do nothing."""
