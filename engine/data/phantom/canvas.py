"""The drawing surface of a phantom and its primitives: noise fields, discs, curved lines; all antialiased.

Everything of a lesion is placed in its own coordinates (x, y in half image sides, origin at its middle), so that the
views of one lesion show the same geometry at any size. Legend: H, W canvas rows and columns; K items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class View:
    """How a photograph shows a lesion: turned by ``angle`` (radians), perhaps mirrored, enlarged, moved."""

    angle: float = 0.0
    zoom: float = 1.0
    mirror: bool = False
    shift: tuple[float, float] = (0.0, 0.0)

    def to_lesion(self, u: Field, v: Field) -> tuple[Field, Field]:
        """Map image coordinates (-1..1) to lesion coordinates."""
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        du, dv = u - np.float32(self.shift[0]), v - np.float32(self.shift[1])
        zoom = np.float32(self.zoom)
        x = ((du * cos + dv * sin) / zoom).astype(np.float32)
        y = ((dv * cos - du * sin) / zoom).astype(np.float32)
        return (-x if self.mirror else x), y

    def to_image(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Map lesion coordinates to image coordinates: the inverse of ``to_lesion``."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = (-x if self.mirror else x) * self.zoom, y * self.zoom
        return x * cos - y * sin + self.shift[0], x * sin + y * cos + self.shift[1]


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """An image being painted, ``rgb_HWC`` in place (0-1), with the lesion coordinates of every pixel.

    ``pixel`` is the side of a canvas pixel in lesion coordinates: nothing is drawn thinner.
    """

    rgb_HWC: Field
    x_HW: Field
    y_HW: Field
    view: View
    pixel: float

    @property
    def side(self) -> int:
        """Rows (and columns) of the canvas."""
        return len(self.rgb_HWC)

    def paint(self, alpha: Field, colour: npt.ArrayLike, window: tuple[slice, slice] | None = None) -> None:
        """Blend ``colour`` over the canvas (or a window of it) with opacity ``alpha`` (0-1)."""
        target = self.rgb_HWC if window is None else self.rgb_HWC[window]
        target += alpha[..., None] * (np.asarray(colour, dtype=np.float32) - target)

    def window(self, x: Floats, y: Floats, margin: float) -> tuple[slice, slice]:
        """Return the canvas window around lesion points (K,), ``margin`` (lesion units) wider; may be empty."""
        u, v = self.view.to_image(x, y)
        grow = margin * self.view.zoom
        low = np.floor((np.array([v.min(), u.min()]) - grow + 1.0) * self.side / 2).astype(int)
        high = np.ceil((np.array([v.max(), u.max()]) + grow + 1.0) * self.side / 2).astype(int) + 1
        low, high = np.clip(low, 0, self.side), np.clip(high, 0, self.side)
        return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def new_canvas(side: int, view: View) -> Canvas:
    """Return a black canvas of ``side`` x ``side`` pixels that shows a lesion in ``view``."""
    axis = ((np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(2.0 / side)) - np.float32(1.0)
    u, v = np.meshgrid(axis, axis)
    x_HW, y_HW = view.to_lesion(u, v)
    rgb = np.zeros((side, side, 3), dtype=np.float32)
    return Canvas(rgb_HWC=rgb, x_HW=x_HW, y_HW=y_HW, view=view, pixel=2.0 / side / view.zoom)


def smoothstep(low: float, high: float, value: Field) -> Field:
    """Return 0 below ``low``, 1 above ``high``, 3t^2 - 2t^3 between (``low`` > ``high`` falls instead of rising)."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0.0, 1.0).astype(np.float32)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def noise(rng: np.random.Generator, x: Field, y: Field, frequency: float, waves: int = 8) -> Field:
    """Return a smooth random field, mean 0, variance 1: plane waves of about ``frequency`` cycles a unit length."""
    directions = (np.arange(waves) + rng.random(waves)) * np.pi / waves
    wave_number = 2.0 * np.pi * frequency * np.exp(rng.uniform(-0.6, 0.6, waves))
    phase = rng.uniform(0.0, 2.0 * np.pi, waves)
    total = np.zeros_like(x)
    for kx, ky, p in zip(
        wave_number * np.cos(directions), wave_number * np.sin(directions), phase, strict=True
    ):
        total += np.cos(x * np.float32(kx) + y * np.float32(ky) + np.float32(p))
    return np.asarray(total * np.float32(np.sqrt(2.0 / waves)), dtype=np.float32)


def honeycomb(rng: np.random.Generator, x: Field, y: Field, spacing: float, chaos: float) -> Field:
    """Return a mesh field 0-1 whose lines are 1: three crossed waves, bent the more the higher ``chaos`` (0-1)."""
    turn = rng.uniform(0.0, np.pi)
    bend = (0.20 + 0.60 * chaos) * spacing
    wx = x + np.float32(bend) * noise(rng, x, y, 0.30 / spacing, 6)
    wy = y + np.float32(bend) * noise(rng, x, y, 0.30 / spacing, 6)
    k = 2.0 * np.pi / (spacing * np.sqrt(3.0) / 2.0)
    total = np.zeros_like(x)
    for step in range(3):
        angle = turn + step * np.pi / 1.5
        total += np.cos(wx * np.float32(k * np.cos(angle)) + wy * np.float32(k * np.sin(angle)))
    return np.asarray(1.0 - (total + 1.5) / 4.5, dtype=np.float32)


def draw_discs(
    canvas: Canvas,
    centre_K2: Floats,
    radius_K: Floats,
    colour_K3: Floats,
    opacity: float,
    blur: float = 0.35,
    clip_HW: Field | None = None,
) -> None:
    """Paint K discs; ``blur`` is the share of the radius over which the edge fades, ``clip_HW`` limits them."""
    for (cx, cy), radius, colour in zip(centre_K2, radius_K, colour_K3, strict=True):
        size = max(float(radius), 0.5 * canvas.pixel)
        window = canvas.window(np.array([cx]), np.array([cy]), 1.6 * size + canvas.pixel)
        distance = np.hypot(canvas.x_HW[window] - np.float32(cx), canvas.y_HW[window] - np.float32(cy))
        fade = max(blur * size, canvas.pixel)
        alpha = np.clip((np.float32(size) - distance) / np.float32(fade) + 0.5, 0.0, 1.0).astype(np.float32)
        alpha *= np.float32(opacity * min(1.0, (float(radius) / size) ** 2))
        if clip_HW is not None:
            alpha *= clip_HW[window]
        canvas.paint(alpha, colour, window)


def draw_curve(
    canvas: Canvas,
    start: tuple[float, float],
    angle: float,
    length: float,
    width: tuple[float, float],
    colour: npt.ArrayLike,
    opacity: float,
    bow: float = 0.0,
    wave: tuple[float, float, float] = (0.0, 0.0, 0.0),
    clip_HW: Field | None = None,
) -> None:
    """Paint one curved line from ``start`` along ``angle``, its ``width`` running from the first to the second value.

    ``bow`` is the sagitta (signed); ``wave`` adds (amplitude, wave number, phase) across the line. Lengths are lesion units.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    ends = np.array([0.0, length / 2, length])
    x = start[0] + ends * cos - np.array([0.0, bow, 0.0]) * sin
    y = start[1] + ends * sin + np.array([0.0, bow, 0.0]) * cos
    window = canvas.window(x, y, max(width) + wave[0] + 2 * canvas.pixel)
    dx, dy = canvas.x_HW[window] - np.float32(start[0]), canvas.y_HW[window] - np.float32(start[1])
    along = dx * np.float32(cos) + dy * np.float32(sin)
    share = np.clip(along / np.float32(length), 0.0, 1.0)
    middle = np.float32(4 * bow) * share * (1 - share)
    if wave[0] > 0.0:
        middle = middle + np.float32(wave[0]) * np.sin(np.float32(wave[1]) * along + np.float32(wave[2]))
    across = np.abs(dy * np.float32(cos) - dx * np.float32(sin) - middle)
    half = np.float32(width[0] / 2) + share * np.float32((width[1] - width[0]) / 2)
    thin = np.maximum(half, np.float32(0.5 * canvas.pixel))
    alpha = np.clip((thin - across) / np.float32(canvas.pixel) + 0.5, 0.0, 1.0) * (half / thin)
    alpha *= np.clip(
        (np.float32(length / 2) - np.abs(along - np.float32(length / 2))) / np.float32(canvas.pixel) + 0.5,
        0.0,
        1.0,
    )
    if clip_HW is not None:
        alpha = alpha * clip_HW[window]
    canvas.paint((alpha * np.float32(opacity)).astype(np.float32), colour, window)
