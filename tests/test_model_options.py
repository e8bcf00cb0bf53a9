"""The options of the translation model: defaults, presets, dropouts and mistakes."""

from argparse import Namespace

import pytest
import torch

pytest.importorskip("fairseq")
from fairseq import options as fairseq_options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_CONFIG_REGISTRY
from omegaconf import OmegaConf
from translation import PAD, SOURCE, every_feeding, make_batch, make_model, make_task

from fairseq_wsum.plugin.models.wsum_lstm_config import WsumLSTMConfig, read_config


def test_a_preset_that_hydra_would_ignore_is_rejected() -> None:
    arch = "wsum_lstm_multi30k"
    cfg = OmegaConf.structured(WsumLSTMConfig())
    with pytest.raises(ValueError, match=f"model._name={arch}: presets have no effect"):
        ARCH_CONFIG_REGISTRY[arch](cfg)
    args = Namespace()
    ARCH_CONFIG_REGISTRY[arch](args)  # what fairseq-train has called before
    cfg.preset = args.preset
    ARCH_CONFIG_REGISTRY[arch](cfg)


def test_the_dropouts_of_the_multi30k_preset_follow_dropout() -> None:
    args = Namespace(dropout=0.1, decoder_dropout_in=0.2, encoder_layers=3)
    ARCH_CONFIG_REGISTRY["wsum_lstm_multi30k"](args)
    assert args.encoder_layers == 3  # as the user gave it
    encoder, decoder = read_config(args).encoder, read_config(args).decoder
    assert (encoder.dropout_in, encoder.dropout_out, decoder.dropout_in) == (0.1, 0.1, 0.2)
    assert decoder.dropout_out == encoder.layer_dropout == 0.1


NO_DROPOUT = {
    f"{side}_{place}": 0.0
    for side in ("encoder", "decoder")
    for place in ("dropout_in", "layer_dropout", "dropout_out")
}


@every_feeding
@pytest.mark.parametrize("place", [*NO_DROPOUT, "additional_fc"])
def test_dropout_applies_in_its_place_and_only_in_training(place, feeding) -> None:
    """With one rate at 1, nothing after that place depends on anything before it."""
    options = NO_DROPOUT | ({} if place == "additional_fc" else {place: 1.0})
    if place == "additional_fc":
        options |= dict(decoder_dropout_out=1.0, decoder_out_embed_dim=4)
    model = make_model(decoder_input_feeding=feeding, **options)
    src, lengths, prev = make_batch()
    other_src, other_prev = (torch.where(t == PAD, t, torch.full_like(t, 5)) for t in (src, prev))

    def is_cut() -> bool:
        if place.startswith("encoder"):
            one, other = model.encoder(src), model.encoder(other_src)
            if place == "encoder_dropout_out":  # on the output, not on the states
                return not one.x.any() and bool(one.hiddens.any())
            if place == "encoder_dropout_in":
                return torch.equal(one.x, other.x)
            first, second = (
                torch.equal(*pair) for pair in zip(one.hiddens, other.hiddens, strict=True)
            )
            return second and not first
        scores, others = (model(src, lengths, words)[0] for words in (prev, other_prev))
        if place in ("decoder_dropout_out", "additional_fc"):
            return torch.equal(scores, model.decoder.fc_out.bias.expand_as(scores))
        return torch.equal(scores, others)

    assert [is_cut(), model.train() and is_cut()] == [False, True]


def test_the_adaptive_softmax_has_the_dropout_of_the_output() -> None:
    options = dict(criterion="adaptive_loss", adaptive_softmax_cutoff="8,16")
    options |= NO_DROPOUT | dict(decoder_dropout_out=1.0, decoder_hidden_size=16)
    softmax = make_model(**options).decoder.adaptive_softmax
    features, words = torch.randn(3, 16, dtype=torch.float64), torch.tensor([5, 10, 20])
    for training in (False, True):
        scores, _ = softmax.train(training)(features, words)  # of three clusters
        assert [bool(part.any()) for part in scores] == [not training] * 3


def test_the_maximum_lengths_are_those_of_the_task() -> None:
    assert make_model(max_source_positions=4, max_target_positions=9).max_positions() == (4, 9)
    assert min(make_model().max_positions()) > 10_000


def test_an_adaptive_softmax_shares_only_the_input_embeddings() -> None:
    task = make_task(SOURCE, SOURCE)
    adaptive = dict(criterion="adaptive_loss", adaptive_softmax_cutoff="8")
    model = make_model(task, share_all_embeddings=True, **adaptive)
    assert model.encoder.embed_tokens is model.decoder.embed_tokens
    # and fairseq's own takes this option, too, without effect
    model = make_model(share_decoder_input_output_embed=True, decoder_hidden_size=7, **adaptive)
    assert not model.decoder.share_input_output_embed and model.decoder.additional_fc is None
    too_large = "--adaptive-softmax-cutoff 8,900: give numbers below the size of the dictionary"
    with pytest.raises(ValueError, match=too_large):
        make_model(**adaptive | dict(adaptive_softmax_cutoff="8,900"))


def test_dropout_out_also_applies_between_layers_as_in_fairseq() -> None:
    cfg = read_config(Namespace(dropout=0.1, encoder_dropout_out=0.2, decoder_dropout_out=0.4))
    assert (cfg.encoder.layer_dropout, cfg.encoder.dropout_out) == (0.2, 0.2)
    assert (cfg.decoder.layer_dropout, cfg.decoder.dropout_out) == (0.4, 0.4)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of fairseq's use of hydra
@pytest.mark.parametrize("arch", ["wsum_lstm", "wsum_lstm_lm"])
def test_a_criterion_without_a_dataclass_can_be_chosen(arch) -> None:
    """For example one of the user's own, written as fairseq's documents show it."""
    task = "translation" if arch == "wsum_lstm" else "language_modeling"
    given = ["data", "--task", task, "--arch", arch, "--criterion", "composite_loss"]
    given += ["--underlying-criterion", "cross_entropy"]
    args = fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), given)
    assert convert_namespace_to_omegaconf(args).model.criterion_name is None


def test_no_value_counts_as_the_default_of_an_option_that_needs_one() -> None:
    cfg = WsumLSTMConfig.read(Namespace(cell=None, dropout=None, encoder_cell=None))
    assert (cfg.cell, cfg.dropout, cfg.encoder_cell) == ("lstm", 0.3, None)


def test_the_default_is_opennmts_readme_model() -> None:
    cfg = read_config(Namespace())
    encoder, decoder = cfg.encoder, cfg.decoder
    assert (encoder.layers, decoder.layers) == (2, 2)
    assert encoder.embed_dim == encoder.hidden_size == decoder.hidden_size == 500
    assert cfg.out_embed_dim == 500 and cfg.attention == "general" and cfg.input_feeding
    assert (encoder.layer_dropout, decoder.layer_dropout, decoder.dropout_out) == (0.3, 0.3, 0.3)
    assert (encoder.dropout_in, encoder.dropout_out, decoder.dropout_in) == (0, 0, 0)
