"""The initial values of a layer's parameters, some of which may be computed from others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from ..cells import Cell


@torch.no_grad()
def draw(module: nn.Module, bound: float) -> None:
    """Draw all parameters of the module itself, and those with a parametrization, uniformly.

    If a parametrization has no `right_inverse`, the parameter that it maps is drawn, as in torch.

    Args:
        module: the module. The parameters of modules within it stay as they are.
        bound: the values are between -bound and bound.
    """
    for parameter in module.parameters(recurse=False):
        nn.init.uniform_(parameter, -bound, bound)
    for name, steps in _parametrizations(module).items():  # such as those with weight norm
        if _can_be_set(module, name):
            setattr(module, name, nn.init.uniform_(getattr(module, name).clone(), -bound, bound))
        else:
            for original in steps.parameters(recurse=False):
                nn.init.uniform_(original, -bound, bound)


@torch.no_grad()
def prescribe(
    module: nn.Module, cell: Cell, parameters: Mapping[str, Tensor | None], suffix: str, units: int
) -> None:
    """Let the cell set the initial values of one direction of one layer.

    Args:
        module: the module with the parameters.
        cell: the form of the cell in this layer.
        parameters: the parameters by name without suffix; None for a bias that was taken away.
        suffix: the end of their names in the module.
        units: H.

    Raises:
        RuntimeError: the cell sets a value that is computed from others and cannot be set.
    """
    present = {name: value for name, value in parameters.items() if value is not None}
    # A change in place raises the version of a tensor. Computed tensors do not keep it.
    versions = {
        name: value._version
        for name, value in present.items()
        if name + suffix not in module._parameters and not _can_be_set(module, name + suffix)
    }
    cell.initialise(present, units)
    for name, value in present.items():
        if _can_be_set(module, name + suffix):
            setattr(module, name + suffix, value)
        elif name in versions and value._version > versions[name]:
            raise RuntimeError(
                f"cell {cell.name!r} cannot set the initial values of {name + suffix}, which is "
                "computed from other parameters (by pruning, the older torch.nn.utils.weight_norm, "
                "or a parametrization without right_inverse): call reset_parameters before these, "
                "or use a parametrization with right_inverse, such as "
                "torch.nn.utils.parametrizations.weight_norm"
            )


def _can_be_set(module: nn.Module, name: str) -> bool:
    """Whether a computed parameter can be set: its parametrizations can be inverted."""
    steps = _parametrizations(module).get(name)
    return steps is not None and all(hasattr(step, "right_inverse") for step in steps)


def _parametrizations(module: nn.Module) -> dict[str, ParametrizationList]:
    return dict(getattr(module, "parametrizations", {}).items())
