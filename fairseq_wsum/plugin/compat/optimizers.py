"""Fixes for fairseq's optimizers and for their state in checkpoints."""

from __future__ import annotations

import functools
from typing import Any

import torch
from fairseq.optim import AMPOptimizer
from fairseq.optim.fp16_optimizer import FP16Optimizer
from torch import Tensor

# the counters of DynamicLossScaler; fairseq saves only its scale
_OF_SCALER = {
    "_iter",
    "_last_overflow_iter",
    "_last_rescale_iter",
    "_overflows_since_rescale",
}


def apply() -> None:
    """Apply the shims of this file."""
    _divide_by_the_loss_scale_once()
    _keep_the_weights_in_32_bits()
    _keep_the_scale_of_amp()


def _divide_by_the_loss_scale_once() -> None:
    """Make --amp divide gradients by the loss scale only once (optim/amp_optimizer.py).

    fairseq lets the scaler unscale torch's optimizer before clipping, but then lets it step
    fairseq's wrapper around that optimizer. The scaler treats the wrapper as another optimizer and
    unscales again, so that SGD's steps are 128 times too small.
    """

    def step(self: AMPOptimizer) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()

    AMPOptimizer.step = step


def _keep_the_weights_in_32_bits() -> None:
    """Save the float32 weights of --bf16 and --fp16, and the counters of the loss scaler.

    With these options the optimizer updates float32 copies of the weights. fairseq's checkpoints
    contain the 16-bit weights only, from which fairseq creates new copies
    (optim/fp16_optimizer.py). A resumed run would lose the last bits of every weight, and would not
    know when to raise the loss scale next.
    """
    state_dict, load_state_dict = FP16Optimizer.state_dict, FP16Optimizer.load_state_dict

    @functools.wraps(state_dict)
    def whole_state_dict(self: FP16Optimizer) -> dict[str, Any]:
        state = {**state_dict(self), "fp32_params": [p.detach() for p in _copies(self)]}
        if self.scaler is not None:
            state["scaler"] = {name: getattr(self.scaler, name) for name in _OF_SCALER}
        return state

    @functools.wraps(load_state_dict)
    def load_whole_state_dict(
        self: FP16Optimizer, state: dict[str, Any], optimizer_overrides: Any = None
    ) -> None:
        others = dict(state)
        saved, scaler = others.pop("fp32_params", []), others.pop("scaler", {})
        load_state_dict(self, others, optimizer_overrides)
        copies, narrow = _copies(self), self.fp16_params[0].dtype
        if [p.shape for p in saved] == [p.shape for p in copies]:  # differs if only one is flat
            with torch.no_grad():
                for copy, value in zip(copies, saved, strict=True):
                    value = value.to(copy.device)
                    # weights that were changed in the checkpoint, as by averaging, stay
                    same = value.to(narrow) == copy.to(narrow)
                    copy.copy_(torch.where(same, value, copy))
        if self.scaler is not None:
            for name in _OF_SCALER & scaler.keys():
                setattr(self.scaler, name, scaler[name])

    FP16Optimizer.state_dict, FP16Optimizer.load_state_dict = (
        whole_state_dict,
        load_whole_state_dict,
    )


def _copies(optimizer: FP16Optimizer) -> list[Tensor]:
    """The float32 weights, either one tensor per parameter or one flat tensor per device."""
    copies = optimizer.fp32_params
    return list(copies.values() if isinstance(copies, dict) else copies)


def _keep_the_scale_of_amp() -> None:
    """Save the loss scale of --amp, which fairseq's checkpoints lack (optim/amp_optimizer.py)."""
    state_dict, load_state_dict = AMPOptimizer.state_dict, AMPOptimizer.load_state_dict

    @functools.wraps(state_dict)
    def state_dict_with_scale(self: AMPOptimizer) -> dict[str, Any]:
        return {**state_dict(self), "grad_scaler": self.scaler.state_dict()}

    @functools.wraps(load_state_dict)
    def load_state_dict_with_scale(
        self: AMPOptimizer, state: dict[str, Any], optimizer_overrides: Any = None
    ) -> None:
        others = dict(state)
        scale = others.pop("grad_scaler", None)
        load_state_dict(self, others, optimizer_overrides)
        if scale:  # empty if saved without a GPU
            self.scaler.load_state_dict(scale)

    AMPOptimizer.state_dict = state_dict_with_scale
    AMPOptimizer.load_state_dict = load_state_dict_with_scale
