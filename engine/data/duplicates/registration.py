"""Brings one image onto another: the best shift and zoom by Fourier correlation, then a similarity by Gauss-Newton.

Images are compared by their detail: a band of spatial frequencies whose local contrast is made equal, so that a dark
outline counts no more than a hair or a skin pore. The coarser band forgives a misfit and finds the place, the finer band
then decides.

A placement is (log zoom, angle, x, y): a point p of the first image lies at exp(log zoom) R(angle) p + (x, y) in the second.
Coordinates run from -1 to 1 over the frame, x to the right, y down; angles are radians.

Shape legend: N images, P pairs, B pairs of a block, S side, Z zooms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import fft, ndimage
from torch import Tensor
from torch.nn.functional import grid_sample

Float32 = npt.NDArray[np.float32]

FINE = (0.6, 1.3)
"""Gaussians (pixels) whose difference is the finer band; the coarser one is the same at half the size."""
CONTRAST_WINDOW = 2.0
CONTRAST_FLOOR = 0.3
CLIP = 1.5
ZOOMS = (1.0, 1.05, 1.1)
PLACES = ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2))
"""Zoom of the first and of the second image, as positions in ZOOMS."""
LARGEST_SHIFT = 1 / 8
BLOCK = 512
STEPS = 6
DAMPING = 1e-2
LEAST_OVERLAP = 0.5
CELLS = 4
CELL_SEEN = 0.3
"""A cell counts when its weight is at least this share of the heaviest cell's."""


def detail(grey_NSS: Float32) -> Float32:
    """Return (N, S, S) detail, faded at the rim, with mean 0 and norm 1."""
    side = grey_NSS.shape[-1]
    window_SS = rim_window(side)
    low, high = (ndimage.gaussian_filter(grey_NSS, (0, sigma, sigma)) for sigma in FINE)
    band = low - high
    local = np.sqrt(ndimage.gaussian_filter(band**2, (0, CONTRAST_WINDOW, CONTRAST_WINDOW))) + CONTRAST_FLOOR
    even = np.clip(band / local, -CLIP, CLIP) * window_SS
    even -= even.mean(axis=(1, 2), keepdims=True)
    return np.asarray(even / np.maximum(np.linalg.norm(even, axis=(1, 2), keepdims=True), 1e-6), np.float32)


def rim_window(side: int) -> Float32:
    """Return weights (S, S) that fade to 0 at the rim."""
    window = np.hanning(side + 2)[1:-1]
    return np.asarray(np.sqrt(np.outer(window, window)), dtype=np.float32)


def shrink(grey_NSS: Float32, side: int) -> Float32:
    """Return images averaged into ``side`` x ``side`` equal cells."""
    cells_GS = area_weights(side, grey_NSS.shape[1])
    return np.asarray(np.einsum("gs,nst,ht->ngh", cells_GS, grey_NSS, cells_GS, optimize=True), np.float32)


def area_weights(cells: int, side: int) -> Float32:
    """Return weights (cells, S) that average ``side`` pixels into equal cells, parts of pixels included."""
    edge = np.arange(cells + 1) * (side / cells)
    pixel = np.arange(side)
    overlap = np.minimum(edge[1:, None], pixel + 1) - np.maximum(edge[:-1, None], pixel)
    return np.asarray(np.clip(overlap, 0.0, None) * (cells / side), dtype=np.float32)


def zoomed(grey_NSS: Float32, zoom: float) -> Float32:
    """Return the middle 1 / zoom of each image, scaled up to its side."""
    if zoom == 1.0:
        return grey_NSS
    placed = torch.tensor([-np.log(zoom), 0.0, 0.0, 0.0], dtype=torch.float32)
    images = torch.from_numpy(np.ascontiguousarray(grey_NSS))[:, None]
    moved = _sample(images, _grid(placed.expand(len(images), 4), images.shape[-1]))
    return np.asarray(moved[:, 0].numpy(), dtype=np.float32)


def zoomed_details(grey_NSS: Float32) -> Float32:
    """Return (Z, N, S, S) detail of the images at every zoom; that of a turned image is the turned detail."""
    found = np.empty((len(ZOOMS), *grey_NSS.shape), dtype=np.float32)
    for position, zoom in enumerate(ZOOMS):
        for start in range(0, len(grey_NSS), BLOCK):
            found[position, start : start + BLOCK] = detail(zoomed(grey_NSS[start : start + BLOCK], zoom))
    return found


def spectra(detail_ZNSS: Float32) -> npt.NDArray[np.complex64]:
    """Return (Z, N, F, F') spectra of detail, padded against wrapping round."""
    side = detail_ZNSS.shape[-1]
    size = side + 2 * largest_shift(side)
    return np.asarray(fft.rfft2(detail_ZNSS, (size, size)), dtype=np.complex64)


def largest_shift(side: int) -> int:
    """Return the largest shift tried, pixels."""
    return max(1, round(LARGEST_SHIFT * side))


def match(
    first_ZBFF: npt.NDArray[np.complex64], second_ZBFF: npt.NDArray[np.complex64], side: int
) -> tuple[Float32, Float32]:
    """Return each pair's largest correlation of detail (B,) over PLACES and shifts, and its placement (B, 4)."""
    count, shift = first_ZBFF.shape[1], largest_shift(side)
    near = np.arange(-shift, shift + 1)
    best_B = np.full(count, -np.inf, dtype=np.float32)
    placement_B4 = np.zeros((count, 4), dtype=np.float32)
    for one, two in PLACES:
        product = first_ZBFF[one].conj() * second_ZBFF[two]
        padded = side + 2 * shift
        correlation = fft.irfft2(product, (padded, padded))[:, near[:, None], near].reshape(count, -1)
        top = correlation.argmax(axis=1)
        value = correlation[np.arange(count), top]
        y, x = near[top // len(near)], near[top % len(near)]
        scale = 2.0 / (side * ZOOMS[two])
        log_zoom = np.full(count, np.log(ZOOMS[one] / ZOOMS[two]))
        placed = np.stack([log_zoom, np.zeros(count), x * scale, y * scale], axis=1)
        better = value > best_B
        best_B[better], placement_B4[better] = value[better], placed[better]
    return best_B, placement_B4


def refine(first_BSS: Float32, second_BSS: Float32, start_B4: Float32) -> tuple[Float32, Float32]:
    """Improve placements by Gauss-Newton on the detail of two images; return (correlation (B,), placement (B, 4)).

    The correlation is over the part of the frame both images show. It is that of the best step, the start included.
    """
    first, second = (torch.from_numpy(np.ascontiguousarray(x))[:, None] for x in (first_BSS, second_BSS))
    side = first.shape[-1]
    window = torch.from_numpy(rim_window(side))[None, None]
    slopes = torch.cat([second, *_slopes(second)], dim=1)
    placed = torch.from_numpy(np.ascontiguousarray(start_B4)).float()
    best, kept = torch.full((len(first),), -1.0), placed.clone()
    for step in range(STEPS + 1):
        grid = _grid(placed, side)
        weight = window * (grid.abs().amax(dim=-1) <= 1.0)[:, None]
        moved = _sample(slopes, grid)
        target, value = _standard(first, weight), _standard(moved[:, :1], weight)
        total = weight.sum(dim=(1, 2, 3))
        agreement = (target[0] * value[0] * weight).sum(dim=(1, 2, 3)) / total.clamp_min(1e-6)
        agreement = torch.where(total >= LEAST_OVERLAP * window.sum(), agreement, torch.tensor(-1.0))
        better = agreement > best
        best, kept = torch.where(better, agreement, best), torch.where(better[:, None], placed, kept)
        if step < STEPS:
            placed = placed + _step(target[0] - value[0], moved[:, 1:] / value[1], grid, placed, weight)
    return np.asarray(best.numpy(), dtype=np.float32), np.asarray(kept.numpy(), dtype=np.float32)


def agreement(first_BSS: Float32, second_BSS: Float32, placed_B4: Float32) -> Float32:
    """Return how well the detail of registered images agrees, (B,): the mean of the correlations in CELLS x CELLS cells.

    Cells the second image does not show are left out. Two dark spots of one shape agree in the few cells their outline
    runs through; one lesion photographed twice agrees in most.
    """
    first, second = (torch.from_numpy(np.ascontiguousarray(x))[:, None] for x in (first_BSS, second_BSS))
    grid = _grid(torch.from_numpy(np.ascontiguousarray(placed_B4)).float(), first.shape[-1])
    weight = torch.from_numpy(rim_window(first.shape[-1])) * (grid.abs().amax(dim=-1) <= 1.0)[:, None]
    moved = _sample(second, grid)
    total = _cell_sums(weight).clamp_min(1e-6)
    mean_1, mean_2 = (_cell_sums(x * weight) / total for x in (first, moved))
    products = [
        _cell_sums(x * y * weight) / total for x, y in ((first, moved), (first, first), (moved, moved))
    ]
    covariance = products[0] - mean_1 * mean_2
    variance = (products[1] - mean_1**2) * (products[2] - mean_2**2)
    correlation = covariance / variance.clamp_min(1e-16).sqrt()
    seen = (total >= CELL_SEEN * total.amax(dim=1, keepdim=True)).float()
    return np.asarray(((correlation * seen).sum(dim=1) / seen.sum(dim=1)).numpy(), dtype=np.float32)


def warp(image_HWC: npt.NDArray[np.uint8], placement_4: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Return the second image (already turned) as it looks in the first one's frame; black where it shows nothing."""
    pixels = torch.tensor(np.array(image_HWC)).float().permute(2, 0, 1)[None]
    grid = _grid(torch.as_tensor(placement_4, dtype=torch.float32)[None], pixels.shape[-1])
    inside = (grid.abs().amax(dim=-1) <= 1.0)[:, None]
    moved = (_sample(pixels, grid) * inside)[0].permute(1, 2, 0)
    return np.asarray(moved.round().clamp(0, 255).numpy(), dtype=np.uint8)


def _grid(placed_B4: Tensor, side: int) -> Tensor:
    """Return where each pixel of the first image lies in the second, (B, S, S, 2) as (x, y)."""
    axis = (torch.arange(side) * 2 + 1) / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    zoom = placed_B4[:, 0].exp()[:, None, None]
    cosine, sine = zoom * placed_B4[:, 1].cos()[:, None, None], zoom * placed_B4[:, 1].sin()[:, None, None]
    shift = placed_B4[:, 2:, None, None]
    return torch.stack([cosine * x - sine * y + shift[:, 0], sine * x + cosine * y + shift[:, 1]], dim=-1)


def _sample(images_BCSS: Tensor, grid_BSS2: Tensor) -> Tensor:
    return grid_sample(images_BCSS, grid_BSS2, mode="bilinear", padding_mode="border", align_corners=False)


def _cell_sums(images_B1SS: Tensor) -> Tensor:
    """Return sums over CELLS x CELLS equal cells, (B, CELLS * CELLS)."""
    side = images_B1SS.shape[-1]
    weights = torch.from_numpy(area_weights(CELLS, side)) * (side / CELLS)
    return torch.einsum("gs,bst,ht->bgh", weights, images_B1SS[:, 0], weights).flatten(1)


def _slopes(images_B1SS: Tensor) -> tuple[Tensor, Tensor]:
    """Return derivatives by x and y a unit of the frame's coordinates, by central differences."""
    half = images_B1SS.shape[-1] / 4
    across = half * (images_B1SS.roll(-1, 3) - images_B1SS.roll(1, 3))
    return across, half * (images_B1SS.roll(-1, 2) - images_B1SS.roll(1, 2))


def _standard(images_B1SS: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return images with weighted mean 0 and spread 1, and the spread they had."""
    total = weight.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
    centred = images_B1SS - (images_B1SS * weight).sum(dim=(1, 2, 3), keepdim=True) / total
    spread = ((centred**2 * weight).sum(dim=(1, 2, 3), keepdim=True) / total).sqrt().clamp_min(1e-6)
    return centred / spread, spread


def _step(residual: Tensor, slope: Tensor, grid: Tensor, placed: Tensor, weight: Tensor) -> Tensor:
    """Return the Gauss-Newton step (B, 4) of the placement, damped after Levenberg."""
    across, down = slope[:, 0], slope[:, 1]
    about = grid - placed[:, None, None, 2:]
    columns = [
        across * about[..., 0] + down * about[..., 1], down * about[..., 0] - across * about[..., 1], across, down
    ]  # fmt: skip
    jacobian = torch.stack([column.flatten(1) for column in columns], dim=2)
    weighted = jacobian * weight.flatten(1)[..., None]
    square = weighted.transpose(1, 2) @ jacobian
    ridge = DAMPING * square.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-6)
    square = square + ridge[:, None, None] * torch.eye(4)
    solved: Tensor = torch.linalg.solve(square, weighted.transpose(1, 2) @ residual.flatten(1)[..., None])
    return solved[..., 0]
