"""What added images are taught as: the judge's probabilities instead of one class, and their weight in the loss.

Soft targets after Hinton et al. 2015, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531): a teacher's
probabilities at a temperature, mixed with the class that is known. That a weak teacher is a good one for synthetic images is
a finding of Li et al. 2023, "Is Synthetic Data From Diffusion Models Ready for Knowledge Distillation?" (arXiv 2305.12954).

Shape legend: N images, C classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from engine.arms import ARMS
from engine.artifacts import accept as accept_file
from engine.artifacts import judge as judge_file
from engine.artifacts import synthetic
from engine.artifacts.accept import AcceptFacts
from engine.classifier.predict import tempered
from engine.config import Config
from engine.errors import DataError
from engine.types import IntArray, StrArray

Floats = npt.NDArray[np.float64]


class SoftLabels(BaseModel):
    """How the images that an arm adds are labelled and weighted.

    Attributes:
        temperature: of the labels, on top of the judge's calibration; None: labels are hard.
        share: kept for the class that was intended, 0 to 1.
        weight: of an added image in the loss; a real image has 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None
    share: float = 0.0
    weight: float = 1.0

    @classmethod
    def of(cls, config: Config, arm: str) -> SoftLabels | None:
        """Return how ``arm``'s added images are taught; None: by their class, as any other image.

        ``synthesis.labels`` and ``weight`` concern synthetic images. Real images that an arm labels softly are always so,
        and weigh as much as any real image.
        """
        section, adds = config.synthesis, ARMS[arm].adds
        soft = {"temperature": section.label_temperature, "share": section.label_share}
        if adds == "own images softly":
            return cls(**soft)
        if adds != "synthetic images" or (section.labels == "hard" and section.weight == 1.0):
            return None
        return (
            cls(temperature=None, weight=section.weight)
            if section.labels == "hard"
            else cls(**soft, weight=section.weight)
        )

    @property
    def soft(self) -> bool:
        """Whether labels are soft."""
        return self.temperature is not None

    def labels(self, prob_NC: Floats, label_N: IntArray) -> Floats:
        """Return (1 - share) softmax(log p / temperature) + share one-hot(label), (N, C); rows sum to 1.

        Args:
            prob_NC: calibrated probabilities of the judge.
            label_N: the intended class of each image.
        """
        assert self.temperature is not None
        kept_NC = self.share * np.eye(prob_NC.shape[1])[label_N]
        return np.asarray((1.0 - self.share) * tempered(prob_NC, self.temperature) + kept_NC)


def judged_samples(accept: Path, classes: tuple[str, ...]) -> Floats:
    """Return the judge's calibrated probabilities (S, C) of a round's samples, columns in the order of ``classes``.

    Raises:
        DataError: synthetic.parquet has none (it is of an earlier version), or they are of other classes.
    """
    _same_classes(accept_file.read(accept).classes, classes, AcceptFacts.FILE, "accept")
    return np.asarray(synthetic.read_judge_prob(accept, len(classes)), dtype=np.float64)


def judged_out_of_fold(judge: Path, image_id: StrArray, classes: tuple[str, ...]) -> Floats:
    """Return the judge's calibrated probabilities (N, C) of train images, each by the fold that held its lesion out.

    Raises:
        DataError: the judge was fitted on other classes, or an image is none of its train images.
    """
    found = judge_file.read(judge)
    _same_classes(found.classes, classes, judge_file.FILE, "the judge")
    at = {str(name): row for row, name in enumerate(found.image_id)}
    absent = [str(name) for name in image_id if str(name) not in at]
    if absent:
        raise DataError(
            f"{judge_file.FILE} lacks image_id {absent[0]} ({len(absent)} in all); rerun the judge on this split"
        )
    rows = np.array([at[str(name)] for name in image_id], dtype=np.int64)
    prob_NC = np.asarray(found.prob_NC[rows], dtype=np.float64)
    return tempered(prob_NC, judge_file.read_facts(judge).temperature)


def _same_classes(found: tuple[str, ...], classes: tuple[str, ...], file: str, stage: str) -> None:
    if found != classes:
        raise DataError(
            f"{file} is for classes {', '.join(found) or 'unknown'}, the data's are {', '.join(classes)}; rerun {stage}"
        )
