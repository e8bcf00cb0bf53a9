"""Dropout of recurrent weights."""

from __future__ import annotations

from torch import Tensor
from torch.func import functional_call

from ...layer import State, WsumLSTM
from ...ops.dropout import dropout
from ..modules import DropoutBase


class WeightDropout(DropoutBase):
    """DropConnect on the recurrent matrices: the weight-dropped LSTM (Merity et al., 2018).

    In every forward pass each element of every `weight_hh` is dropped with probability p and
    otherwise divided by 1 - p. The elements are the same at all time steps and for all sequences.

    Args:
        p: probability that an element is dropped.
        module_name: the name of this module for --retain-dropout-modules.
    """

    def forward(self, lstm: WsumLSTM, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the layers: T x B x C -> T x B x P, and the final state."""
        if not self.active:
            result: tuple[Tensor, State] = lstm(x, state)
            return result
        dropped = {
            name: dropout(weight, self.p)
            for name, weight in lstm.named_parameters()
            if name.startswith("weight_hh")
        }
        # The parameters themselves stay as they are, and so do their names in checkpoints.
        result = functional_call(lstm, dropped, (x, state))
        return result
