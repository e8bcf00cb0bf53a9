"""Argument checks of `WsumLSTM`, with the error types of `torch.nn.LSTM`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral, Real

import torch
from torch import Tensor

from ..cells import Cell

NARROW = (torch.float16, torch.bfloat16)


def flags(**flags: bool) -> None:
    """Check that each flag is True or False."""
    for name, value in flags.items():
        if value not in (True, False):
            raise TypeError(f"{name} must be True or False, got {value!r}")


def sizes(input_size: int, hidden_size: int, num_layers: int, proj_size: int) -> None:
    """Check the sizes of a layer."""
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
    """Check that dropout is a probability, and warn if it has no effect."""
    number = isinstance(dropout, Real) and not isinstance(dropout, bool)
    if not number or not 0 <= dropout <= 1:
        raise ValueError(f"dropout must be a probability between 0 and 1, got {dropout!r}")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            f"dropout={dropout} has no effect with num_layers=1: it is applied between layers",
            stacklevel=3,
        )


def projection(cell: Cell, proj_size: int) -> None:
    """Check that a cell may have a projection."""
    if proj_size and not cell.can_project:
        raise ValueError(
            f"proj_size {proj_size}: cell {cell.name!r} cannot have a projection; use 0"
        )


def kind(x: object) -> None:
    """Check that the input is a tensor."""
    if not isinstance(x, Tensor):
        raise TypeError(f"input must be a tensor or a PackedSequence, got {type(x).__name__}")


def input(x: Tensor, input_size: int, dtype: torch.dtype | None, batch_first: bool) -> None:
    """Check a batch of sequences, or one sequence; `dtype` is None if it may have any dtype."""
    if x.dim() not in (2, 3):
        raise ValueError(f"expected input to be 2-D or 3-D, got {x.dim()}-D")
    if x.size(-1) != input_size:
        raise RuntimeError(
            f"input.size(-1) must be equal to input_size {input_size}, got {x.size(-1)}"
        )
    if not x.is_floating_point():
        raise ValueError(f"input must have a floating dtype, got {x.dtype}")
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"input must have the dtype of the parameters, {dtype}, got {x.dtype}")
    time = 1 if x.dim() == 3 and batch_first else 0
    if x.size(time) == 0:
        raise RuntimeError("expected a sequence length larger than 0")


def device(x: Tensor, weight: Tensor) -> None:
    """Check that the input is on the device of the parameters."""
    if x.device != weight.device:
        raise RuntimeError(
            f"expected the input on the device of the parameters, {weight.device}, got one on "
            f"{x.device}"
        )


def autocast(x: Tensor, dtype: torch.dtype) -> None:
    """Check an input and the parameters' `dtype` in autocast, which converts float32 to 16 bits."""
    target = torch.get_autocast_dtype(x.device.type)
    if dtype in NARROW and dtype != target:
        raise ValueError(
            f"a layer in {dtype} cannot run in autocast to {target}: give it float32 parameters, "
            "or leave autocast"
        )
    if (x.dtype == torch.float64) != (dtype == torch.float64):
        raise ValueError(
            f"input must have the dtype of the parameters, {dtype}, got {x.dtype}: autocast does "
            "not convert float64"
        )


def mask(padding_mask: Tensor, shape: torch.Size, batch_first: bool) -> None:
    """Check that the mask is boolean with one value for each time step of each sequence."""
    if not isinstance(padding_mask, Tensor):
        raise TypeError(f"padding_mask must be a tensor, got {type(padding_mask).__name__}")
    if padding_mask.dtype != torch.bool:
        raise ValueError(f"padding_mask must be boolean, got {padding_mask.dtype}")
    if padding_mask.shape != shape:
        form = "T" if len(shape) == 1 else "B x T" if batch_first else "T x B"
        raise RuntimeError(
            f"expected padding_mask of size {tuple(shape)} ({form}), "
            f"got {tuple(padding_mask.shape)}"
        )


def state(hx: object, parts: int) -> None:
    """Check that the state is a tuple or list of 2 to `parts` tensors."""
    if (
        not isinstance(hx, (tuple, list))
        or not 2 <= len(hx) <= parts
        or not all(isinstance(part, Tensor) for part in hx)
    ):
        forms = "a pair (h_0, c_0)" + (" or a triple (h_0, c_0, x_0)" if parts > 2 else "")
        raise TypeError(f"hx must be {forms} of tensors")


def state_parts(
    hx: tuple[Tensor, ...], shapes: Mapping[str, tuple[int, ...]], device: torch.device
) -> None:
    """Check the device and the shapes of the parts of the state. The last ones may be missing."""
    for (name, shape), part in zip(shapes.items(), hx, strict=False):
        if part.device != device:  # the kernels take the pointers as they are
            raise RuntimeError(
                f"expected {name} on the device of the input, {device}, got one on {part.device}"
            )
        if tuple(part.shape) != shape:
            raise RuntimeError(f"expected {name} of size {shape}, got {tuple(part.shape)}")


def state_without_batch(hx: tuple[Tensor, ...]) -> None:
    """Check that the state of a sequence without a batch dimension has none, either."""
    if any(part.dim() != 2 for part in hx):
        found = " and ".join(f"{part.dim()}-D" for part in hx)
        raise RuntimeError(
            "for one sequence without a batch dimension every part of the state must be 2-D, got "
            + found
        )


def state_types(hx: tuple[Tensor, ...], dtype: torch.dtype | None) -> None:
    """Check that the state has `dtype`, or any floating-point dtype if `dtype` is None.

    c_0 may be float32 if `dtype` has 16 bits.
    """
    for name, tensor in zip(("h_0", "c_0", "x_0"), hx, strict=False):
        if dtype is None:
            fits = tensor.is_floating_point()
        else:
            wider = name == "c_0" and tensor.dtype == torch.float32 and dtype in NARROW
            fits = wider or tensor.dtype == dtype
        if not fits:
            wanted = f"the dtype of the parameters, {dtype}" if dtype else "a floating dtype"
            raise ValueError(f"{name} must have {wanted}, got {tensor.dtype}")


def state_in_autocast(hx: tuple[Tensor, ...], target: torch.dtype) -> None:
    """Check that no part of the state has 16 bits of another type than autocast's `target`."""
    for name, tensor in zip(("h_0", "c_0", "x_0"), hx, strict=False):
        if tensor.dtype in NARROW and tensor.dtype != target:
            raise ValueError(
                f"{name} must be float32 or {target} in autocast to {target}, got {tensor.dtype}"
            )
