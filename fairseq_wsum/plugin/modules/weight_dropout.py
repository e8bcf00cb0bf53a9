"""Dropout of recurrent weights."""

from __future__ import annotations

import re

from torch import Tensor
from torch.func import functional_call

from ...layer import State, WsumLSTM
from ...training.dropout import dropout
from .dropout import DropoutBase

MATRIX = re.compile(r"weight_hh_l\d+(_reverse)?(_orig)?")  # torch's pruning adds _orig


class WeightDropout(DropoutBase):
    """DropConnect on the recurrent matrices: the weight-dropped LSTM (Merity et al., 2018).

    In every forward pass each element of every `weight_hh` is dropped with probability p and
    otherwise divided by 1 - p. The elements are the same at all time steps and for all sequences.

    Args:
        p: probability that an element is dropped.
        module_name: the name of this module for --retain-dropout-modules.
    """

    def forward(self, lstm: WsumLSTM, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the layers: T x B x C -> T x B x P, and the final state.

        Raises:
            ValueError: no recurrent matrix is a parameter.
        """
        if not self.active:
            result: tuple[Tensor, State] = lstm(x, state)
            return result
        recurrent = {
            name: weight for name, weight in lstm.named_parameters() if MATRIX.fullmatch(name)
        }
        if not recurrent:
            raise ValueError(
                f"--weight-dropout {self.p}: no recurrent matrix is a parameter, as with weight "
                "norm or --ddp-backend fully_sharded; omit one of the two"
            )
        dropped = {name: dropout(weight, self.p) for name, weight in recurrent.items()}
        # The parameters themselves stay as they are, and so do their names in checkpoints.
        result = functional_call(lstm, dropped, (x, state))
        return result
