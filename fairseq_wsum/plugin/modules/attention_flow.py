"""The parts of BiDAF (Seo et al., 2017) that are not recurrent.

Shapes: B questions, T tokens of a context, J tokens of a question, E features.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from fairseq.modules.character_token_embedder import Highway as FairseqHighway
from torch import Tensor, nn


class Highway(FairseqHighway):
    """fairseq's highway layers, with initial values as in AllenNLP's BiDAF.

    They are those of `nn.Linear`, but the bias of the gates is 1, which lets the input pass.
    """

    def reset_parameters(self) -> None:
        for layer in self.layers:
            nn.init.ones_(layer.bias[self.input_dim :])


class AttentionFlow(nn.Module):
    """The attention of context and question in both directions (Seo et al., 2017, section 2).

        S_tj = w^T [h_t; u_j; h_t ∘ u_j]               similarity
        ũ_t  = Σ_j softmax_j(S_t:)_j u_j               context to query
        h̃    = Σ_t softmax_t(max_j S_tj) h_t           query to context, the same for all t
        G_t  = [h_t; ũ_t; h_t ∘ ũ_t; h_t ∘ h̃]

    h is the context and u the question; each token has E `features`.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, features))  # the parts of w
        bound = math.sqrt(6 / (3 * features + 1))  # of Glorot and Bengio (2010)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, h: Tensor, u: Tensor, h_mask: Tensor, u_mask: Tensor) -> Tensor:
        """G, B x T x 4E, of h, B x T x E, and u, B x J x E. The masks are True at padding."""
        of_h, of_u, of_both = self.weight
        s = (h * of_both) @ u.transpose(1, 2) + (h @ of_h).unsqueeze(2) + (u @ of_u).unsqueeze(1)
        s = s.float().masked_fill(u_mask.unsqueeze(1), -math.inf)  # B x T x J
        to_query = softmax(s, h) @ u  # B x T x E
        to_context = softmax(s.amax(2).masked_fill(h_mask, -math.inf), h).unsqueeze(1) @ h
        return torch.cat((h, to_query, h * to_query, h * to_context), dim=-1)


def softmax(scores: Tensor, like: Tensor) -> Tensor:
    """The softmax over the last dimension, in the dtype of `like`."""
    return F.softmax(scores, dim=-1).to(like.dtype)


def best_spans(start: Tensor, end: Tensor) -> Tensor:
    """The first and the last token, s <= e, with the largest p1(s) p2(e): B x T each -> B x 2.

    Args:
        start, end: ln p1 and ln p2, each plus a constant.
    """
    best, places = start.cummax(1)  # of the tokens up to each one
    last = (best + end).argmax(1, keepdim=True)
    return torch.cat((places.gather(1, last), last), 1)
