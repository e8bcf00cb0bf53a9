"""Argument checks of `WsumLSTM`, with the error types of `torch.nn.LSTM`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from ..cells import Cell


def sizes(cell: Cell, hidden_size: int, proj_size: int, **others: int) -> None:
    """Check the sizes of a layer, and whether its cell may have a projection."""
    for name, value in {"hidden_size": hidden_size, **others}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 <= proj_size < hidden_size:
        raise ValueError(
            f"proj_size must be 0 (no projection) or smaller than hidden_size {hidden_size}, "
            f"got {proj_size}"
        )
    if proj_size and not cell.can_project:
        raise ValueError(
            f"proj_size {proj_size}: cell {cell.name!r} cannot have a projection; use 0"
        )


def dropout(dropout: float, num_layers: int) -> None:
    """Check that dropout is a probability, and warn if it has no effect."""
    if isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ValueError(f"dropout must be a probability between 0 and 1, got {dropout!r}")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            f"dropout={dropout} has no effect with num_layers=1: it is applied between layers",
            stacklevel=3,
        )


def input(x: Tensor, input_size: int, dtype: torch.dtype | None, batch_first: bool) -> None:
    """Check a batch of sequences, or one sequence; `dtype` is None in autocast."""
    if x.dim() not in (2, 3) or x.size(-1) != input_size:
        raise RuntimeError(
            "expected an input of 2 or 3 dimensions, whose last one is input_size "
            f"{input_size}, got size {tuple(x.shape)}"
        )
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"input must have the dtype of the parameters, {dtype}, got {x.dtype}")
    if x.size(1 if x.dim() == 3 and batch_first else 0) == 0:
        raise RuntimeError("expected a sequence length larger than 0")


def mask(padding_mask: Tensor, shape: torch.Size, batch_first: bool) -> None:
    """Check that the mask is boolean with one value for each time step of each sequence."""
    if padding_mask.dtype != torch.bool:
        raise ValueError(f"padding_mask must be boolean, got {padding_mask.dtype}")
    if padding_mask.shape != shape:
        form = "T" if len(shape) == 1 else "B x T" if batch_first else "T x B"
        raise RuntimeError(
            f"expected padding_mask of size {tuple(shape)} ({form}), "
            f"got {tuple(padding_mask.shape)}"
        )


def state(hx: tuple[Tensor, ...], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check the shapes of the parts of the state. A third one may be missing."""
    if not isinstance(hx, (tuple, list)) or not 2 <= len(hx) <= len(shapes):
        raise TypeError(f"hx must be a tuple ({', '.join(shapes)})")
    for (name, shape), part in zip(shapes.items(), hx, strict=False):
        numbers = part.is_floating_point() or part.is_complex()
        if not numbers or tuple(part.shape) != shape:
            raise RuntimeError(
                f"expected {name} of size {shape} in a floating dtype, got {tuple(part.shape)} in "
                f"{part.dtype}"
            )
