"""The options of `wsum_transformer`: their defaults, and an error for every wrong one."""

from argparse import ArgumentParser, Namespace

import pytest

pytest.importorskip("fairseq")
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer.transformer_legacy import base_architecture
from omegaconf import OmegaConf
from transformer_models import SMALL, make_model, recurrent_layers
from translation import make_task

from fairseq_wsum import CELLS
from fairseq_wsum.plugin.models.wsum_lstm_config import WsumLSTMConfig
from fairseq_wsum.plugin.models.wsum_transformer import (
    WsumTransformerModel,
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


def test_the_default_cell_is_a_gated_sum() -> None:
    cfg = read_config(Namespace())
    for side in (cfg.encoder.recurrent, cfg.decoder.recurrent):
        assert side.cell == CELLS["no-srnn-hidden"]


@pytest.mark.parametrize("config", [WsumTransformerConfig, WsumLSTMConfig])
def test_a_task_without_a_limit_of_positions_gives_none(config) -> None:
    cfg = OmegaConf.create({"task": {}, "model": OmegaConf.structured(config)})
    assert cfg.model.max_source_positions is None and cfg.model.max_target_positions is None


def test_both_sides_have_their_own_cell_and_size() -> None:
    model = make_model(encoder_cell="sru", decoder_cell="mingru", encoder_hidden_size=3)
    layers = recurrent_layers(model)
    assert [one.wsum.cell.name for one in layers] == ["sru", "sru", "mingru", "mingru"]
    assert [one.wsum.hidden_size for one in layers] == [3, 3, 8, 8]


def test_chosen_layers_keep_attention() -> None:
    model = make_model(encoder_attention_layers="1", decoder_attention_layers="1")
    kinds = [type(layer.self_attn).__name__ for layer in model.encoder.layers]
    assert kinds == ["WsumSelfAttention", "MultiheadAttention"]
    assert not make_model(encoder_attention_layers="none").encoder.embed_positions


def test_the_dataclass_gives_the_same_model() -> None:
    cfg = WsumTransformerConfig(**SMALL, cell="no-srnn-hidden")
    model = WsumTransformerModel.build_model(cfg, make_task())
    assert model.state_dict().keys() == make_model().state_dict().keys()
