"""Fits what val may fit: one temperature and one operating point.

Temperature scaling after Guo et al. 2017, "On Calibration of Modern Neural Networks" (Eq. 9).
Shape legend: N images, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from engine.artifacts.calibration import Calibration
from engine.classifier.predict import softmax

TEMPERATURES = (0.05, 20.0)
FEWEST = 10
"""Fewer val images than this fit no temperature."""

Array = npt.NDArray[np.float64]


def calibrate(
    logits_NC: Array,
    label_N: npt.NDArray[np.int64],
    classes: Sequence[str],
    malignant: Sequence[str],
    specificity: float,
    melanoma: str | None = None,
    melanoma_sensitivity: float = 0.95,
) -> Calibration:
    """Fit temperature and operating points on the val images given (N may be 0: temperature 1, no threshold)."""
    temperature = fit_temperature(logits_NC, label_N)
    known = tuple(name for name in classes if name in set(malignant))
    columns = [position for position, name in enumerate(classes) if name in known]
    own = classes.index(melanoma) if melanoma in classes else None
    threshold = melanoma_threshold = None
    prob_NC = softmax(logits_NC, temperature)
    if columns and len(label_N):
        threshold = operating_point(malignant_score(prob_NC, columns), np.isin(label_N, columns), specificity)
    if own is not None and len(label_N):
        melanoma_threshold = sensitivity_point(prob_NC[:, own], label_N == own, melanoma_sensitivity)
    return Calibration(
        temperature=temperature,
        malignant=known,
        threshold=threshold,
        specificity=specificity,
        classes=tuple(classes),
        melanoma=melanoma if own is not None else None,
        melanoma_threshold=melanoma_threshold,
        melanoma_sensitivity=melanoma_sensitivity if own is not None else None,
    )


def fit_temperature(logits_NC: Array, label_N: npt.NDArray[np.int64]) -> float:
    """Return the T in [0.05, 20] that minimises the mean negative log-likelihood of softmax(logits / T).

    1.0 where the minimum does not exist or means nothing: fewer than 10 images, a single class, or every image
    classified correctly (the likelihood then rises without end as T falls).
    """
    if len(label_N) < FEWEST or len(set(label_N.tolist())) < 2:
        return 1.0
    if bool(np.all(np.argmax(logits_NC, axis=1) == label_N)):
        return 1.0
    low, high = (math.log(t) for t in TEMPERATURES)
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits_NC, label_N, math.exp(log_t)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.clip(math.exp(float(found.x)), *TEMPERATURES))


def negative_log_likelihood(logits_NC: Array, label_N: npt.NDArray[np.int64], temperature: float) -> float:
    """Return the mean of -log softmax(logits / temperature)[label], float64."""
    scaled_NC = logits_NC / temperature
    scaled_NC = scaled_NC - scaled_NC.max(axis=1, keepdims=True)
    log_total_N = np.log(np.exp(scaled_NC).sum(axis=1))
    return float(np.mean(log_total_N - scaled_NC[np.arange(len(label_N)), label_N]))


def malignant_score(prob_NC: Array, columns: Sequence[int]) -> Array:
    """Return the sum of the malignant classes' probabilities."""
    return np.asarray(prob_NC[:, list(columns)].sum(axis=1))


def operating_point(score_N: Array, malignant_N: npt.NDArray[np.bool_], specificity: float) -> float | None:
    """Return the lowest threshold whose specificity on these images is at least ``specificity``.

    An image is called malignant when its score >= threshold. All thresholds between two neighbouring scores decide
    alike here, so of the lowest such gap the middle is returned: rounding elsewhere cannot flip an image of val.
    None without a malignant or without a benign image.
    """
    benign = np.sort(score_N[~malignant_N])
    if len(benign) == 0 or not malignant_N.any():
        return None
    needed = math.ceil(specificity * len(benign) - 1e-9)
    below = float(benign[needed - 1]) if needed > 0 else 0.0
    above = score_N[score_N > below]
    upper = float(above.min()) if len(above) else max(1.0, below)
    middle = (below + upper) / 2
    return middle if middle > below else float(np.nextafter(below, np.inf))


def sensitivity_point(score_N: Array, positive_N: npt.NDArray[np.bool_], sensitivity: float) -> float | None:
    """Return the highest threshold whose sensitivity on these images is at least ``sensitivity``; None as above."""
    mirrored = operating_point(-score_N, ~positive_N, sensitivity)
    return None if mirrored is None else -mirrored
