"""Dense-window optical flow between consecutive small grey pictures, in numpy: displacement per cell of a coarse grid.

What is made of the displacements is decided in ``motion``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# pairs are independent of each other; this many fit in a core's cache
PAIRS_AT_ONCE = 12


def cell_edges(size: int, n_cells: int) -> NDArray[np.intp]:
    """First pixel of each of ``n_cells`` nearly equal cells along an axis of ``size`` pixels, shape (n_cells,)."""
    return np.linspace(0, size, n_cells + 1).astype(np.intp)[:-1]


def sum_cells(images: Floats, grid: tuple[int, int]) -> Floats:
    """Sums over the cells of a grid, shape (n_images, *grid), of images of shape (n_images, height, width)."""
    rows = np.add.reduceat(images, cell_edges(images.shape[1], grid[0]), axis=1)
    return np.add.reduceat(rows, cell_edges(images.shape[2], grid[1]), axis=2)


def halve(images: Floats) -> Floats:
    """Means over 2 x 2 pixels; an odd last row or column is dropped. Shape (n, height // 2, width // 2)."""
    even = images[:, : images.shape[1] // 2 * 2, : images.shape[2] // 2 * 2]
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / np.float32(4)


def displacements(
    frames: Floats,
    weights: Floats,
    *,
    grid: tuple[int, int],
    n_levels: int,
    n_iterations: int,
    blur_px: float,
    gradient_floor: float,
    max_share: float,
) -> Floats:
    """Weighted least-squares displacement of each cell from every frame to the next, coarse to fine.

    The method of B. D. Lucas and T. Kanade (1981), "An iterative image registration technique with an application to
    stereo vision", IJCAI, pp. 674-679, on an image pyramid (J.-Y. Bouguet, 2001, "Pyramidal implementation of the
    affine Lucas Kanade feature tracker"), one window per cell. Cells without texture or weight do not move: a floor is
    added to the diagonal of the normal equations.

    Parameters
    ----------
    frames : ndarray of shape (n_frames, height, width), float32
        Grey values 0..1, at least two frames.
    weights : ndarray of shape (height, width), float32
        Importance 0..1 of each pixel.
    grid : tuple of int
        Rows and columns of cells; (1, 1) for one displacement of the whole picture.
    n_levels, n_iterations : int
        Levels of the pyramid, each half the size of the one before, and Gauss-Newton steps at each.
    blur_px : float
        Sigma of the blur at each level, pixels.
    gradient_floor : float
        Root-mean-square gradient, grey values a pixel, under which a cell counts as flat.
    max_share : float
        Largest displacement, as a share of the height.

    Returns
    -------
    ndarray of shape (n_frames - 1, rows, columns, 2), float32
        Vertical (down) and horizontal (right) displacement, pixels of ``frames``.
    """
    from scipy.ndimage import gaussian_filter

    pyramid = [(frames, weights[None])]
    while len(pyramid) < n_levels and min(pyramid[-1][0].shape[1:]) >= 4 * max(grid):
        pyramid.append((halve(pyramid[-1][0]), halve(pyramid[-1][1])))
    flow = np.zeros((len(frames) - 1, *grid, 2), dtype=np.float32)
    for level, (images, weight) in reversed(list(enumerate(pyramid))):
        smooth = gaussian_filter(images, sigma=(0, blur_px, blur_px), mode="nearest").astype(np.float32)
        limit = max_share * images.shape[1]
        for start in range(0, len(flow), PAIRS_AT_ONCE):
            pairs = slice(start, start + PAIRS_AT_ONCE)
            for _ in range(n_iterations):
                step = _step(smooth[start : start + PAIRS_AT_ONCE + 1], weight, flow[pairs], floor=gradient_floor**2)
                flow[pairs] = np.clip(flow[pairs] + step, -limit, limit)
        flow = flow * np.float32(2) if level else flow
    return flow


def _step(smooth: Floats, weight: Floats, flow: Floats, *, floor: float) -> Floats:
    """One Gauss-Newton step of every cell's displacement."""
    grid = (flow.shape[1], flow.shape[2])
    warped = _warp(smooth[1:], flow)
    middle = (smooth[:-1] + warped) / np.float32(2)
    down, right = np.gradient(middle, axis=1), np.gradient(middle, axis=2)
    change = smooth[:-1] - warped
    least = sum_cells(np.full_like(weight, floor), grid)
    a = sum_cells(weight * down * down, grid) + least
    b = sum_cells(weight * down * right, grid)
    c = sum_cells(weight * right * right, grid) + least
    p = sum_cells(weight * down * change, grid)
    q = sum_cells(weight * right * change, grid)
    determinant = a * c - b * b  # positive: the floor makes the matrix definite
    return np.stack([(c * p - b * q) / determinant, (a * q - b * p) / determinant], axis=-1)  # (n, rows, columns, 2)


def _warp(images: Floats, flow: Floats) -> Floats:
    """Images sampled where each cell has moved to, bilinear, clamped at the border."""
    if not flow.any():
        return images
    n, height, width = images.shape
    per_row = np.searchsorted(cell_edges(height, flow.shape[1]), np.arange(height), side="right") - 1
    per_column = np.searchsorted(cell_edges(width, flow.shape[2]), np.arange(width), side="right") - 1
    dense = flow[:, per_row][:, :, per_column]  # (n, height, width, 2)
    down = np.clip(np.arange(height, dtype=np.float32)[None, :, None] + dense[..., 0], 0, height - 1)
    right = np.clip(np.arange(width, dtype=np.float32)[None, None, :] + dense[..., 1], 0, width - 1)
    top = np.minimum(down.astype(np.int32), height - 2)
    left = np.minimum(right.astype(np.int32), width - 2)
    down, right = down - top, right - left
    corner = np.arange(n, dtype=np.int32)[:, None, None] * np.int32(height * width) + top * np.int32(width) + left
    flat = images.ravel()
    above, below = flat.take(corner), flat.take(corner + np.int32(width))
    above += right * (flat.take(corner + np.int32(1)) - above)
    below += right * (flat.take(corner + np.int32(width + 1)) - below)
    return np.asarray(above + down * (below - above))
