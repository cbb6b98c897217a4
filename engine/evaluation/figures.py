"""What each figure is called, which way is better, and how its values are printed.

A figure is a dotted name of report.json's metric object: ``malignant.auc``, ``per_class.mel.sensitivity``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class FigureWords:
    """One figure in words.

    Attributes:
        words: its name as the start of a sentence or the head of a column.
        share: it is a share of images: values are printed in %, differences in percentage points. Else as numbers.
        lower: lower is better.
    """

    words: str
    share: bool = True
    lower: bool = False


FIGURES: Final[Mapping[str, FigureWords]] = {
    "malignant.sensitivity": FigureWords(words="Malignant sensitivity"),
    "malignant.specificity": FigureWords(words="Malignant specificity"),
    "melanoma.sensitivity": FigureWords(words="Melanoma sensitivity"),
    "melanoma.specificity": FigureWords(words="Melanoma specificity"),
    "accuracy": FigureWords(words="Accuracy"),
    "balanced_accuracy": FigureWords(words="Balanced accuracy"),
    "auc": FigureWords(words="AUC, mean over classes", share=False),
    "malignant.auc": FigureWords(words="Malignant AUC", share=False),
    "malignant.mean_sensitivity": FigureWords(words="Mean malignant sensitivity over 80 to 98 % specificity"),
    "log_loss": FigureWords(words="Log loss", share=False, lower=True),
    "ece": FigureWords(words="Calibration error", share=False, lower=True),
}
"""Figures that arms are compared by; sensitivity of each class comes on top."""
LOWER_IS_BETTER: Final = ("ece", "log_loss", "nll", "brier")
"""Calibration error, log loss (``nll`` is its name in reports before 0.2) and Brier score; of all others more is better."""


def lower_is_better(figure: str) -> bool:
    """Whether a fall of the figure is a gain."""
    return figure.rpartition(".")[2] in LOWER_IS_BETTER


def is_share(figure: str) -> bool:
    """Whether the figure is a share of images, printed in %; a class's sensitivity and specificity are, its AUC is not."""
    known = FIGURES.get(figure)
    return known.share if known is not None else figure.endswith(("sensitivity", "specificity"))


def figure_words(figure: str) -> str:
    """Return the figure's name in words, with "lower is better" where it is; a name not in FIGURES as it stands."""
    known = FIGURES.get(figure)
    words = known.words if known is not None else figure
    return f"{words} (lower is better)" if lower_is_better(figure) else words


def in_sentence(figure: str, specificity: float) -> str:
    """Return the figure as the answer's sentence names it; ``specificity`` is that of the malignant operating point."""
    if figure == "malignant.sensitivity":
        return f"malignant sensitivity at {100 * specificity:g} % specificity"
    return inside_sentence(figure_words(figure))


def inside_sentence(words: str) -> str:
    """Return a figure's words without their capital, but for an abbreviation."""
    return words if words.startswith("AUC") else words[0].lower() + words[1:]
