"""Small translation models and batches, in the forms that cover the options."""

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

pytest.importorskip("fairseq")
from fairseq.data import Dictionary

from fairseq_wsum.plugin.models.wsum_lstm import WsumLSTMModel

SMALL = dict(
    encoder_embed_dim=6,
    decoder_embed_dim=6,
    encoder_hidden_size=5,
    decoder_hidden_size=7,
    encoder_layers=2,
    decoder_layers=2,
)


def dictionary_of(*words: str) -> Dictionary:
    dictionary = Dictionary()
    for word in words:
        dictionary.add_symbol(word)
    return dictionary


def make_dictionary(words: int) -> Dictionary:
    return dictionary_of(*(f"w{k}" for k in range(words)))


SOURCE, TARGET = make_dictionary(20), make_dictionary(30)
PAD, EOS = SOURCE.pad(), SOURCE.eos()


def make_task(source: Dictionary = SOURCE, target: Dictionary = TARGET) -> SimpleNamespace:
    return SimpleNamespace(source_dictionary=source, target_dictionary=target, dictionary=target)


def make_model(task=None, **options) -> WsumLSTMModel:
    args = Namespace(**{**SMALL, **options})
    return WsumLSTMModel.build_model(args, task or make_task()).double().eval()


def make_batch(lengths=(5, 3, 4), target_length: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """src_tokens with padding on the left, src_lengths, prev_output_tokens."""
    src = torch.full((len(lengths), max(lengths)), PAD)
    for row, n in zip(src, lengths, strict=True):
        row[-n:] = torch.randint(4, len(SOURCE), (n,))
        row[-1] = EOS
    prev = torch.randint(4, len(TARGET), (len(lengths), target_length))
    prev[:, 0] = EOS
    return src, torch.tensor(lengths), prev


def make_generation() -> Namespace:
    """The options of fairseq-generate that the models read."""
    return Namespace(generation=Namespace(beam=5, lm_path=None))


def step_by_step(model, src: Tensor, prev: Tensor) -> tuple[Tensor, Tensor | None]:
    """Scores and attention of incremental decoding, one token at a time."""
    encoder_out = model.encoder(src)
    state: dict = {}
    steps = [
        model.decoder(prev[:, : t + 1], encoder_out=encoder_out, incremental_state=state)
        for t in range(prev.size(1))
    ]
    attends = isinstance(steps[0][1], Tensor)
    attention = torch.cat([s[1] for s in steps], dim=1) if attends else None
    return torch.cat([s[0] for s in steps], dim=1), attention


def relative_error(scores: Tensor, exact: Tensor) -> float:
    """The largest error, relative to what the model adds to the bias of the output layer.

    B x T x V. With `init_range=1.0` the layers, and not the bias, decide the scores.
    """
    scores, exact = scores.double(), exact.double()
    signal = (exact - exact.mean((0, 1), keepdim=True)).abs().max()
    return float((scores - exact).abs().max() / signal)


HEADS = dict(decoder_hidden_size=6, decoder_attention_heads=3)
VARIANTS = {
    "plain": dict(),
    "bidirectional": dict(encoder_bidirectional=True),
    "deeper-encoder": dict(encoder_layers=3, decoder_layers=1),
    "deeper-decoder": dict(encoder_layers=1, decoder_layers=3, residuals=True),
    "coupled": dict(coupled_gates=True, cell="no-srnn"),
    "window": dict(cell="qrnn", window=2),
    "dot": dict(decoder_attention="dot", encoder_hidden_size=7),
    "mlp": dict(decoder_attention="mlp"),
    "heads": HEADS,
    "no-attention": dict(decoder_attention="none"),
    "out-embedding": dict(decoder_out_embed_dim=4),
    "shared-output": dict(share_decoder_input_output_embed=True),
    "adaptive": dict(criterion="adaptive_loss", adaptive_softmax_cutoff="8,16"),
    "mixed-cells": dict(encoder_cell="no-gates", decoder_cell="no-srnn-out"),
    "other-mix": dict(encoder_cell="no-srnn-hidden", decoder_cell="no-gates"),
}
every_feeding = pytest.mark.parametrize("feeding", ["True", "False"], ids=["feeding", "parallel"])
every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
