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


def test_learned_positions_need_positions() -> None:
    for side in ("encoder", "decoder"):
        with pytest.raises(ValueError, match=f"--{side}-learned-pos has no effect, .*: give --tok"):
            make_model(**{f"{side}_learned_pos": True})
    model = make_model(encoder_learned_pos=True, token_positional_embeddings=True)
    assert model.encoder.embed_positions.weight.requires_grad


def test_embedding_files_are_checked(tmp_path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("1 3\nw3 1 2 3\n")
    for side in ("encoder", "decoder"):
        option = f"--{side}-embed-path"
        with pytest.raises(ValueError, match=f"{option} {path} has vectors of 3 numbers, but"):
            make_model(**{f"{side}_embed_path": str(path)})
        with pytest.raises(ValueError, match=f"{option} gone: no such file.*--model-overrides"):
            make_model(**{f"{side}_embed_path": "gone"})


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


BAD_OPTIONS = {
    "cell": (dict(decoder_cell="lstm2"), "--decoder-cell lstm2: choose one of lstm"),
    "size": (dict(encoder_hidden_size=0), "--encoder-hidden-size 0: give at least 1"),
    "dropout": (dict(attention_dropout=1.5), "--attention-dropout 1.5: give a probability"),
    "layer drop": (dict(encoder_layerdrop=1.5), "--encoder-layerdrop 1.5: give a probability"),
    "backend": (dict(lstm_backend="gpu"), "--lstm-backend gpu: choose one of auto"),
    "coupled": (
        dict(coupled_gates=True, cell="gru"),
        "--cell gru: cell 'gru' has no forget gate of its own to couple",
    ),
    "coupled-decoder": (
        dict(coupled_gates=True, decoder_cell="gru"),
        "--decoder-cell gru: cell 'gru' has no forget gate of its own to couple",
    ),
    "quantised": (dict(quant_noise_scalar=0.1), "--quant-noise-scalar 0.1: fairseq cannot"),
    "window": (dict(window=2), "--window 2"),
    "heads": (
        dict(decoder_attention_heads=3),
        "--decoder-attention-heads 3 does not divide --decoder-embed-dim 8: give a divisor",
    ),
    "merged": (
        dict(merge_src_tgt_embed=True, decoder_embed_path="d.vec"),
        "--decoder-embed-path has no effect with --merge-src-tgt-embed",
    ),
    "merged sizes": (
        dict(merge_src_tgt_embed=True, decoder_embed_dim=4, decoder_attention_heads=2),
        "--encoder-embed-dim 8 to match --decoder-output-dim 4",
    ),
    "output": (
        dict(share_decoder_input_output_embed=True, decoder_output_dim=4),
        "--decoder-embed-dim 8 to match --decoder-output-dim 4",
    ),
    "tied": (
        dict(tie_adaptive_weights=True, decoder_output_dim=4),
        "--tie-adaptive-weights needs an adaptive input",
    ),
    "cutoffs": (
        dict(adaptive_softmax_cutoff="7,5", criterion="adaptive_loss"),
        "--adaptive-softmax-cutoff 7,5: give whole numbers",
    ),
    "large cutoff": (
        dict(adaptive_softmax_cutoff="999", criterion="adaptive_loss"),
        "--adaptive-softmax-cutoff 999: a cutoff is larger than the dictionary",
    ),
    "no cutoff": (
        dict(criterion="adaptive_loss"),
        "--criterion adaptive_loss needs --adaptive-softmax-cutoff, such as",
    ),
    "cross": (dict(cross_self_attention=True), "--cross-self-attention: a recurrent layer cannot"),
    "layer": (dict(encoder_attention_layers="2"), "numbers from 0 to 1.*--encoder-layers is 2"),
    "no-layer": (dict(decoder_attention_layers="top"), "--decoder-attention-layers top: give"),
    "order": (dict(decoder_attention_layers="all"), "give --token-positional-embeddings"),
    "both": (
        dict(token_positional_embeddings=True, no_token_positional_embeddings=True),
        "give one of them",
    ),
    "cell without a layer": (
        dict(encoder_cell="lstm", encoder_attention_layers="0,1", token_positional_embeddings=True),
        "--encoder-cell lstm has no effect, because all encoder layers keep self-attention",
    ),
    "size without a layer": (
        dict(decoder_hidden_size=5, decoder_attention_layers="0,1")
        | dict(token_positional_embeddings=True),
        "--decoder-hidden-size 5 has no effect, because all decoder layers keep self-attention",
    ),
    "coupled without a layer": (
        dict(coupled_gates=True, encoder_attention_layers="all", decoder_attention_layers="all"),
        "--coupled-gates has no effect, because all layers keep self-attention",
    ),
    "blocks": (
        dict(quant_noise_pq=0.5, quant_noise_pq_block_size=4, encoder_hidden_size=3),
        "--quant-noise-pq-block-size 4 does not divide 6, the size of the output of the encoder's",
    ),
    "pruned": (
        dict(encoder_attention_layers="1", encoder_layers_to_keep="0"),
        "--encoder-layers-to-keep changes the numbers",
    ),
}


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_options_are_named_with_the_cure(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(**options)


def test_the_dataclass_gives_the_same_model() -> None:
    cfg = WsumTransformerConfig(**SMALL, cell="no-srnn-hidden")
    model = WsumTransformerModel.build_model(cfg, make_task())
    assert model.state_dict().keys() == make_model().state_dict().keys()
