"""The preset `wsum_transformer_multi30k` beside fairseq's Transformer of the same size."""

from argparse import Namespace

import pytest
import torch

pytest.importorskip("fairseq")
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer.transformer_legacy import base_architecture
from omegaconf import OmegaConf
from translation import make_dictionary, make_task

from fairseq_wsum import CELLS
from fairseq_wsum.plugin.models.wsum_transformer import (
    WsumTransformerModel,
    wsum_transformer_multi30k,
)
from fairseq_wsum.plugin.models.wsum_transformer_config import WsumTransformerConfig


@pytest.mark.parametrize(
    "options",
    [
        *(dict(cell=cell) for cell in CELLS),
        dict(cell="lstm", coupled_gates=True),
        dict(cell="no-srnn-hidden", coupled_gates=True),
        dict(cell="qrnn", window=2),
        dict(encoder_cell="qrnn", decoder_cell="lstm", window=2),
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_the_preset_gives_every_cell_as_many_parameters_as_fairseqs(options) -> None:
    words = make_dictionary(3000)
    args = Namespace(**options)
    wsum_transformer_multi30k(args)
    model = WsumTransformerModel.build_model(args, make_task(words, words))
    tiny = dict(encoder_embed_dim=128, encoder_ffn_embed_dim=256, share_all_embeddings=True)
    for side in ("encoder", "decoder"):
        tiny |= {f"{side}_layers": 4, f"{side}_attention_heads": 4}
    args = Namespace(**tiny)
    base_architecture(args)
    peer = TransformerModel.build_model(args, make_task(words, words))
    ours, theirs = (sum(map(torch.numel, one.parameters())) for one in (model, peer))
    assert ours == pytest.approx(theirs, rel=2e-3)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_attention_in_all_layers_has_the_feed_forward_width_of_fairseqs(side) -> None:
    args = Namespace(cell="lstm", **{f"{side}_attention_layers": "all"})
    wsum_transformer_multi30k(args)
    assert getattr(args, f"{side}_ffn_embed_dim") == 256
    assert not hasattr(args, f"{side}_hidden_size")  # which would have no effect
    mixed = Namespace(cell="no-srnn-hidden", **{f"{side}_attention_layers": "0,1"})
    wsum_transformer_multi30k(mixed)
    assert 192 < getattr(mixed, f"{side}_ffn_embed_dim") < 256


def test_a_preset_that_hydra_would_ignore_is_rejected() -> None:
    with pytest.raises(ValueError, match="presets have no effect"):
        wsum_transformer_multi30k(OmegaConf.structured(WsumTransformerConfig()))


def test_the_preset_has_the_dropout_that_is_given_or_0_3() -> None:
    for given, expected in ((dict(), 0.3), (dict(dropout=0.1), 0.1)):
        args = Namespace(**given)
        wsum_transformer_multi30k(args)
        assert args.dropout == expected
