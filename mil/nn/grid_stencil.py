"""Convolutions on the cells of a grid that are there; all others are zero and cost nothing."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mil.nn.segments import at_least_single


def window_cells(cells: Tensor, centres: Tensor, kernel: int, stride: int = 1) -> Tensor:
    """Return which cell lies at every place of the windows around centres.

    Parameters
    ----------
    cells : [M, 3] int64: bag, row and column, each once.
    centres : [T, 3], cells of the map that a stride leaves: the window of row r is around row
        ``stride * r``, as in a convolution with padding ``kernel // 2``.
    kernel : odd, side of the window.

    Returns
    -------
    [kernel^2, T] int64: number of the cell at each place of the window, places row by row, or -1.
    """
    reach = kernel // 2
    middle = centres * torch.tensor([1, stride, stride], device=centres.device)
    low = torch.minimum(cells.amin(0), middle.amin(0))[1:] - reach  # [2]
    high = torch.maximum(cells.amax(0), middle.amax(0))[1:] + reach
    height, width = (high - low + 1).tolist()

    def key(at: Tensor) -> Tensor:
        return (at[:, 0] * height + at[:, 1] - low[0]) * width + at[:, 2] - low[1]

    known, order = key(cells).sort()
    wanted = key(middle)  # [T]
    step = torch.arange(-reach, reach + 1, device=cells.device)
    shifts = (step[:, None] * width + step).flatten()  # [k^2]
    wanted = wanted + shifts[:, None]  # [k^2, T]
    place = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
    return torch.where(known[place] == wanted, order[place], -1)


def stencil(x: Tensor, weight: Tensor, windows: Tensor) -> Tensor:
    """Return the depth-wise convolution [T, H] of cells [M, H].

    Parameters
    ----------
    weight : [H, k, k].
    windows : [k^2, T], of ``window_cells``.

    Notes
    -----
    Time O(k^2 T H); nothing but x is kept for the gradient. In float32 or better.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = at_least_single(x)
        return _Stencil.apply(x, weight.flatten(1).t().to(x.dtype), windows)


def convolution(x: Tensor, weight: Tensor, scale: Tensor, windows: Tensor) -> Tensor:
    """Return the convolution [T, A] of cells [M, D], with kernels ``weight * scale``.

    Parameters
    ----------
    weight : [A, D, k, k].
    scale : [D, k, k], what the cells are multiplied by at each place of a window.
    windows : [k^2, T], of ``window_cells``.

    Notes
    -----
    Time O(k^2 T D A), memory O(T A) and twice the weight: windows are never laid side by side.
    Products are made in the precision of an autocast, and added up in float32 or better.
    """
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    with torch.autocast(kind, enabled=False):
        scale = scale.flatten(1).t().to(dtype)  # [k^2, D]
        return _Convolution.apply(x.to(dtype), weight.to(dtype), scale, windows)


def _there(windows: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield each place with the windows that have a cell there, and the cells."""
    for place, cells in enumerate(windows):
        (window,) = torch.nonzero(cells >= 0, as_tuple=True)
        if len(window):
            yield place, window, cells[window]


class _Stencil(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, windows: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, windows)
        y = x.new_zeros(windows.shape[1], x.shape[1])
        for place, window, cell in _there(windows):
            y.index_add_(0, window, x[cell] * weight[place])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, windows = ctx.saved_tensors
        of_x, of_weight = torch.zeros_like(x), torch.zeros_like(weight)
        for place, window, cell in _there(windows):
            part = grad[window]
            of_weight[place] = (x[cell] * part).sum(0)
            of_x.index_add_(0, cell, part * weight[place])
        return of_x, of_weight, None


class _Convolution(torch.autograd.Function):
    """Cells are scaled, not the weight, which is by far the larger."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, windows: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, scale, windows)
        y = at_least_single(x.new_zeros(())).new_zeros(windows.shape[1], len(weight))
        by_place = _by_place(weight)
        for place, window, cell in _there(windows):
            y.index_add_(0, window, (x[cell] * scale[place] @ by_place[place].t()).to(y.dtype))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, scale, windows = ctx.saved_tensors
        of_x = torch.zeros_like(x, dtype=grad.dtype) if ctx.needs_input_grad[0] else None
        of_scale = torch.zeros_like(scale)
        by_place = _by_place(weight)  # a place's weight, then its gradient
        seen = torch.zeros(len(by_place), dtype=torch.bool, device=x.device)
        for place, window, cell in _there(windows):
            part, cells = grad[window].to(x.dtype), x[cell]
            back = part @ by_place[place]  # [n, D]
            torch.mm(part.t(), cells * scale[place], out=by_place[place])
            of_scale[place] = (cells * back).sum(0)
            seen[place] = True
            if of_x is not None:
                of_x.index_add_(0, cell, (back * scale[place]).to(grad.dtype))
        by_place[~seen] = 0
        of_weight = by_place.flatten(1).t().contiguous().view_as(weight)
        return None if of_x is None else of_x.to(x.dtype), of_weight, of_scale, None


def _by_place(weight: Tensor) -> Tensor:
    """Return a copy [k^2, A, D] of a weight [A, D, k, k]."""
    places = weight.flatten(2).flatten(0, 1).t()  # [k^2, A D]
    return places.clone(memory_format=torch.contiguous_format).view(-1, *weight.shape[:2])
