"""The options, the preset and the weights of `wsum_transformer`."""

from argparse import ArgumentParser, Namespace

import pytest
import torch

pytest.importorskip("fairseq")
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer.transformer_legacy import base_architecture
from omegaconf import OmegaConf
from transformer_models import make_model, recurrent_layers
from translation import make_dictionary, make_task

from fairseq_wsum import CELLS
from fairseq_wsum.plugin.models.wsum_lstm_config import WsumLSTMConfig
from fairseq_wsum.plugin.models.wsum_transformer import (
    WsumTransformerModel,
    wsum_transformer_multi30k,
)
from fairseq_wsum.plugin.models.wsum_transformer_config import WsumTransformerConfig, read_config


def test_every_option_of_fairseqs_transformer_exists_with_its_default() -> None:
    theirs, ours = ArgumentParser(), ArgumentParser(argument_default=None)
    TransformerModel.add_args(theirs)
    WsumTransformerModel.add_args(ours)
    missing = set(theirs._option_string_actions) - set(ours._option_string_actions)
    of_the_task = {"--max-source-positions", "--max-target-positions"}
    assert missing == of_the_task and not of_the_task & set(ours._option_string_actions)
    args = Namespace()
    base_architecture(args)
    cfg = read_config(Namespace())
    same = [name for name in vars(args) if name != "no_token_positional_embeddings"]
    assert len(same) > 30
    for name in same:
        assert getattr(cfg, name) == getattr(args, name), name
    assert cfg.no_token_positional_embeddings and not args.no_token_positional_embeddings


@pytest.mark.parametrize("config", [WsumTransformerConfig, WsumLSTMConfig])
def test_a_task_without_a_limit_of_positions_gives_none(config) -> None:
    cfg = OmegaConf.create({"task": {}, "model": OmegaConf.structured(config)})
    assert cfg.model.max_source_positions is None and cfg.model.max_target_positions is None


@pytest.mark.parametrize(
    ("options", "positions"),
    [
        (dict(), False),
        (dict(token_positional_embeddings=True), True),
        (dict(decoder_learned_pos=True), True),
        (dict(encoder_attention_layers="0"), True),
        (dict(decoder_attention_layers="1"), False),
        (dict(encoder_attention_layers="all", no_token_positional_embeddings=True), False),
    ],
)
def test_positions_are_there_if_attention_in_layer_0_needs_them(options, positions) -> None:
    model = make_model(**options)
    for side in (model.encoder, model.decoder):
        assert (side.embed_positions is not None) == positions


def test_both_sides_have_their_own_cell_and_size() -> None:
    model = make_model(encoder_cell="sru", decoder_cell="mingru", encoder_hidden_size=3)
    layers = recurrent_layers(model)
    assert [one.wsum.cell.name for one in layers] == ["sru", "sru", "mingru", "mingru"]
    assert [one.wsum.hidden_size for one in layers] == [3, 3, 8, 8]


# The preset


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


# Weights: shared, pruned, and loaded with the right dictionary


def test_a_model_with_an_adaptive_softmax_and_shared_embeddings_loads_its_weights() -> None:
    options = dict(adaptive_softmax_cutoff="8,16", share_decoder_input_output_embed=True)
    model = make_model(**options)
    weights = model.state_dict()
    model.load_state_dict(weights)  # fairseq's, which upgrades the weights
    assert "decoder.output_projection.weight" not in weights


def test_layers_keep_their_weights_and_attention_when_others_are_pruned() -> None:
    sides = ("encoder", "decoder")
    mixed = {f"{side}_attention_layers": "0,2" for side in sides}
    model = make_model(encoder_layers=3, decoder_layers=3, **mixed)
    kept = {f"{side}_layers_to_keep": "1,2" for side in sides}
    small = make_model(encoder_layers=3, decoder_layers=3, **mixed, **kept)
    small.load_state_dict(model.state_dict(), model_cfg=Namespace(arch="wsum_transformer", **kept))
    for side in sides:
        layers, (_, *before) = (getattr(one, side).layers for one in (small, model))
        assert [hasattr(one.self_attn, "q_proj") for one in layers] == [False, True]
        for one, other in zip(layers, before, strict=True):
            torch.testing.assert_close(one.state_dict(), other.state_dict())


def test_a_model_with_merged_embeddings_is_loaded() -> None:
    # fairseq changes the source dictionary
    task = make_task(make_dictionary(20), make_dictionary(10))
    model = make_model(task, merge_src_tgt_embed=True)
    model.load_state_dict(model.state_dict())
