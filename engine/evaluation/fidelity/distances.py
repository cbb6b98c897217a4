"""How far a set of synthetic images is from a set of real ones, on features computed elsewhere.

Shape legend: R real images, S synthetic images, F feature width.
Both figures compare distributions only: a generator that copies its training images scores well on both, so they
are reported beside the nearest-train distance (memorization.py) and the judge's agreement, never alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.types import FloatArray

_KERNEL_DEGREE = 3
_KERNEL_OFFSET = 1.0


def polynomial_mmd(real_RF: FloatArray, synthetic_SF: FloatArray) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / F + 1)^3; 0 in expectation for equal sets.

    Source: Gretton et al. 2012, Eq. 3; Binkowski et al. 2018 (KID), Sec. 3.1. May be slightly negative.

    Raises:
        ValueError: widths differ or a set has fewer than 2 rows.
    """
    _check(real_RF, synthetic_SF)

    def within(rows: FloatArray) -> float:
        gram = kernel(rows, rows)
        return float((gram.sum() - np.trace(gram)) / (len(rows) * (len(rows) - 1)))

    return within(real_RF) + within(synthetic_SF) - 2.0 * float(kernel(real_RF, synthetic_SF).mean())


def kernel(a_NF: FloatArray, b_MF: FloatArray) -> npt.NDArray[np.float64]:
    """Return KID's polynomial kernel (x.y / F + 1)^3 of all pairs of rows, (N, M) float64."""
    a, b = (np.asarray(rows, dtype=np.float64) for rows in (a_NF, b_MF))
    return np.asarray((a @ b.T / a.shape[1] + _KERNEL_OFFSET) ** _KERNEL_DEGREE)


def frechet_distance(real_RF: FloatArray, synthetic_SF: FloatArray) -> float:
    """FID on the given features: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), >= 0 (Heusel et al. 2017, Eq. 6).

    Biased upwards for small sets (by far when rows < F): compare only sets of the same sizes. The trace of the
    root is taken from the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2), which has those of C1 C2.

    Raises:
        ValueError: widths differ or a set has fewer than 2 rows.
    """
    _check(real_RF, synthetic_SF)
    real, synthetic = (np.asarray(a, dtype=np.float64) for a in (real_RF, synthetic_SF))
    shift = real.mean(axis=0) - synthetic.mean(axis=0)
    cov_real, cov_synthetic = (np.atleast_2d(np.cov(a, rowvar=False)) for a in (real, synthetic))
    values, vectors = np.linalg.eigh(cov_real)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    cross = np.clip(np.linalg.eigvalsh(root @ cov_synthetic @ root), 0.0, None)
    distance = shift @ shift + np.trace(cov_real) + np.trace(cov_synthetic) - 2.0 * np.sqrt(cross).sum()
    return max(0.0, float(distance))


def _check(real: FloatArray, synthetic: FloatArray) -> None:
    if real.ndim != 2 or synthetic.ndim != 2 or real.shape[1] != synthetic.shape[1]:
        raise ValueError(
            f"feature arrays must be (rows, width) of one width, got {real.shape} and {synthetic.shape}"
        )
    if min(len(real), len(synthetic)) < 2:
        raise ValueError(
            f"both sets need 2 rows or more, got {len(real)} real and {len(synthetic)} synthetic"
        )
