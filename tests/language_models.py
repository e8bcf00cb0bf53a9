"""Small language models and texts, in the forms that cover the options."""

from argparse import Namespace

import pytest
import torch
from torch import Tensor

pytest.importorskip("fairseq")
from fairseq.tasks.language_modeling import LanguageModelingTask
from translation import SOURCE

from fairseq_wsum import CELLS
from fairseq_wsum.plugin.models.wsum_lstm_lm import WsumLSTMLanguageModel
from fairseq_wsum.plugin.models.wsum_transformer_lm import WsumTransformerLanguageModel

TASK = LanguageModelingTask(Namespace(), SOURCE)
LSTM = dict(decoder_embed_dim=6, decoder_hidden_size=5, decoder_layers=2, dropout=0.0)
TRANSFORMER = dict(
    decoder_embed_dim=8, decoder_ffn_embed_dim=10, decoder_layers=2, decoder_attention_heads=2
)
LSTMS = {
    **{cell: dict(cell=cell) for cell in CELLS},
    "coupled": dict(coupled_gates=True),
    "window": dict(cell="qrnn", window=2),
    "projected": dict(decoder_proj_size=3),
    "projected-residual": dict(decoder_proj_size=3, residuals=True),
    "shared": dict(share_decoder_input_output_embed=True),
    "adaptive": dict(criterion="adaptive_loss", adaptive_softmax_cutoff="15"),
    "other-output": dict(decoder_out_embed_dim=7),
    "regularised": dict(embedding_dropout=0.2, weight_dropout=0.5, activation_regularization=2.0),
    "reference": dict(lstm_backend="reference"),
}
TRANSFORMERS = {
    **{cell: dict(cell=cell) for cell in CELLS},
    "window": dict(cell="qrnn", window=2),
    "hidden-size": dict(decoder_hidden_size=5),
    "pre-norm": dict(decoder_normalize_before=True, share_decoder_input_output_embed=True),
    "scales": dict(scale_heads=True, scale_attn=True, scale_fc=True, scale_resids=True),
    "other-sizes": dict(decoder_input_dim=6, decoder_output_dim=4),
    "adaptive": dict(adaptive_softmax_cutoff="8", criterion="adaptive_loss"),
    "characters": dict(character_embeddings=True),
    "adaptive-input": dict(adaptive_input=True, adaptive_input_cutoff="8", decoder_input_dim=8),
}


def make_lstm(task=TASK, **options) -> WsumLSTMLanguageModel:
    args = Namespace(**{**LSTM, "init_range": 0.5, **options})
    return WsumLSTMLanguageModel.build_model(args, task).eval()


def make_transformer(**options) -> WsumTransformerLanguageModel:
    args = Namespace(**{**TRANSFORMER, "cell": "no-srnn-hidden", **options})
    model = WsumTransformerLanguageModel.build_model(args, TASK).double().eval()
    for parameter in model.parameters():  # biases start at zero, and would hide errors
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return model


def make_tokens(streams: int = 3, steps: int = 11) -> Tensor:
    return torch.randint(4, len(SOURCE), (streams, steps))


def make_sample() -> dict[str, object]:
    """With padding at the end of a stream."""
    tokens, pad = make_tokens(), SOURCE.pad()
    tokens[1, 7:] = pad
    target = tokens[:, 1:].contiguous()
    net_input = {"src_tokens": tokens[:, :-1].contiguous()}
    return {"net_input": net_input, "target": target, "ntokens": int((target != pad).sum())}
