"""Transformer language models with recurrent layers: state, and fairseq's model as the oracle."""

from argparse import Namespace

import pytest
import torch

pytest.importorskip("fairseq")
from fairseq.data import TruncatedDictionary
from fairseq.models.transformer_lm import TransformerLanguageModel, TransformerLanguageModelConfig
from fairseq.tasks.language_modeling import LanguageModelingTask
from language_models import TASK, TRANSFORMER, make_tokens, make_transformer
from transformer_models import assert_same_scores
from translation import PAD, SOURCE

from fairseq_wsum.plugin.models.wsum_transformer_lm import WsumTransformerLanguageModel
from fairseq_wsum.plugin.models.wsum_transformer_lm_config import read_config
from fairseq_wsum.plugin.modules.states import CarriedState
from fairseq_wsum.plugin.tasks.wsum_language_modeling import (
    WsumLanguageModelingConfig,
    WsumLanguageModelingTask,
)

ADAPTIVE = dict(adaptive_input=True, adaptive_input_cutoff="8", adaptive_softmax_cutoff="8")
CHARACTERS = dict(
    character_filters="[(1, 8), (2, 8)]", character_embedding_dim=3, char_embedder_highway_layers=1
)
FAIRSEQS_OPTIONS = {
    "defaults": dict(),
    "others": dict(activation_fn="gelu", no_scale_embedding=True, layernorm_embedding=True),
    "pre-norm": dict(decoder_normalize_before=True),
    "no-final-norm": dict(decoder_normalize_before=True, no_decoder_final_norm=True),
    "shared": dict(share_decoder_input_output_embed=True),
    "adaptive-softmax": dict(
        adaptive_softmax_cutoff="8,16", adaptive_softmax_factor=2, adaptive_softmax_dropout=0.1
    ),
    "adaptive-input": dict(adaptive_input=True, adaptive_input_cutoff="8"),
    "tied": dict(**ADAPTIVE, tie_adaptive_weights=True),
    "tied-projections": dict(**ADAPTIVE, tie_adaptive_weights=True, tie_adaptive_proj=True),
    "characters": dict(character_embeddings=True, **CHARACTERS),
    "learned-positions": dict(decoder_learned_pos=True),
    "layers-to-keep": dict(decoder_layers_to_keep="1"),
    "layer-drop": dict(decoder_layerdrop=0.4),
    "quantisation-noise": dict(quant_noise_pq=0.5, quant_noise_pq_block_size=2),
    "scales": dict(scale_heads=True, scale_attn=True, scale_fc=True, scale_resids=True),
    "dropout": dict(dropout=0.2, attention_dropout=0.3, activation_dropout=0.1),
    "relu-dropout": dict(relu_dropout=0.3),
    "sizes": dict(decoder_input_dim=6, decoder_output_dim=4),
    "recomputed": dict(checkpoint_activations=True),
}


def test_a_text_continues_in_another_precision() -> None:
    model, tokens = make_transformer(), make_tokens()
    whole, _ = model(tokens)
    carried = CarriedState()
    model(tokens[:, :6], carried_state=carried)
    rest, _ = model.float()(tokens[:, 6:], carried_state=CarriedState(carried.last))
    assert rest.dtype == torch.float32
    torch.testing.assert_close(rest.double(), whole[:, 6:], rtol=1e-4, atol=1e-5)


def test_padding_at_the_end_of_a_part_does_not_change_the_state() -> None:
    model, tokens = make_transformer(), make_tokens(2, 6)
    padded = tokens.clone()
    padded[1, 4:] = PAD
    with_padding, without = CarriedState(), CarriedState()
    model(padded, carried_state=with_padding)
    model(tokens[1:, :4], carried_state=without)
    for part, expected in zip(with_padding.last, without.last, strict=True):
        torch.testing.assert_close(part[:, 1:], expected)


def test_recomputed_layers_start_from_the_carried_state_too() -> None:
    gradients = []
    for recomputed in (False, True):
        torch.manual_seed(1)
        model, tokens = make_transformer(checkpoint_activations=recomputed).train(), make_tokens()
        for module in model.modules():
            module.p = 0.0  # of dropout
        carried = CarriedState()
        for part in tokens.split(4, dim=1):
            model.zero_grad()
            model(part, carried_state=carried)[0].square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_layer_drop_keeps_the_state_of_the_layers_that_it_leaves_out() -> None:
    model, tokens = make_transformer(decoder_layerdrop=0.5).train(), make_tokens(steps=12)
    carried = CarriedState()
    changed = set()
    before = None
    for part in tokens.split(1, dim=1):
        model(part, carried_state=carried)
        if before is not None and carried.last is not None:
            changed.add(tuple((carried.last[0] != before[0]).flatten(1).any(1).tolist()))
        before = carried.last
    assert len(changed) > 2  # either layer, both, none


@pytest.mark.parametrize("options", FAIRSEQS_OPTIONS.values(), ids=FAIRSEQS_OPTIONS)
def test_with_attention_in_all_layers_it_is_fairseqs_model(options) -> None:
    sizes = dict(decoder_input_dim=8, decoder_output_dim=8, max_target_positions=64)
    cfg = TransformerLanguageModelConfig(**{**TRANSFORMER, **sizes, **options})
    theirs = TransformerLanguageModel.build_model(cfg, TASK).double()
    adaptive = "adaptive_softmax_cutoff" in options
    ours = make_transformer(
        **{**sizes, **options},
        decoder_attention_layers="all",
        token_positional_embeddings=True,
        criterion="adaptive_loss" if adaptive else "cross_entropy",
    )
    assert_same_scores(ours, theirs, make_tokens())


def test_a_model_that_keeps_attention_cannot_carry_its_state() -> None:
    cfg = WsumLanguageModelingConfig(data="none")
    task = WsumLanguageModelingTask(cfg, SOURCE)
    args = dict(TRANSFORMER, _name="wsum_transformer_lm", decoder_attention_layers="1")
    with pytest.raises(
        ValueError, match=r"carries the state .* without --decoder-attention-layers"
    ):
        task.build_model(Namespace(**args))
    args["decoder_attention_layers"] = None
    assert task.build_model(Namespace(**args)).carries_state
    with pytest.raises(ValueError, match=r"carries the state .* --token-positional-embeddings"):
        task.build_model(Namespace(**args, token_positional_embeddings=True))


def test_a_model_that_keeps_attention_may_continue_sentences() -> None:
    cfg = WsumLanguageModelingConfig(data="none", sample_break_mode="eos")
    args = Namespace(**TRANSFORMER, _name="wsum_transformer_lm", decoder_attention_layers="1")
    WsumLanguageModelingTask(cfg, SOURCE).build_model(args, from_checkpoint=True)


def test_only_positions_limit_the_length() -> None:
    assert make_transformer(tokens_per_sample=35).max_positions() == 100_000
    assert make_transformer(tokens_per_sample=35, max_target_positions=50).max_positions() == 50
    positions = dict(token_positional_embeddings=True, decoder_learned_pos=True)
    assert make_transformer(tokens_per_sample=35, **positions).max_positions() == 35


def test_a_model_of_fewer_output_words_is_loaded() -> None:
    task = LanguageModelingTask(Namespace(), SOURCE, TruncatedDictionary(SOURCE, 12))
    args = Namespace(**TRANSFORMER, cell="no-srnn-hidden")
    model = WsumTransformerLanguageModel.build_model(args, task)
    assert model(make_tokens())[0].size(-1) == 12
    model.load_state_dict(model.state_dict())


def test_offloading_implies_recomputing_as_in_fairseqs_transformer() -> None:
    assert read_config(Namespace(**TRANSFORMER, offload_activations=True))[0].checkpoint_activations
