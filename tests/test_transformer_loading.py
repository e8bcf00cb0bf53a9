"""Weights of `wsum_transformer`: shared, pruned, and loaded with the right dictionary."""

from argparse import Namespace

import pytest
import torch

pytest.importorskip("fairseq")
from transformer_models import make_model
from translation import SOURCE, TARGET, make_batch, make_dictionary, make_task


def test_a_model_with_an_adaptive_softmax_and_shared_embeddings_loads_its_weights() -> None:
    options = dict(adaptive_softmax_cutoff="8,16", share_decoder_input_output_embed=True)
    model = make_model(**options)
    weights = model.state_dict()
    model.load_state_dict(weights)  # fairseq's, which upgrades the weights
    assert "decoder.output_projection.weight" not in weights


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


def test_embeddings_and_output_can_be_one_matrix() -> None:
    model = make_model(make_task(SOURCE, SOURCE), share_all_embeddings=True)
    assert model.encoder.embed_tokens is model.decoder.embed_tokens
    assert model.decoder.output_projection.weight is model.encoder.embed_tokens.weight
    with pytest.raises(ValueError, match="--share-all-embeddings requires a joined dictionary"):
        make_model(make_task(SOURCE, TARGET), share_all_embeddings=True)


def test_a_model_with_merged_embeddings_is_loaded() -> None:
    # fairseq changes the source dictionary
    task = make_task(make_dictionary(20), make_dictionary(10))
    model = make_model(task, merge_src_tgt_embed=True)
    model.load_state_dict(model.state_dict())
    second = make_model(task, merge_src_tgt_embed=True)  # of an ensemble
    second.load_state_dict(model.state_dict())
