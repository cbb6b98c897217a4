"""The images that a run has asked about: in which order, what the model held them to be, and which are open."""

from __future__ import annotations

from pathlib import Path

from engine.artifacts import asked, labels
from engine.artifacts.run_layout import RunLayout


def asked_images(run: Path) -> tuple[str, ...]:
    """Return every image asked about, once, in the order asked (DataError: a file of questions is damaged)."""
    folders = RunLayout(run).questions()
    return tuple(dict.fromkeys(image for folder in folders for image in asked.read_ids(folder).tolist()))


def open_images(run: Path) -> tuple[str, ...]:
    """Return the images asked about that nobody has answered, in the order asked (DataError: a damaged file)."""
    answered = labels.settle(labels.read(run)).answered
    return tuple(image for image in asked_images(run) if image not in answered)


def guesses(run: Path) -> dict[str, str]:
    """Return {image: the class the model gave it when it was last asked about} (DataError: a damaged file)."""
    found: dict[str, str] = {}
    for folder in RunLayout(run).questions():
        questions = asked.read(folder)
        found |= dict(zip(questions.image_id.tolist(), questions.predicted.tolist(), strict=True))
    return found
