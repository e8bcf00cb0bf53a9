"""The language model: state, dropout, options. The equations are those of the layer's tests."""

import math
from argparse import ArgumentParser, Namespace
from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("fairseq")
from fairseq.criterions.adaptive_loss import AdaptiveLoss
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.logging import metrics
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.lstm_lm import LSTMLanguageModel, base_architecture
from language_models import (
    LSTM,
    LSTMS,
    TASK,
    TRANSFORMERS,
    make_lstm,
    make_sample,
    make_tokens,
    make_transformer,
)

from fairseq_wsum.plugin.models.wsum_lstm_lm_config import WsumLSTMLMConfig, read_config
from fairseq_wsum.plugin.modules.dropout import LockedDropout
from fairseq_wsum.plugin.modules.states import CarriedState
from fairseq_wsum.plugin.tasks.wsum_language_modeling import WsumLanguageModelingTask

MAKERS = {
    **{name: lambda o=o: make_lstm(**o).double() for name, o in LSTMS.items()},
    **{
        f"transformer-{name}": lambda o=o: make_transformer(**o) for name, o in TRANSFORMERS.items()
    },
}
every_model = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@every_model
@pytest.mark.parametrize("size", [1, 4])
def test_a_text_in_parts_equals_the_whole_text(size, make) -> None:
    model, tokens = make(), make_tokens()
    whole, _ = model(tokens)
    carried = CarriedState()
    parts = [model(part, carried_state=carried)[0] for part in tokens.split(size, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    torch.testing.assert_close(model(tokens)[0], whole)  # nothing is left in the model
    assert carried.last[0].any() and not any(part.requires_grad for part in carried.last)


@every_model
def test_incremental_decoding_equals_full_decoding(make) -> None:
    model, tokens = make(), make_tokens()
    whole, _ = model(tokens)
    state: dict = {}
    steps = [
        model.decoder(tokens[:, : t + 1], incremental_state=state)[0]
        for t in range(tokens.shape[1])
    ]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole)


def test_hypotheses_can_be_reordered_dropped_and_repeated() -> None:
    model, tokens = make_lstm(), make_tokens()
    order = torch.tensor([2, 0, 0])
    state: dict = {}
    model.decoder(tokens[:, :1], incremental_state=state)
    model.decoder.reorder_incremental_state_scripting(state, order)
    tokens = tokens[order]
    step, _ = model.decoder(tokens[:, :2], incremental_state=state)
    torch.testing.assert_close(step, model(tokens[:, :2])[0][:, 1:])


def test_the_models_of_an_ensemble_keep_separate_states() -> None:
    models, tokens = [make_lstm() for _ in range(2)], make_tokens()
    carried = CarriedState()
    for part in tokens.split(4, dim=1):
        scores = [model(part, carried_state=carried)[0] for model in models]
    for model, last in zip(models, scores, strict=True):
        torch.testing.assert_close(last, model(tokens)[0][:, -last.shape[1] :])


def test_a_16_bit_model_keeps_its_memory_cell_in_32_bits() -> None:
    model = make_lstm().to(torch.bfloat16)
    carried = CarriedState()
    for _ in range(2):
        model(make_tokens(), carried_state=carried)
    assert [part.dtype for part in carried.last] == [torch.bfloat16, torch.float32]


def test_lstm_equals_fairseqs_lstm() -> None:
    args = Namespace(**LSTM, criterion="cross_entropy")
    base_architecture(args)
    args.decoder_out_embed_dim = 7
    peer = LSTMLanguageModel.build_model(args, TASK).eval()
    model = make_lstm(decoder_out_embed_dim=7)
    renamed = {}
    for name, value in peer.state_dict().items():
        parts = name.split(".")
        if parts[1] == "layers":  # decoder.layers.0.weight_ih
            name = f"decoder.lstm.{parts[3]}_l{parts[2]}"
        renamed[name] = value
    model.load_state_dict(renamed)
    tokens = make_tokens()
    torch.testing.assert_close(model(tokens)[0], peer(tokens)[0])


# Dropout


def test_locked_dropout_drops_the_same_features_at_every_step() -> None:
    dropout = LockedDropout(0.4)
    x = torch.ones(50, 20, 30)
    y = dropout(x)
    assert torch.equal(y, y[:1].expand_as(y))
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert (y[0] == 0).float().mean() == pytest.approx(0.4, abs=0.07)  # 600 features
    assert (y[0] == 0).any(1).all() and not (y[0] == 0).all(0).any()  # of each sequence others
    assert torch.equal(dropout.eval()(x), x)
    assert LockedDropout(1.0)(x).abs().sum() == 0


@pytest.mark.parametrize("locked", [False, True])
def test_dropout_can_be_retained_in_decoding(locked) -> None:
    tokens, scores = make_tokens(), []
    for retain in (False, True):
        model = make_lstm(dropout=0.5, locked_dropout=locked)
        cfg = Namespace(
            generation=Namespace(beam=1, retain_dropout=retain, retain_dropout_modules=None)
        )
        model.eval().prepare_for_inference_(cfg)
        scores.append([model(tokens)[0] for _ in range(2)])
    assert torch.equal(*scores[0]) and not torch.equal(*scores[1])


@pytest.mark.parametrize("locked", [False, True])
def test_locked_dropout_of_a_model_is_in_all_places_the_same_at_every_step(locked) -> None:
    decoder, dropped = make_lstm(dropout=0.5, locked_dropout=locked).train().decoder, []
    for dropout in (decoder.dropout_in_module, decoder.lstm.dropout, decoder.dropout_out_module):
        dropout.register_forward_hook(lambda module, given, y: dropped.append(y == 0))
    decoder(make_tokens())
    assert [torch.equal(zero, zero[:1].expand_as(zero)) for zero in dropped] == [locked] * 3


@pytest.mark.parametrize("locked", [False, True])
def test_dropout_is_on_embeddings_between_layers_and_on_the_output(locked) -> None:
    """With everything dropped at one place, all positions have the same output for any input."""
    tokens = make_tokens()
    for option in ("decoder_dropout_in", "decoder_layer_dropout", "decoder_dropout_out"):
        rates = dict(decoder_dropout_in=0.0, decoder_layer_dropout=0.0, decoder_dropout_out=0.0)
        model = make_lstm(**{**rates, option: 1.0}, locked_dropout=locked)
        assert model(tokens)[0].std(0).max() > 0.01
        assert model.train()(tokens)[0].std(0).max() < 1e-6, option


def test_recurrent_connections_have_no_dropout() -> None:
    """The carried state of the first layer depends on the input dropout only."""
    model = make_lstm(decoder_dropout_in=0.0, decoder_layer_dropout=0.9, decoder_dropout_out=0.9)
    tokens = make_tokens()
    states = []
    for training in (False, True):
        carried = CarriedState()
        model.train(training)(tokens, carried_state=carried)
        states.append([part[0] for part in carried.last])
    torch.testing.assert_close(*states)


# Options


def test_every_option_of_fairseqs_language_model_exists() -> None:
    parser = ArgumentParser()
    LSTMLanguageModel.add_args(parser)
    theirs = {action.dest for action in parser._actions} - {"help"}
    assert theirs <= {option.name for option in fields(WsumLSTMLMConfig)}


def test_defaults_are_those_of_fairseq() -> None:
    args = Namespace()
    base_architecture(args)
    cfg = read_config(Namespace())
    values = {f"decoder_{option}": value for option, value in vars(cfg.decoder).items()}
    ours = vars(cfg) | values | {"decoder_out_embed_dim": cfg.out_embed_dim}
    assert {option: ours[option] for option in vars(args)} == vars(args)


@pytest.mark.parametrize("options", LSTMS.values(), ids=LSTMS)
def test_every_parameter_is_used(options) -> None:
    model = make_lstm(**options).train()
    task = SimpleNamespace(target_dictionary=TASK.target_dictionary)
    adaptive = model.decoder.adaptive_softmax is not None
    criterion = (AdaptiveLoss if adaptive else CrossEntropyCriterion)(task, sentence_avg=False)
    criterion(model, make_sample())[0].backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


def test_weights_start_within_the_init_range_and_biases_at_zero() -> None:
    model = make_lstm(init_range=0.03)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert not parameter.any(), name
        else:
            assert 0.02 < parameter.abs().max() <= 0.03, name
    assert not model.decoder.embed_tokens.weight[TASK.source_dictionary.pad()].any()


def test_tied_embeddings_are_one_tensor() -> None:
    model, tokens = make_lstm(share_decoder_input_output_embed=True), make_tokens()
    assert not hasattr(model.decoder, "fc_out")
    assert model.decoder.additional_fc is not None  # from 5 units to an embedding of 6
    tokens[tokens == 7] = 8
    before = model(tokens)[0]
    model.decoder.embed_tokens.weight.data[7] += 1
    changed = (model(tokens)[0] != before).flatten(0, 1).any(0).nonzero().flatten().tolist()
    assert changed == [7]  # a word that is not read, so it is its output embedding


def test_the_perplexity_of_an_epoch_is_not_summed_in_16_bits() -> None:
    task = WsumLanguageModelingTask.__new__(WsumLanguageModelingTask)
    task.args = Namespace(sample_break_mode="none")
    loss, log = torch.tensor(3500, dtype=torch.float16), dict(ntokens=700, sample_size=700)
    with metrics.aggregate() as epoch:
        for _ in range(40):
            task.reduce_metrics([dict(log, loss=loss, nsentences=1)], AdaptiveLoss(task, False))
    assert epoch.get_smoothed_values()["ppl"] == pytest.approx(math.exp(5), rel=1e-3)


def test_the_maximum_length_comes_from_the_task() -> None:
    assert make_lstm(max_target_positions=4).max_positions() == 4
    assert make_lstm().max_positions() > 10_000


PRESETS = {  # layers, units, projection, dropout, init range: Zaremba et al.; Jozefowicz et al.
    "wsum_lstm_lm_ptb_small": (2, 200, 0, 0.0, 0.1),
    "wsum_lstm_lm_ptb_medium": (2, 650, 0, 0.5, 0.05),
    "wsum_lstm_lm_ptb_large": (2, 1500, 0, 0.65, 0.04),
    "wsum_lstm_lm_gbw": (1, 2048, 512, 0.1, 0.05),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_equals_the_published_model(preset) -> None:
    args = Namespace(**dict.fromkeys(option.name for option in fields(WsumLSTMLMConfig)))
    args.cell = "no-srnn"
    ARCH_CONFIG_REGISTRY[preset](args)
    given = {name: value for name, value in vars(args).items() if value is not None}
    cfg = read_config(Namespace(**given))
    side = cfg.decoder
    layers, units, projection, dropout, init_range = PRESETS[preset]
    assert (side.layers, side.hidden_size) == (layers, units)
    assert side.embed_dim == cfg.features == cfg.out_embed_dim
    assert (cfg.decoder_proj_size, cfg.init_range) == (projection, init_range)
    assert side.dropout_in == side.layer_dropout == side.dropout_out == dropout
    assert not cfg.share_decoder_input_output_embed
    assert cfg.cell == "no-srnn"
