"""Small models of `wsum_transformer` for the tests."""

from argparse import Namespace

import torch
from translation import make_task

from fairseq_wsum.plugin.models.wsum_transformer import WsumTransformerModel
from fairseq_wsum.plugin.modules.self_attention import WsumSelfAttention

SMALL = dict(
    encoder_embed_dim=8,
    encoder_ffn_embed_dim=10,
    encoder_layers=2,
    encoder_attention_heads=2,
    decoder_layers=2,
    decoder_attention_heads=2,
)


def make_model(task=None, **options) -> WsumTransformerModel:
    args = Namespace(**{**SMALL, "cell": "no-srnn-hidden", **options})
    model = WsumTransformerModel.build_model(args, task or make_task()).double().eval()
    for parameter in model.parameters():  # biases start at zero, and would hide errors
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return model


def recurrent_layers(model) -> list[WsumSelfAttention]:
    return [module for module in model.modules() if isinstance(module, WsumSelfAttention)]


def assert_same_scores(ours, theirs, *batch) -> None:
    """With the same weights, also in training, where both draw the same random numbers."""
    ours.load_state_dict(theirs.state_dict())
    assert ours.max_positions() == theirs.max_positions()
    for training in (False, True):
        scores = []
        for model in (ours, theirs):
            torch.manual_seed(3)
            scores.append(model.train(training)(*batch)[0])
        torch.testing.assert_close(*scores)
