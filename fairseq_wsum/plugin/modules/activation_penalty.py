"""Penalties on the activations of the last layer, which are added to the loss in training."""

from __future__ import annotations

from torch import Tensor


def activation_penalty(
    y: Tensor, dropped: Tensor, unpadded: Tensor, alpha: float, beta: float
) -> Tensor:
    """AR and TAR of Merity et al. (2018), summed over the tokens as the cross entropy is.

        alpha * sum_t mean(dropped_t^2) + beta * sum_t mean((y_t - y_{t+1})^2)

    The means are over features. With the sums, the penalty has the same share in the loss whether
    fairseq divides by tokens or, with --sentence-avg, by sentences.

    Args:
        y: the output of the last layer, T steps x B sequences x P features.
        dropped: the same after dropout.
        unpadded: True except at padding, T x B.
        alpha: the weight of the activations (AR).
        beta: the weight of the changes from one time step to the next (TAR).
    """
    size = dropped.float().square().mean(-1)  # T x B; float as a sum in 16 bits would overflow
    change = (y[1:] - y[:-1]).float().square().mean(-1)
    both = unpadded[1:] & unpadded[:-1]
    # without `size[unpadded]`, which would wait for the GPU
    return alpha * size.where(unpadded, 0).sum() + beta * change.where(both, 0).sum()
