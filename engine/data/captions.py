"""Text prompts from metadata: diagnosis, site, sex, ten-year age band; what is unknown is left out.

How a diagnosis was confirmed (HAM10000's ``dx_type``) leaks the class and is not in the LesionTable at all.
"""

from __future__ import annotations

import math

from engine.types import LesionTable

AGE_BAND = 10
UNKNOWN = ("", "unknown")


def captions(table: LesionTable) -> list[str]:
    """Return one caption an image, such as ``dermoscopy of mel on the back, female, age 50-59``."""
    rows = zip(table.dx, table.localization, table.sex, table.age, strict=True)
    return [caption(str(dx), str(site), str(sex), float(age)) for dx, site, sex, age in rows]


def caption(dx: str, site: str = "", sex: str = "", age: float = math.nan) -> str:
    """Return the caption of one image; ``age`` in years, NaN where unknown."""
    where = "" if site.lower() in UNKNOWN else f" on the {site}"
    parts = [f"dermoscopy of {dx}{where}" if dx else f"dermoscopy{where}"]
    if sex.lower() not in UNKNOWN:
        parts.append(sex)
    if not math.isnan(age):
        parts.append(f"age {age_band(age)}")
    return ", ".join(parts)


def age_band(age: float) -> str:
    """Return the ten-year band of an age in years: 57 -> ``50-59``; NaN -> ``""``."""
    if math.isnan(age):
        return ""
    low = int(age) // AGE_BAND * AGE_BAND
    return f"{low}-{low + AGE_BAND - 1}"
