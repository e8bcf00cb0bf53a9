"""Errors for the arguments of `WsumLSTM`, as `torch.nn.LSTM` gives them or clearer."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import torch
from torch import Tensor

NARROW = (torch.float16, torch.bfloat16)


def flags(**flags: bool) -> None:
    """Each is True or False."""
    for name, value in flags.items():
        if value not in (True, False):
            raise TypeError(f"{name} must be True or False, got {value!r}")


def sizes(input_size: int, hidden_size: int, num_layers: int, proj_size: int) -> None:
    """Whole numbers that make a layer."""
    sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for name, value in {**sizes, "proj_size": proj_size}.items():
        if not isinstance(value, Integral):
            raise TypeError(f"{name} must be an int, got {value!r}")
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 <= proj_size < hidden_size:
        raise ValueError(
            f"proj_size must be 0 (no projection) or smaller than hidden_size {hidden_size}, "
            f"got {proj_size}"
        )


def dropout(dropout: float, num_layers: int) -> None:
    """A probability; a warning where it does nothing."""
    number = isinstance(dropout, Real) and not isinstance(dropout, bool)
    if not number or not 0 <= dropout <= 1:
        raise ValueError(f"dropout must be a probability between 0 and 1, got {dropout!r}")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            f"dropout={dropout} does nothing with num_layers=1: it stands between layers",
            stacklevel=3,
        )


def state(hx: object) -> None:
    """A pair."""
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise TypeError("hx must be a pair (h_0, c_0)")


def state_types(hx: tuple[Tensor, Tensor], dtype: torch.dtype | None) -> None:
    """The type of the parameters, `dtype` (None: any); c_0 may have 32 bits where that has 16."""
    for name, tensor in zip(("h_0", "c_0"), hx, strict=True):
        if dtype is None:
            fits = tensor.is_floating_point()
        else:
            wider = name == "c_0" and tensor.dtype == torch.float32 and dtype in NARROW
            fits = wider or tensor.dtype == dtype
        if not fits:
            wanted = f"the dtype of the parameters, {dtype}" if dtype else "a floating dtype"
            raise ValueError(f"{name} must have {wanted}, got {tensor.dtype}")


def mask(padding_mask: Tensor, shape: torch.Size, form: str) -> None:
    """Boolean, one value for each time step of each sequence."""
    if padding_mask.dtype != torch.bool:
        raise ValueError(f"padding_mask must be boolean, got {padding_mask.dtype}")
    if padding_mask.shape != shape:
        raise RuntimeError(
            f"expected padding_mask of size {tuple(shape)} ({form}), "
            f"got {tuple(padding_mask.shape)}"
        )
