"""Transformers with recurrent layers: fairseq's Transformer and explicit formulas as oracles."""

from argparse import ArgumentParser, Namespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("fairseq")
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer.transformer_legacy import base_architecture
from fairseq.modules import FairseqDropout
from omegaconf import OmegaConf
from translation import PAD, SOURCE, TARGET, every_name, make_batch, make_dictionary, make_task

from fairseq_wsum import CELLS
from fairseq_wsum.plugin.models.wsum_lstm_config import WsumLSTMConfig
from fairseq_wsum.plugin.models.wsum_transformer import (
    WsumTransformerModel,
    wsum_transformer_multi30k,
)
from fairseq_wsum.plugin.models.wsum_transformer_config import WsumTransformerConfig, read_config
from fairseq_wsum.plugin.modules import WsumSelfAttention

SMALL = dict(
    encoder_embed_dim=8,
    encoder_ffn_embed_dim=10,
    encoder_layers=2,
    encoder_attention_heads=2,
    decoder_layers=2,
    decoder_attention_heads=2,
)
VARIANTS = {
    "plain": dict(),
    "pre-norm": dict(encoder_normalize_before=True, decoder_normalize_before=True),
    "window": dict(cell="qrnn", window=2),
    "coupled": dict(cell="no-srnn", coupled_gates=True),
    "other-sizes": dict(encoder_hidden_size=3, decoder_hidden_size=5, decoder_embed_dim=6),
    "two-cells": dict(encoder_cell="sru", decoder_cell="gru"),
    "mixed": dict(encoder_attention_layers="1", decoder_attention_layers="1"),
    "attention-encoder": dict(encoder_attention_layers="all", token_positional_embeddings=True),
    "positions": dict(token_positional_embeddings=True, decoder_learned_pos=True),
    "shared-output": dict(share_decoder_input_output_embed=True, layernorm_embedding=True),
    "output-size": dict(decoder_output_dim=4, decoder_input_dim=8),
    "no-cross-attention": dict(no_cross_attention=True),
    "recomputed": dict(checkpoint_activations=True),
}
every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
FAIRSEQS_OPTIONS = {
    "defaults": dict(),
    "activation": dict(activation_fn="gelu"),
    "unscaled-embeddings": dict(no_scale_embedding=True),
    "pre-norm": dict(encoder_normalize_before=True, decoder_normalize_before=True),
    "no-final-norm": dict(decoder_normalize_before=True, no_decoder_final_norm=True),
    "embedding-norm": dict(layernorm_embedding=True),
    "adaptive-softmax": dict(
        adaptive_softmax_cutoff="8,16",
        adaptive_softmax_factor=2,
        adaptive_softmax_dropout=0.1,
        criterion="adaptive_loss",
    ),
    "learned-positions": dict(encoder_learned_pos=True, decoder_learned_pos=True),
    "feed-forward": dict(encoder_ffn_embed_dim=12, decoder_ffn_embed_dim=7),
    "heads": dict(encoder_attention_heads=4, decoder_attention_heads=1),
    "sizes": dict(decoder_embed_dim=6, decoder_input_dim=4, decoder_output_dim=10),
    "shared": dict(share_decoder_input_output_embed=True),
    "no-cross-attention": dict(no_cross_attention=True),
    "layers-to-keep": dict(encoder_layers_to_keep="1", decoder_layers_to_keep="0"),
    "recomputed": dict(checkpoint_activations=True),
    "dropout": dict(dropout=0.2, attention_dropout=0.3, activation_dropout=0.1),
    "relu-dropout": dict(relu_dropout=0.2),
    "layer-drop": dict(encoder_layerdrop=0.3, decoder_layerdrop=0.3),
    "quantisation-noise": dict(quant_noise_pq=0.5, quant_noise_pq_block_size=2),
    "lengths": dict(max_source_positions=12, max_target_positions=13),
}


def make_model(task=None, **options) -> WsumTransformerModel:
    args = Namespace(**{**SMALL, "cell": "no-srnn-hidden", **options})
    model = WsumTransformerModel.build_model(args, task or make_task()).double().eval()
    for parameter in model.parameters():  # biases start at zero, and would hide errors
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return model


def recurrent_layers(model) -> list[WsumSelfAttention]:
    return [module for module in model.modules() if isinstance(module, WsumSelfAttention)]


def step_by_step(model, src, lengths, prev) -> Tensor:
    """The scores of incremental decoding, one token at a time."""
    encoder_out, state = model.encoder(src, lengths), {}
    steps = [
        model.decoder(prev[:, : t + 1], encoder_out=encoder_out, incremental_state=state)[0]
        for t in range(prev.size(1))
    ]
    return torch.cat(steps, dim=1)


# Oracles


@pytest.mark.parametrize("options", FAIRSEQS_OPTIONS.values(), ids=FAIRSEQS_OPTIONS)
def test_with_attention_in_all_layers_it_is_fairseqs_transformer(options) -> None:
    """In training, too: both draw the same random numbers."""
    args = Namespace(**{**SMALL, **options})
    base_architecture(args)
    tasks = [make_task(make_dictionary(20), make_dictionary(30)) for _ in range(2)]
    theirs = TransformerModel.build_model(args, tasks[0]).double()
    everywhere = dict(encoder_attention_layers="all", decoder_attention_layers="all")
    ours = make_model(tasks[1], **everywhere, token_positional_embeddings=True, **options)
    ours.load_state_dict(theirs.state_dict())
    assert ours.max_positions() == theirs.max_positions()
    batch = make_batch()
    for training in (False, True):
        scores = []
        for model in (ours, theirs):
            torch.manual_seed(3)
            scores.append(model.train(training)(*batch)[0])
        torch.testing.assert_close(*scores)


def test_the_map_after_a_layer_starts_like_the_output_of_attention() -> None:
    """Glorot and Bengio (2010), and a bias of zero; the cell has its own initial values."""
    args = Namespace(**SMALL, cell="minlstm")
    for layer in recurrent_layers(WsumTransformerModel.build_model(args, make_task())):
        out, inputs = layer.out_proj.weight.shape
        bound = (6 / (out + inputs)) ** 0.5
        assert 0.8 * bound < layer.out_proj.weight.abs().amax() <= bound
        assert not layer.out_proj.bias.any()


def test_a_model_with_an_adaptive_softmax_and_shared_embeddings_loads_its_weights() -> None:
    options = dict(adaptive_softmax_cutoff="8,16", share_decoder_input_output_embed=True)
    model = make_model(**options)
    weights = model.state_dict()
    model.load_state_dict(weights)  # fairseq's, which upgrades the weights
    assert "decoder.output_projection.weight" not in weights


def test_an_encoder_layer_is_the_sum_of_both_directions_and_a_feed_forward() -> None:
    model = make_model(encoder_layers=1)
    src, lengths, _ = make_batch((5, 5, 5))
    layer, x = model.encoder.layers[0], model.encoder.embed_tokens(src).transpose(0, 1) * 8**0.5
    y, _ = layer.self_attn.wsum(x)
    x = layer.self_attn_layer_norm(x + F.linear(y, *layer.self_attn.out_proj.parameters()))
    x = layer.final_layer_norm(x + layer.fc2(F.relu(layer.fc1(x))))
    torch.testing.assert_close(model.encoder(src, lengths)["encoder_out"][0], x)
    assert layer.self_attn.wsum.bidirectional and layer.self_attn.wsum.hidden_size == 4
    assert not model.decoder.layers[0].self_attn.wsum.bidirectional


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


# fairseq's contract


@every_variant
def test_incremental_decoding_equals_full_decoding(options) -> None:
    model = make_model(**options)
    src, lengths, prev = make_batch()
    whole, _ = model(src, lengths, prev)
    torch.testing.assert_close(step_by_step(model, src, lengths, prev), whole)


@every_name
def test_every_cell_decodes_incrementally_and_ignores_padding(cell) -> None:
    model = make_model(cell=cell)
    src, lengths, prev = make_batch()
    whole, _ = model(src, lengths, prev)
    torch.testing.assert_close(step_by_step(model, src, lengths, prev), whole)
    for b, n in enumerate(lengths):
        alone, _ = model(src[b : b + 1, -n:], lengths[b : b + 1], prev[b : b + 1])
        torch.testing.assert_close(alone[0], whole[b])
    padded = torch.cat((prev, prev.new_full((len(prev), 2), PAD)), dim=1)
    torch.testing.assert_close(model(src, lengths, padded)[0][:, :-2], whole)
    padded = torch.cat((prev.new_full((len(prev), 2), PAD), prev), dim=1)
    torch.testing.assert_close(model(src, lengths, padded)[0][:, 2:], whole)


@every_variant
def test_hypotheses_can_be_reordered_dropped_and_repeated(options) -> None:
    """A beam of two for each of two sentences, of which the first is then finished."""
    model = make_model(**options)
    src, lengths, _ = (part.repeat_interleave(2, dim=0) for part in make_batch((5, 3)))
    _, _, prev = make_batch((5, 3, 4, 4))
    encoder_out, state = model.encoder(src, lengths), {}
    for t, order in enumerate(([1, 0, 3, 3], [2, 3], [1, 0])):
        model.decoder(prev[:, : t + 1], encoder_out=encoder_out, incremental_state=state)
        order = torch.tensor(order)
        src, lengths, prev = src[order], lengths[order], prev[order]
        model.decoder.reorder_incremental_state_scripting(state, order)
        encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)
    step, _ = model.decoder(prev[:, :4], encoder_out=encoder_out, incremental_state=state)
    whole, _ = model(src, lengths, prev[:, :4])
    torch.testing.assert_close(step[:, 0], whole[:, 3])


def test_the_state_of_decoding_does_not_grow() -> None:
    model = make_model(no_cross_attention=True)
    src, lengths, prev = make_batch(target_length=9)
    encoder_out, state, sizes = model.encoder(src, lengths), {}, []
    for t in range(1, 10):
        model.decoder(prev[:, :t], encoder_out=encoder_out, incremental_state=state)
        sizes.append(sum(part.numel() for cached in state.values() for part in cached.values()))
    assert sizes == [2 * 2 * 3 * 8] * 9  # layers x (h, c) x sentences x units


@every_variant
def test_every_parameter_is_used(options) -> None:
    model = make_model(**options).train()
    src, lengths, prev = make_batch()
    model(src, lengths, prev)[0].square().sum().backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    if "no_cross_attention" in options:
        unused = [name for name in unused if not name.startswith("encoder.")]
    assert not unused


# measured with 12 seeds, whose largest score is about 1: at most 0.0082 and 0.0013
@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.02), (torch.float16, 0.003)])
def test_scores_in_16_bits_are_close_to_those_in_64(dtype, error) -> None:
    model, batch = make_model(), make_batch()
    exact, _ = model(*batch)
    scores = step_by_step(model.to(dtype), *batch)
    torch.testing.assert_close(scores.double(), exact, rtol=0, atol=error)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_decoding_in_16_bits_keeps_32_bits_of_the_memory_cell(dtype) -> None:
    model = make_model(decoder_layers=1).to(dtype)
    src, lengths, prev = make_batch(target_length=1)
    (layer,) = (one.wsum for one in recurrent_layers(model.decoder))
    f = torch.tensor(7.0).sigmoid().item()  # 0.9991; in bfloat16 the next number below 1 is 0.996
    with torch.no_grad():  # the same token and gates in every step
        layer.weight_ih_l0[:16] = 0
        layer.bias_ih_l0[8:16] = 7
        encoder_out, state, cells = model.encoder(src, lengths), {}, []
        for _ in range(600):
            model.decoder(prev, encoder_out=encoder_out, incremental_state=state)
            cells += [cached["prev_cells"] for cached in state.values() if "prev_cells" in cached]
    assert len(cells) == 600 and cells[-1].dtype == torch.float32
    torch.testing.assert_close(cells[-1], cells[0] * (1 - f**600) / (1 - f), rtol=1e-5, atol=0)


def test_layers_can_be_dropped_in_training_and_pruned_afterwards() -> None:
    torch.manual_seed(3)
    model = make_model(encoder_layerdrop=0.5, decoder_layerdrop=0.5, dropout=0.0).train()
    batch = make_batch()
    assert len({model(*batch)[0].sum().item() for _ in range(8)}) > 1
    kept = dict(encoder_layers_to_keep="1", decoder_layers_to_keep="0")
    small = make_model(**kept)
    small.load_state_dict(model.state_dict(), model_cfg=Namespace(arch="wsum_transformer", **kept))
    assert len(small.encoder.layers) == len(small.decoder.layers) == 1
    torch.testing.assert_close(
        small.encoder.layers[0].self_attn.out_proj.weight,
        model.encoder.layers[1].self_attn.out_proj.weight,
    )


@pytest.mark.parametrize("decoder_layers", ["0", None], ids=["both sides", "the encoder"])
def test_the_checkpoint_of_a_pruned_model_is_loaded(decoder_layers) -> None:
    given = dict(
        SMALL,
        _name="wsum_transformer",
        cell="no-srnn-hidden",
        encoder_layers_to_keep="1",
        decoder_layers_to_keep=decoder_layers,
    )
    cfg = OmegaConf.create(given)
    pruned = WsumTransformerModel.build_model(cfg, make_task())
    whole = make_model().state_dict()
    pruned.load_state_dict(whole, model_cfg=cfg)  # as in finetuning
    query = "encoder.layers.{}.self_attn.out_proj.weight"
    assert pruned.state_dict()[query.format(0)].equal(whole[query.format(1)])
    cfg = OmegaConf.create(given)  # the same command continues the training
    continued = WsumTransformerModel.build_model(cfg, make_task())
    continued.load_state_dict(pruned.state_dict(), model_cfg=cfg)
    assert continued.state_dict()[query.format(0)].equal(whole[query.format(1)])
    saved = WsumTransformerModel.build_model(cfg, make_task())
    saved.load_state_dict(pruned.state_dict(), model_cfg=cfg)
    assert len(saved.encoder.layers) == 1
    assert len(saved.decoder.layers) == (1 if decoder_layers else SMALL["decoder_layers"])


def test_embeddings_and_output_can_be_one_matrix() -> None:
    model = make_model(make_task(SOURCE, SOURCE), share_all_embeddings=True)
    assert model.encoder.embed_tokens is model.decoder.embed_tokens
    assert model.decoder.output_projection.weight is model.encoder.embed_tokens.weight
    with pytest.raises(ValueError, match=r"--share-all-embeddings .* requires a joined dictionary"):
        make_model(make_task(SOURCE, TARGET), share_all_embeddings=True)


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
    mixed = Namespace(cell="no-srnn-hidden", **{f"{side}_attention_layers": "0,1"})
    wsum_transformer_multi30k(mixed)
    assert 192 < getattr(mixed, f"{side}_ffn_embed_dim") < 256


@pytest.mark.parametrize("size", ["encoder_layers", "decoder_layers", "encoder_embed_dim"])
def test_a_preset_leaves_a_wrong_size_to_the_check_of_the_model(size) -> None:
    args = Namespace(cell="lstm", **{size: 0})
    wsum_transformer_multi30k(args)
    option = f"--{size.replace('_', '-')} 0: give at least 1"
    with pytest.raises(ValueError, match=option):
        read_config(args)


def test_a_preset_that_hydra_would_ignore_is_rejected() -> None:
    with pytest.raises(ValueError, match="presets have no effect"):
        wsum_transformer_multi30k(OmegaConf.structured(WsumTransformerConfig()))


@pytest.mark.parametrize("layers", ["all", "none"])
def test_dropout_is_where_fairseqs_transformer_has_it(layers) -> None:
    """A recurrent layer has no dropout of its own."""
    rates = dict(dropout=0.3, attention_dropout=0.2, activation_dropout=0.1)
    args = Namespace(**SMALL, **rates)
    base_architecture(args)
    theirs = TransformerModel.build_model(args, make_task())
    kept = dict(encoder_attention_layers=layers, decoder_attention_layers=layers)
    ours = make_model(**kept, **rates, token_positional_embeddings=True)
    found, expected = (
        {n: (m.p, m.module_name) for n, m in model.named_modules() if isinstance(m, FairseqDropout)}
        for model in (ours, theirs)
    )
    assert {p for p, _ in expected.values()} == set(rates.values())
    if layers == "none":
        expected = {name: value for name, value in expected.items() if "self_attn" not in name}
    assert found == expected


def test_the_preset_has_the_dropout_that_is_given_or_0_3() -> None:
    for given, expected in ((dict(), 0.3), (dict(dropout=0.1), 0.1)):
        args = Namespace(**given)
        wsum_transformer_multi30k(args)
        assert args.dropout == expected


NAMES = ("TransformerEncoder", "TransformerDecoder", "TransformerEncoderLayerBase",
         "TransformerDecoderLayerBase", "MultiheadAttention", "Other")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_retained_in_the_modules_that_fairseq_names(name) -> None:
    """With self-attention in one layer, too."""
    args = Namespace(**SMALL, dropout=0.5)
    base_architecture(args)
    theirs = TransformerModel.build_model(args, make_task())
    ours = make_model(dropout=0.5, encoder_attention_layers="1")
    generation = Namespace(beam=1, retain_dropout=True, retain_dropout_modules=[name])
    retained = []
    for model in (theirs, ours):
        model.prepare_for_inference_(Namespace(generation=generation))
        kept = [m for m in model.modules() if getattr(m, "apply_during_inference", False)]
        retained.append(len(kept))
    if name == "MultiheadAttention":  # a recurrent layer has no dropout of its own
        assert retained == [6, 3]
    else:
        assert retained[0] == retained[1] and bool(retained[0]) == (name != "Other")


def test_a_model_with_merged_embeddings_is_loaded() -> None:
    # fairseq changes the source dictionary
    task = make_task(make_dictionary(20), make_dictionary(10))
    model = make_model(task, merge_src_tgt_embed=True)
    model.load_state_dict(model.state_dict())
    second = make_model(task, merge_src_tgt_embed=True)  # of an ensemble
    second.load_state_dict(model.state_dict())


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_weights_of_another_dictionary_are_refused(side) -> None:
    weights = make_model().state_dict()
    words = dict(encoder=make_dictionary(20), decoder=make_dictionary(30))
    words[side].symbols[9:11] = reversed(words[side].symbols[9:11])
    with pytest.raises(ValueError, match=f"{side} was trained with another dictionary"):
        make_model(make_task(*words.values())).load_state_dict(weights)


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
        dict(tie_adaptive_weights=True, adaptive_softmax_cutoff="10,20"),
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
