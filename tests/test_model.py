"""The translation model: fairseq's contract, and fairseq's own LSTM as its oracle."""

from argparse import ArgumentParser, Namespace

import pytest
import torch
import torch.nn.functional as F
from layer_oracle import every_name
from matrix_products import Products
from torch import Tensor

pytest.importorskip("fairseq")
from fairseq.models import build_model
from fairseq.models.lstm import LSTMModel
from translation import (
    PAD,
    SMALL,
    SOURCE,
    TARGET,
    every_feeding,
    every_variant,
    make_batch,
    make_model,
    make_task,
    relative_error,
)

from fairseq_wsum import WsumLSTM, recurrence
from fairseq_wsum.cells import CELLS
from fairseq_wsum.plugin.models.wsum_lstm import WsumLSTMModel
from fairseq_wsum.recurrence import Backend, reference


@every_feeding
@every_variant
def test_the_model_runs_under_autocast(options, feeding) -> None:
    model = make_model(decoder_input_feeding=feeding, init_range=1.0, **options).float()
    src, lengths, prev = make_batch()
    exact, _ = model(src, lengths, prev)
    with torch.autocast("cpu", torch.bfloat16):
        scores, _ = model(src, lengths, prev)
        scores.float().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) > len(gradients) // 2
    assert relative_error(scores, exact) < 0.15  # measured with eight seeds: at most 0.07


# fairseq's own LSTM


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-direction", "two-directions"])
@pytest.mark.parametrize("attention", ["1", "0"], ids=["attention", "no-attention"])
def test_lstm_with_input_feeding_equals_fairseqs_lstm(attention, bidirectional) -> None:
    options = dict(
        SMALL,
        decoder_attention=attention,
        encoder_bidirectional=bidirectional,
        decoder_out_embed_dim=4,
        share_decoder_input_output_embed=False,
        criterion="cross_entropy",
    )
    theirs = LSTMModel.build_model(Namespace(**options), make_task()).double().eval()
    ours = make_model(**options)
    ours.load_state_dict(renamed(theirs.state_dict()))
    src, lengths, prev = make_batch((5, 4, 2))
    scores, attn = ours(src, lengths, prev)
    scores_theirs, attn_theirs = theirs(src, lengths, prev)
    torch.testing.assert_close(scores, scores_theirs)
    if attention == "1":  # fairseq's LSTM has moved the padding to the right
        for b, n in enumerate(lengths):
            torch.testing.assert_close(attn[b, :, -n:], attn_theirs[b, :, :n])
    for k, (part, part_theirs) in enumerate(
        zip(ours.encoder(src), theirs.encoder(src, lengths), strict=True)
    ):
        if k in (1, 2):  # final states
            torch.testing.assert_close(part, part_theirs)
        assert part.shape == part_theirs.shape and part.dtype == part_theirs.dtype
    cotangent = torch.randn_like(scores)
    for y in (scores, scores_theirs):
        y.backward(cotangent)
    gradients = renamed({name: p.grad for name, p in theirs.named_parameters()})
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], msg=name)


@pytest.mark.parametrize("attention", ["general", "dot", "mlp"])
def test_input_feeding_computes_one_gradient_for_each_matrix(attention) -> None:
    model = make_model(decoder_attention=attention, encoder_hidden_size=7).train()
    src, lengths, prev = make_batch(target_length=6)
    scores, _ = model(src, lengths, prev)
    with Products() as products:
        scores.sum().backward()
    decoder = model.decoder
    matrices = [decoder.lstm.weight_ih_l0, decoder.attention.output_proj.weight]
    assert [products.shapes[tuple(matrix.shape)] for matrix in matrices] == [1, 1]


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of fairseq's LSTM under our names."""
    result = {}
    for name, value in state.items():
        if name.startswith("encoder.lstm."):
            parameter, _, rest = name.removeprefix("encoder.lstm.").rpartition("_l")
            name = f"encoder.lstm.{parameter}_l{rest}"
        elif name.startswith("decoder.layers."):
            layer, parameter = name.removeprefix("decoder.layers.").split(".")
            name = f"decoder.lstm.{parameter}_l{layer}"
        name = name.replace("encoder_hidden_proj", "hidden_bridge.proj")
        name = name.replace("encoder_cell_proj", "cell_bridge.proj")
        result[name.replace("attention.input_proj", "attention.query_proj")] = value
    return result


def test_every_option_of_fairseqs_lstm_exists() -> None:
    theirs, ours = ArgumentParser(), ArgumentParser()
    LSTMModel.add_args(theirs)
    WsumLSTMModel.add_args(ours)
    missing = set(theirs._option_string_actions) - set(ours._option_string_actions)
    assert not missing
    assert "--criterion" not in ours._option_string_actions  # fairseq's, only read here


# Building


# One cell of each kind of state: (h, c), h alone, c alone
KINDS = ("lstm", "no-gates", "mingru", "qrnn")
READS_H = {"lstm", "no-srnn", "no-srnn-out", "no-gates", "no-out", "no-hidden"}
READS_H |= {"gru", "mingru", "minlstm"}
READS_C = set(CELLS) - {"no-gates", "gru", "mingru", "minlstm"}


@pytest.mark.parametrize(
    ("encoder", "decoder"), [(a, b) for a in CELLS for b in CELLS if a == b or {a, b} <= set(KINDS)]
)
def test_every_parameter_is_used(encoder, decoder) -> None:
    # an unused parameter would be dead weight, and an error in distributed training
    for attention in ("general", "none"):
        options = dict(encoder_cell=encoder, decoder_cell=decoder)
        unlinked = encoder == "no-gates" and decoder not in READS_H
        if attention == "none" and unlinked:
            continue  # an error, see test_option_mistakes.py
        if attention == "none" and encoder == "sru" and decoder not in READS_H:
            continue  # the decoder reads the last c only, on which v_r has no influence
        model = make_model(decoder_attention=attention, **options).train()
        assert not unused_parameters(model)


@every_feeding
@every_variant
def test_every_parameter_of_a_variant_is_used(options, feeding) -> None:
    model = make_model(decoder_input_feeding=feeding, **options).train()
    assert not unused_parameters(model)


def unused_parameters(model: WsumLSTMModel) -> list[str]:
    src, lengths, prev = make_batch()
    scores, _ = model(src, lengths, prev)
    softmax = model.decoder.adaptive_softmax
    if softmax is None:
        scores.sum().backward()
    else:  # every word once, so that every cluster is used
        words = torch.arange(scores[..., 0].numel()).view(scores.shape[:2]) % len(TARGET)
        outputs, targets = softmax(scores, words)
        pairs = zip(outputs, targets, strict=True)
        sum(F.cross_entropy(o, t, reduction="sum") for o, t in pairs if o is not None).backward()
    parameters = [(name, p) for name, p in model.named_parameters() if p.numel()]
    return [name for name, p in parameters if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("encoder", ["lstm", "no-gates", "gru"])
@every_name
def test_the_decoder_starts_from_every_shared_state(cell, encoder) -> None:
    model = make_model(encoder_cell=encoder, decoder_cell=cell)
    assert (model.decoder.hidden_bridge is not None) == (cell in READS_H)
    assert (model.decoder.cell_bridge is not None) == (cell in READS_C and encoder != "no-gates")


def test_each_side_has_its_own_cell_and_window() -> None:
    model = make_model(window=2, encoder_cell="qrnn", decoder_cell="gru")
    assert (model.encoder.lstm.cell.name, model.encoder.lstm.cell.window) == ("qrnn", 2)
    assert (model.decoder.lstm.cell.name, model.decoder.lstm.cell.window) == ("gru", 1)
    model = make_model(encoder_cell="gru", decoder_cell="sru")
    encoded = model.encoder(make_batch()[0])  # the memory of a GRU is its hidden state
    assert encoded.hiddens.any() and torch.equal(encoded.cells, encoded.hiddens)


def test_parameters_start_within_the_init_range_and_padding_at_zero() -> None:
    model = make_model(init_range=0.01)
    assert all(p.abs().max() <= 0.01 for p in model.parameters())
    for embedding in (model.encoder.embed_tokens, model.decoder.embed_tokens):
        assert (embedding.weight[PAD] == 0).all() and (embedding.weight[PAD + 1] != 0).any()


LSTMS = {"wsum_lstm": dict(decoder_input_feeding="False"), "wsum_lstm_lm": dict()}
HEADS = dict(encoder_attention_heads=2, decoder_attention_heads=2)
ALL = {**LSTMS, "wsum_transformer": HEADS, "wsum_transformer_lm": HEADS}


def build(kind: str, **options: object) -> torch.nn.Module:
    """The model `kind` of `ALL`, with 2 layers on each side."""
    args = Namespace(arch=kind, **{**SMALL, **ALL[kind], **options})
    return build_model(args, make_task(TARGET, TARGET)).eval()


def layers_of(model: torch.nn.Module) -> list[WsumLSTM]:
    return [module for module in model.modules() if isinstance(module, WsumLSTM)]


@pytest.mark.parametrize("kind", LSTMS)
def test_init_range_leaves_the_values_that_a_cell_prescribes(kind) -> None:
    for layer in layers_of(build(kind, cell="minlstm", init_range=0.01)):
        for name, values in layer.named_parameters():
            b_f = layer.hidden_size if name.startswith("bias_ih") else 0
            assert (values[:b_f] == 1).all() and values[b_f:].abs().max() <= 0.01, name
    for layer in layers_of(build(kind, cell="sru", init_range=0.01)):
        for name, values in layer.named_parameters():
            if name.startswith("bias_ih"):
                assert not values.any(), name
            else:
                assert values.abs().max() > 0.1, name


@pytest.mark.parametrize("kind", ALL)
def test_every_layer_has_the_backend_of_the_option(kind, monkeypatch) -> None:
    """Also one of your own."""
    monkeypatch.setitem(recurrence.BACKENDS, "mine", Backend("mine", reference.run))
    layers = layers_of(build(kind, lstm_backend="mine"))
    assert {layer.backend for layer in layers} == {"mine"}


@pytest.mark.parametrize("residuals", [False, True])
@pytest.mark.parametrize("kind", ["wsum_lstm", "wsum_lstm_lm"])
def test_residuals_add_the_input_of_the_second_layer(kind, residuals) -> None:
    for lstm in layers_of(build(kind, residuals=residuals)):
        for name, parameter in lstm.named_parameters():
            if name.endswith("_l1"):  # then its own output is zero
                torch.nn.init.zeros_(parameter)
        y, (h_n, _) = lstm(torch.randn(4, 3, lstm.input_size))
        assert torch.equal(y[-1], h_n[0] * residuals)


def test_shared_embeddings_are_one_tensor() -> None:
    model = make_model(make_task(SOURCE, SOURCE), share_all_embeddings=True)
    assert model.encoder.embed_tokens is model.decoder.embed_tokens
    assert not hasattr(model.decoder, "fc_out")


@pytest.mark.parametrize(
    ("arch", "side", "freezes"),
    [
        *(("wsum_lstm", side, True) for side in ("encoder", "decoder")),
        *(("wsum_lstm_lm", "decoder", True), ("wsum_bidaf", "encoder", True)),
        *((arch, "encoder", False) for arch in ("wsum_biaffine_parser", "wsum_classifier")),
    ],
)
def test_pretrained_embeddings_are_read_and_can_be_frozen(arch, side, freezes, tmp_path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("2 6\nw3 1 2 3 4 5 6\nunheard-of 0 0 0 0 0 0\n<pad> 1 1 1 1 1 1\n")
    task = make_task(SOURCE, SOURCE)
    task.relation_dictionary, task.tags, task.answer = SOURCE, None, None
    given = {f"{side}_embed_path": str(path), f"{side}_freeze_embed": freezes}
    model = build_model(Namespace(arch=arch, **SMALL, **given), task)
    w3, expected = SOURCE.index("w3"), torch.arange(1.0, 7)
    embeddings = (one.weight for one in model.modules() if isinstance(one, torch.nn.Embedding))
    (weight,) = (values for values in embeddings if torch.equal(values[w3], expected))
    assert weight[SOURCE.index("w4")].any() and not weight[SOURCE.pad()].any()
    if arch == "wsum_lstm":
        assert weight[SOURCE.index("w4")].abs().max() <= 0.1
    assert [p is weight for p in model.parameters() if not p.requires_grad] == [True] * freezes


def test_vectors_may_come_without_a_header(tmp_path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes(b"w3 1 2 3 4 5 6\n. w4 0 0 0 0 0 0\nw\xff 1 1 1 1 1 1\n")  # as GloVe's
    model = make_model(encoder_embed_path=str(path))
    assert model.encoder.embed_tokens.weight[SOURCE.index("w3")].tolist() == [1, 2, 3, 4, 5, 6]
    path.write_text("w3 1 2 3\n")
    with pytest.raises(ValueError, match=r"vectors\.txt: no word .* has a vector of 6 numbers"):
        make_model(encoder_embed_path=str(path))
