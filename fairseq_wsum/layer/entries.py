"""State dict entries that identify what the weights belong to.

Weights of equal shapes can belong to different cells or to different vocabularies. An extra entry
records which, so that loading them into the wrong module fails. The entry is a text, one byte in
each element of a float32 tensor, because many programs expect every value of a state dict to be a
tensor that they can average.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..cells import CELLS, Cell

Text = Callable[[nn.Module], str | None]
Check = Callable[[nn.Module, str | None, dict[str, Any], str], None]


def add_entry(
    module: nn.Module, key: str, text: Text, check: Check, *, required: bool = False
) -> None:
    """Add an entry to the state dict of a module, and check it before the module loads weights.

    Args:
        module: the module.
        key: the name of the entry.
        text: maps the module to the text of the entry, or to None for no entry. `text` and `check`
            must be functions, because a bound method would refer to the original of a copied
            module.
        check: called with the module, the text found in the loaded state dict (None without an
            entry), that state dict, and the prefix of the module's keys in it. It raises an error
            if they do not belong together. No weights of the module are loaded then, whereas torch
            raises the errors that its hooks collect after it has loaded all weights that fit.
            (Modules that come earlier in a model have been loaded.)
        required: report a missing key if the loaded state dict lacks the entry and the module has
            one.
    """
    if not hasattr(module, key):
        setattr(module, key, text)  # torch.distributed.checkpoint looks entries up as attributes
    module.register_state_dict_post_hook(_WriteHook(key, text))
    module.register_load_state_dict_pre_hook(_CheckHook(key, text, check, required))


def add_cell(layer: nn.Module) -> None:
    """Make a layer with a `cell` reject the weights of other cells, even if all shapes match.

    Cells with an equivalent in `torch.nn` get no entry, because torch's state dicts have none.
    """
    add_entry(layer, "cell", _name_of_cell, _check_cell, required=True)


def _name_of_cell(layer: nn.Module) -> str | None:
    cell = layer.cell
    assert isinstance(cell, Cell)
    return None if cell.twin else cell.label


def _check_cell(
    layer: nn.Module, stored: str | None, state_dict: dict[str, Any], prefix: str
) -> None:
    cell = layer.cell
    assert isinstance(cell, Cell)
    if stored is None:
        stored = _torchs_cell(layer, state_dict, prefix)
    if stored is None or stored == cell.label:
        return
    raise RuntimeError(
        f"Error(s) in loading state_dict for {type(layer).__name__}:\n\t"
        f"{prefix.removesuffix('.') or 'the layer'} has the cell {cell.label}, and the weights "
        f"are of {stored}: create the layer with that cell (--cell, --encoder-cell, "
        "--decoder-cell, --coupled-gates, --window)"
    )


def _torchs_cell(layer: nn.Module, state_dict: dict[str, Any], prefix: str) -> str | None:
    """The cell of weights without an entry, if their number of rows shows that it is another."""
    units = layer.hidden_size
    assert isinstance(units, int)
    own: Tensor = layer.weight_ih_l0  # type: ignore[assignment]  # no parameter if pruned
    weight_ih = state_dict.get(prefix + "weight_ih_l0")
    if weight_ih is None or weight_ih.shape[:1] == own.shape[:1]:
        return None
    to_units = state_dict.get(prefix + "weight_hr_l0", state_dict.get(prefix + "weight_hh_l0"))
    if to_units is None or to_units.size(-1) != units:
        return None  # another hidden size, which torch names
    twins = {len(cell.rows) * units: cell.name for cell in CELLS.values() if cell.twin}
    return twins.get(len(weight_ih))


class _WriteHook:
    """Hook that adds the entry when a state dict is created."""

    def __init__(self, key: str, text: Text) -> None:
        self.key = key
        self.text = text

    def __call__(
        self, module: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: Any
    ) -> None:
        text = self.text(module)
        if text is not None:
            # on the CPU, whatever torch's default device is
            codes = torch.tensor(list(text.encode()), dtype=torch.float32, device="cpu")
            state_dict[prefix + self.key] = codes


class _CheckHook:
    """Hook that checks the entry before a state dict is loaded."""

    def __init__(self, key: str, text: Text, check: Check, required: bool) -> None:
        self.key = key
        self.text = text
        self.check = check
        self.required = required

    def __call__(
        self,
        module: nn.Module,
        state_dict: dict[str, Any],
        prefix: str,
        metadata: Any,
        strict: bool,  # always True: torch handles missing keys later
        missing: list[str],
        unexpected: list[str],
        errors: list[str],
    ) -> None:
        entry = state_dict.pop(prefix + self.key, None)
        if entry is None and self.required and self.text(module) is not None:
            missing.append(prefix + self.key)
        if not isinstance(entry, (Tensor, type(None))):
            errors.append(f'"{prefix}{self.key}" must be a torch.Tensor, got {type(entry)}')
        elif entry is None or not entry.is_meta:  # a tensor on the meta device has no values yet
            text = None if entry is None else _decoded(entry)
            self.check(module, text, state_dict, prefix)


def _decoded(entry: Tensor) -> str:
    """The text of an entry, which may have been averaged."""
    codes = entry.flatten().float().round().clamp(0, 255).byte()
    return bytes(codes.tolist()).decode(errors="replace")
