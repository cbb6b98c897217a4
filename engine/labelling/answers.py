"""Where a run's labels come from: the readers who filled ``labels.parquet``, or the oracle of a study with hidden labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.artifacts import asked, labels, oracle
from engine.artifacts.labels import ORACLE, Answer, Settled
from engine.artifacts.run_layout import RunLayout
from engine.errors import DataError

Source = Literal["readers", "oracle"]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back on questions.

    Attributes:
        labels: class by image.
        asked: images asked about.
        open: of those, the images that nobody has answered yet; nothing trains on labels while there are some.
        conflicts: of those, the images on which readers do not agree.
        unsure: of those, the images of which nobody could tell.
        simulated: whether the oracle answered.
    """

    labels: Mapping[str, str]
    asked: int
    open: int
    conflicts: int
    unsure: int
    simulated: bool


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of one run folder.

    Attributes:
        run: the run folder.
        source: who is asked in the rounds of the run. ``oracle`` uncovers hidden labels and writes them down as a reader's.
    """

    run: Path
    source: Source = "readers"

    def now(self, images: Sequence[str], split: Path) -> Settled:
        """Return what the answers say at this moment, the oracle's to ``images`` among them where it is asked.

        Args:
            images: those that were asked about.
            split: the folder of stage ``split``, where hidden labels stand.

        Raises:
            DataError: the oracle is asked about an image whose label is not hidden; labels.parquet is damaged.
        """
        if self.source == "oracle":
            uncover(self.run, images, split)
        return self.settled()

    def settled(self) -> Settled:
        """Return what the answers say of each image."""
        return labels.settle(labels.read(self.run))

    def of_no_round(self) -> dict[str, str]:
        """Return the labels of images that no round of the run asked about: they are train images from now on."""
        answered = self.settled().labels
        if not answered:
            return {}
        layout = RunLayout(self.run)
        of_rounds = {
            image
            for folder in layout.questions()
            if folder.parent != layout.queries
            for image in asked.read_ids(folder).tolist()
        }
        return {image: dx for image, dx in answered.items() if image not in of_rounds}


def reply_to(images: Sequence[str], found: Settled) -> Reply:
    """Return what answers say of the images that were asked about."""
    return Reply(
        labels={image: found.labels[image] for image in images if image in found.labels},
        asked=len(images),
        open=sum(image not in found.answered for image in images),
        conflicts=sum(image in found.conflicts for image in images),
        unsure=sum(image in found.unsure for image in images),
        simulated=any(image in found.simulated for image in images),
    )


def uncover(run: Path, images: Sequence[str], split: Path) -> int:
    """Answer as the oracle what it has not answered yet; returns how many answers that were.

    Raises:
        DataError: the label of an image is not hidden: nobody knows it.
    """
    hidden = oracle.read(split)
    if unknown := [image for image in images if image not in hidden]:
        raise DataError(
            f"{oracle.SCHEMA.path(split)}: has no hidden label of {unknown[0]} ({len(unknown)} in all); set "
            "data.split.hide_labels, or have readers answer (loop.labels_from=readers)"
        )
    fresh: list[Answer] = []

    def unanswered(given: Sequence[Answer]) -> list[Answer]:
        standing = labels.standing(given)
        open_ = [image for image in images if ORACLE not in standing.get(image, {})]
        fresh.extend(Answer(image_id=image, reader=ORACLE, dx=hidden[image]) for image in open_)
        return fresh

    labels.append_after(run, unanswered)
    return len(fresh)
