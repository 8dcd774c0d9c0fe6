"""Triton kernels for NVIDIA GPUs. Each computes one step of LIIF's decoder in a single launch.

Triton is optional. Without it, LIIF decodes with PyTorch's own operators.
"""
from __future__ import annotations

import warnings
from functools import cache

import torch
from torch import Tensor

from liif_basicsr.errors import summarize

try:
    import triton
    import triton.language as tl
except ImportError:  # PyTorch without CUDA does not install Triton
    triton = None

# Outputs of one Triton program: rows of the matrix that `gather_add_relu` returns, and pixels of `ensemble_mean`.
ROWS, PIXELS = 32, 256


def can_launch(like: Tensor) -> bool:
    """Return whether the kernels can run on a tensor's device: an NVIDIA GPU with compute capability 7.0 or higher."""
    plain = type(like) is Tensor and not torch.compiler.is_compiling()
    return triton is not None and plain and like.is_cuda and _is_supported(like.device)


@cache
def _is_supported(device: torch.device) -> bool:
    """Return whether Triton can compile the kernels for a GPU, and they compute a small example correctly.

    Warns:
        UserWarning: the kernels do not compile or compute wrong values. Decoding is then slower.
    """
    if torch.cuda.get_device_capability(device) < (7, 0):
        return False
    one, zero = torch.ones(1, 1, 16, device=device), torch.zeros(1, 1, dtype=torch.int64, device=device)
    try:
        hidden = gather_add_relu(one, zero, zero, one, one)
        mean = ensemble_mean(hidden, one[0, :, :1], one[0, :, :1], 0)
        problem = None if torch.all(mean == 3) else "a kernel's output is wrong"
    except Exception as error:  # Triton needs a C compiler, and raises errors of many types
        problem = summarize(error)
    if problem:
        warnings.warn(f"Triton cannot be used on {device} ({problem}); LIIF renders more slowly", stacklevel=2)
    return problem is None


if triton is not None:

    @triton.jit
    def _gather_add_relu(
        grid, index_y, index_x, term_y, term_x, out, total, height, width, grid_width, sides,
        dim: tl.constexpr, padded: tl.constexpr, rows: tl.constexpr,
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
        pixel, corner = row % (height * width), row // (height * width)
        y = (corner // sides) * height + pixel // width
        x = (corner % sides) * width + pixel % width
        channel = tl.arange(0, padded)
        valid = row < total
        mask = valid[:, None] & (channel < dim)[None, :]
        feature = tl.load(index_y + y, valid, 0) * grid_width + tl.load(index_x + x, valid, 0)
        value = tl.load(grid + feature[:, None] * dim + channel[None, :], mask).to(tl.float32)
        value += tl.load(term_y + y[:, None] * dim + channel[None, :], mask).to(tl.float32)
        value += tl.load(term_x + x[:, None] * dim + channel[None, :], mask).to(tl.float32)
        value = tl.where(value < 0, 0.0, value)  # keeps NaN
        tl.store(out + row[:, None] * dim + channel[None, :], value.to(out.dtype.element_ty), mask)

    @triton.jit
    def _ensemble_mean(
        outputs, rel_y, rel_x, out, height, width, eps,
        dim: tl.constexpr, sides: tl.constexpr, pixels: tl.constexpr,
    ):  # fmt: skip
        count = height * width
        pixel = tl.program_id(0).to(tl.int64) * pixels + tl.arange(0, pixels)
        valid = pixel < count
        y, x = pixel // width, pixel % width
        total = tl.full([pixels], 0.0, tl.float32)
        for corner in tl.static_range(sides * sides):
            a, b = corner // sides, corner % sides
            rel = tl.load(rel_y + a * height + y, valid) * tl.load(rel_x + b * width + x, valid)
            total += tl.abs(rel) + eps
        for channel in tl.static_range(dim):
            mean = tl.full([pixels], 0.0, tl.float32)
            for corner in tl.static_range(sides * sides):
                # The area of the diagonally opposite corner.
                a, b = sides - 1 - corner // sides, sides - 1 - corner % sides
                rel = tl.load(rel_y + a * height + y, valid) * tl.load(rel_x + b * width + x, valid)
                value = tl.load(outputs + (corner * count + pixel) * dim + channel, valid).to(tl.float32)
                mean += value * ((tl.abs(rel) + eps) / total)
            tl.store(out + channel * count + pixel, mean, valid)


def gather_add_relu(grid: Tensor, index_y: Tensor, index_x: Tensor, term_y: Tensor, term_x: Tensor) -> Tensor:
    """Gather the features around each pixel, add the terms of the pixel's row and column, and apply ReLU.

    Args:
        grid: (h, w, D), contiguous features.
        index_y, index_x: int64 (S, R) and (S, C), the feature that each output row and column uses on each of S sides.
        term_y, term_x: (S, R, D) and (S, C, D), the terms of each output row and column.

    Returns:
        (S * S * R * C, D) in the dtype of `grid`. Sums are computed in float32 and rounded once.
    """
    index_y, index_x, term_y, term_x = (each.contiguous() for each in (index_y, index_x, term_y, term_x))
    (sides, height), width, dim = index_y.shape, index_x.shape[1], grid.shape[-1]
    total = sides * sides * height * width
    out = grid.new_empty(total, dim)
    _gather_add_relu[(triton.cdiv(total, ROWS),)](
        grid, index_y, index_x, term_y, term_x, out, total, height, width, grid.shape[1], sides,
        dim, triton.next_power_of_2(dim), ROWS,
    )  # fmt: skip
    return out


def ensemble_mean(outputs: Tensor, rel_y: Tensor, rel_x: Tensor, eps: float) -> Tensor:
    """Return the weighted mean over the ensemble's corners for a block of R x C pixels.

    See `liif_basicsr.archs.ensemble.ensemble_mean`.

    Args:
        outputs: (S * S * R * C, D), the values of the corners, where S is the number of sides, see `Queries.corners`.
        rel_y, rel_x: float32 (S, R) and (S, C), relative coordinates of the rows and columns.
        eps: number that is added to each corner's area.

    Returns:
        (D, R, C) float32.
    """
    outputs, rel_y, rel_x = (each.contiguous() for each in (outputs, rel_y, rel_x))
    (sides, height), width, dim = rel_y.shape, rel_x.shape[1], outputs.shape[1]
    out = torch.empty(dim, height, width, device=outputs.device)
    _ensemble_mean[(triton.cdiv(height * width, PIXELS),)](
        outputs, rel_y, rel_x, out, height, width, eps, dim, sides, PIXELS
    )
    return out
