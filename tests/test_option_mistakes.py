"""Mistakes in the options of all models: the message names the option, its value and the cure."""

from argparse import Namespace
from types import SimpleNamespace

import pytest

pytest.importorskip("fairseq")
from fairseq import models, options
from fairseq.data import TruncatedDictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from translation import SMALL, SOURCE, TARGET, make_task

import fairseq_wsum.plugin  # noqa: F401  # registers the models

HEADS = dict(decoder_hidden_size=7, decoder_attention_heads=7)
TASKS = {name: make_task(TARGET, TARGET) for name in ("wsum_lstm_lm", "wsum_transformer_lm")}
MISTAKES = {
    "wsum_lstm": [
        (dict(cell="nope"), "--cell nope: choose one of lstm, .*, or give the folder .*--user-dir"),
        (dict(encoder_cell="nope"), "--encoder-cell nope: choose one of lstm"),
        (dict(window=2, encoder_cell="gru"), "cell 'gru' has a window of 1, not of 2"),
        (dict(coupled_gates=True, decoder_cell="gru"), "'gru' has no forget gate of its own to"),
        (dict(lstm_backend="fpga"), "--lstm-backend fpga: choose one of auto"),
        (dict(dropout=-0.1), "--dropout -0.1: give at least 0 and at most 1"),
        (dict(dropout=float("nan")), "--dropout nan: give at least 0"),
        (dict(decoder_dropout_in=1.5), "--decoder-dropout-in 1.5: give at least 0 and at most 1"),
        (dict(encoder_layers=0), "--encoder-layers 0: give at least 1"),
        (
            dict(encoder_cell="no-gates", cell="no-srnn-hidden", decoder_attention="None"),
            "attention None: a decoder with no-srnn-hidden starts .* no-gates has none, so that it",
        ),
        (dict(decoder_attention="soft"), "--decoder-attention soft: choose one of general, dot"),
        (dict(decoder_input_feeding="maybe"), "--decoder-input-feeding maybe: choose one of 1, tr"),
        (dict(decoder_attention="dot"), r"-attention dot needs an encoder output size .*\(5"),
        (dict(decoder_attention_heads=3), "-heads 3 does not divide --decoder-hidden-size 7: give"),
        (dict(HEADS, decoder_attention="mlp"), "-heads 7 with --decoder-attention mlp: only gen"),
        (dict(share_all_embeddings=True), "requires a joined dictionary: .* --joined-dictionary"),
        (
            dict(share_all_embeddings=True, encoder_embed_dim=8),
            "--encoder-embed-dim 8 to match --decoder-embed-dim 6",
        ),
        (
            dict(share_all_embeddings=True, decoder_embed_path="x"),
            "x with --share-all-embeddings: give this file as --encoder-embed-path",
        ),
        (
            dict(share_decoder_input_output_embed=True, decoder_out_embed_dim=4),
            "--decoder-embed-dim 6 to match --decoder-out-embed-dim 4",
        ),
        (
            dict(criterion="adaptive_loss", adaptive_softmax_cutoff="[exit()]"),
            "malformed node or string",
        ),
    ],
    "wsum_lstm_lm": [
        (dict(decoder_layers=0), "--decoder-layers 0: give at least 1"),
        (dict(decoder_proj_size=7), "proj_size must be 0 .* or smaller than hidden_size 7, got 7"),
        (dict(decoder_attention="1"), "--decoder-attention 1: choose .* as a language model has"),
        (dict(embedding_dropout=1.5), "--embedding-dropout 1.5: give at least 0 and at most 1"),
        (dict(weight_dropout=0.5, cell="sru"), "--weight-dropout 0.5: cell sru has no recurrent"),
        (dict(activation_regularization=-1.0), "--activation-regularization -1.0: give at least 0"),
        (
            dict(temporal_activation_regularization=1.0, criterion="cross_entropy"),
            "--temporal-activation-regularization 1.0: --criterion cross_entropy does not add it",
        ),
    ],
    "wsum_transformer": [
        (dict(decoder_cell="lstm2"), "--decoder-cell lstm2: choose one of lstm"),
        (dict(encoder_hidden_size=0), "--encoder-hidden-size 0: give at least 1"),
        (dict(cross_self_attention=True), "--cross-self-attention: a recurrent layer cannot"),
        (dict(encoder_attention_layers="2"), "numbers from 0 to 1.*--encoder-layers is 2"),
        (dict(decoder_attention_layers="top"), "--decoder-attention-layers top: give"),
        (dict(quant_noise_scalar=0.1), "--quant-noise-scalar: fairseq cannot quantise"),
    ],
    "wsum_transformer_lm": [
        (dict(decoder_hidden_size=0), "--decoder-hidden-size 0: give at least 1"),
    ],
    "wsum_classifier": [
        (dict(pooling="MAX"), "--pooling MAX: choose one of last, max, attention"),
        (dict(encoder_layers=-1), "--encoder-layers -1: give at least 0"),
    ],
    "wsum_biaffine_parser": [
        (dict(arc_features=0), "--arc-features 0: give at least 1"),
        (dict(), "--task wsum_dependency_parsing and --criterion wsum_parsing_loss"),
    ],
    "wsum_bidaf": [(dict(), "--task wsum_span_prediction and --criterion wsum_span_loss")],
}


@pytest.mark.parametrize(
    ("arch", "given", "message"),
    [
        pytest.param(arch, *case, id=f"{arch}-{'-'.join(map(str, case[0].items()))}")
        for arch, cases in MISTAKES.items()
        for case in cases
    ],
)
def test_the_message_names_the_option(arch, given, message) -> None:
    with pytest.raises(ValueError, match=message):
        models.build_model(Namespace(arch=arch, **{**SMALL, **given}), TASKS.get(arch, make_task()))


@pytest.mark.parametrize("arch", ["wsum_biaffine_parser", "wsum_bidaf"])
def test_fairseqs_default_criterion_is_refused(arch) -> None:
    task = make_task()
    task.relation_dictionary, task.tags, task.answer = SOURCE, None, None
    given = Namespace(arch=arch, criterion="cross_entropy", **SMALL)
    with pytest.raises(ValueError, match=f"--arch {arch}: give --task .* and --criterion wsum_"):
        models.build_model(given, task)


@pytest.mark.parametrize("arch", [*TASKS, "wsum_lstm", "wsum_transformer"])
def test_a_task_for_other_models_is_named(arch) -> None:
    if arch.endswith("_lm"):
        name, task = "translation", TranslationTask(TranslationConfig(), SOURCE, TARGET)
        message = f"{arch} is a language model: give --task .* for translation --arch {arch[:-3]}$"
    else:
        name = "language_modeling"
        task = LanguageModelingTask(LanguageModelingConfig(), SOURCE)
        message = f"{arch} is a translation model: give --task translation, or .*{arch}_lm$"
    with pytest.raises(ValueError, match=message):
        models.build_model(Namespace(arch=arch, **SMALL), task)
    # the command line reaches this message
    words = ["data", "--task", name, "--arch", arch]
    args = options.parse_args_and_arch(options.get_training_parser(), words)
    assert convert_namespace_to_omegaconf(args).model._name == arch


def test_a_truncated_output_dictionary_is_rejected() -> None:
    cut = TruncatedDictionary(SOURCE, 10)
    task = SimpleNamespace(source_dictionary=SOURCE, target_dictionary=cut)
    with pytest.raises(ValueError, match="--output-dictionary-size: this model predicts"):
        models.build_model(Namespace(arch="wsum_lstm_lm", **SMALL), task)
