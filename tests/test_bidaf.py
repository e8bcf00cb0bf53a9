"""BiDAF: its attention and its scores against loops in float64, and what must not change them."""

import math
import random

import pytest
import torch

pytest.importorskip("fairseq")
from questions import write_questions

from fairseq_wsum.experiments.corpora import prepare
from fairseq_wsum.plugin.criterions.wsum_span_loss import WsumSpanLoss
from fairseq_wsum.plugin.data.answer_scores import exact_match, f1
from fairseq_wsum.plugin.models.wsum_bidaf import WsumBidaf, WsumBidafConfig
from fairseq_wsum.plugin.modules.attention_flow import AttentionFlow, Highway, best_spans
from fairseq_wsum.plugin.tasks.wsum_span_prediction import (
    WsumSpanPredictionConfig,
    WsumSpanPredictionTask,
)

SIZES = dict(encoder_embed_dim=5, character_features=4, character_embedding_dim=3)
SIZES |= dict(encoder_hidden_size=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    raw = write_questions(folder / "raw")
    given = ["--data", str(raw), "--out", str(folder / "data"), "--valid-articles", "2"]
    prepare.main(["questions", *given])
    return folder / "data"


def make(data, cell="lstm", **options):
    """A task with its validation set, and a model in float64."""
    task = WsumSpanPredictionTask(WsumSpanPredictionConfig(data=str(data)))
    task.load_dataset("valid")
    torch.manual_seed(1)
    model = WsumBidaf.build_model(WsumBidafConfig(cell=cell, **SIZES, **options), task)
    return task, model.double().eval()


def softmax(values):
    total = sum(map(math.exp, values))
    return [math.exp(value) / total for value in values]


def attention_by_hand(w, h, u):
    """G of one question, from lists of vectors without padding."""
    s = [[float(w @ torch.cat((a, b, a * b))) for b in u] for a in h]
    to_context = sum(p * a for p, a in zip(softmax([max(row) for row in s]), h, strict=True))
    rows = []
    for a, row in zip(h, s, strict=True):
        to_query = sum(p * b for p, b in zip(softmax(row), u, strict=True))
        rows.append(torch.cat((a, to_query, a * to_query, a * to_context)))
    return torch.stack(rows)


def test_the_attention_is_that_of_the_equations() -> None:
    layer = AttentionFlow(4).double()
    h, u = torch.randn(2, 5, 4).double(), torch.randn(2, 3, 4).double()
    h_mask, u_mask = torch.zeros(2, 5).bool(), torch.zeros(2, 3).bool()
    h_mask[1, 3:], u_mask[1, 2:] = True, True
    with torch.no_grad():
        found = layer(h, u, h_mask, u_mask)
        w = layer.weight.flatten()
        for b, (t, j) in enumerate([(5, 3), (3, 2)]):
            expected = attention_by_hand(w, h[b, :t], u[b, :j])
            assert torch.allclose(found[b, :t], expected, atol=1e-6)


def test_a_highway_layer_is_that_of_the_equation() -> None:
    layer = Highway(4).double()
    x = torch.randn(3, 4).double()
    with torch.no_grad():
        found, weight, bias = layer(x), layer.fc.weight, layer.fc.bias
        for row, y in zip(x, found, strict=True):
            for k in range(4):
                g = torch.sigmoid(weight[4 + k] @ row + bias[4 + k])
                expected = g * row[k] + (1 - g) * max(0.0, float(weight[k] @ row + bias[k]))
                assert y[k] == pytest.approx(float(expected))


@pytest.mark.parametrize("cell", ["lstm", "no-gates"])
def test_the_scores_are_those_of_the_equations(cell, data) -> None:
    """Question by question, with the modules for words and the recurrent layers as they are."""
    task, model = make(data, cell)
    dataset = task.dataset("valid")
    w_1, w_2 = model.start, model.end
    for k in range(len(dataset)):
        inputs = dataset.collater([dataset[k]])["net_input"]
        tokens, bytes, question, question_bytes = inputs.values()
        with torch.no_grad():
            start, end = model(**inputs)
            texts = ((tokens, bytes), (question, question_bytes))
            h, u = (
                model.phrase(model.highway(torch.cat(model.features(*text), -1)).transpose(0, 1))[
                    0
                ][:, 0]
                for text in texts
            )
            g = attention_by_hand(model.attention.weight.flatten(), h, u)
            m = model.modelling(g.unsqueeze(1))[0][:, 0]
            scores = [float(w_1(torch.cat((a, b)))) for a, b in zip(g, m, strict=True)]
            assert start[0].tolist() == pytest.approx(scores, abs=1e-5)
            chosen = sum(p * row for p, row in zip(softmax(scores), m, strict=True))
            rows = [torch.cat((a, b, chosen, b * chosen)) for a, b in zip(g, m, strict=True)]
            m_2 = model.span_end(torch.stack(rows).unsqueeze(1))[0][:, 0]
            scores = [float(w_2(torch.cat((a, b)))) for a, b in zip(g, m_2, strict=True)]
            assert end[0].tolist() == pytest.approx(scores, abs=1e-5)


def test_the_best_span_is_the_best_of_all() -> None:
    start, end = torch.randn(50, 9), torch.randn(50, 9)
    for b, length in enumerate(torch.randint(1, 10, (50,)).tolist()):
        start[b, length:] = end[b, length:] = -math.inf
    for s, e, found in zip(start, end, best_spans(start, end).tolist(), strict=True):
        p_1, p_2 = s.softmax(0), e.softmax(0)
        products = {(i, j): float(p_1[i] * p_2[j]) for i in range(9) for j in range(i, 9)}
        assert tuple(found) == max(products, key=products.__getitem__)


@pytest.mark.parametrize(("cell", "window"), [("lstm", None), ("qrnn", 2)])
def test_padding_and_the_order_of_a_batch_change_nothing(cell, window, data) -> None:
    task, model = make(data, cell, window=window)
    dataset = task.dataset("valid")
    samples = [dataset[k] for k in range(len(dataset))]
    random.Random(1).shuffle(samples)

    def scored(chosen):
        with torch.no_grad():
            both = model(**dataset.collater(chosen)["net_input"])
        lengths = [len(one.context.tokens) for _, one in chosen]
        for part in both:
            for row, length in zip(part, lengths, strict=True):
                assert row[length:].eq(-math.inf).all()
        return [torch.stack([part[k, :n] for part in both]) for k, n in enumerate(lengths)]

    backwards = scored(samples[::-1])[::-1]
    for one, other, alone in zip(scored(samples), backwards, samples, strict=True):
        for found in (other, *scored([alone])):
            assert torch.allclose(one, found, atol=1e-6)  # the scores are float32


def test_the_loss_and_the_scores_of_a_batch(data) -> None:
    """Of all questions, one after the other."""
    task, model = make(data)
    dataset = task.dataset("valid")
    samples = [dataset[k] for k in range(len(dataset))]
    with torch.no_grad():
        loss, size, log = WsumSpanLoss(task)(model, dataset.collater(samples))
    answers = task.answer(model, [one for _, one in samples])
    expected = {"loss": 0.0, "f1": 0.0, "em": 0.0}
    for sample in samples:
        one = sample[1]
        with torch.no_grad():
            both = model(**dataset.collater([sample])["net_input"])
        for scores, place in zip(both, one.span, strict=True):
            expected["loss"] -= float(scores[0].log_softmax(0)[place])
        (span,) = best_spans(*both).tolist()
        assert answers[one.id] == one.context.part(*span)
        expected["f1"] += f1(answers[one.id], one.answers)
        expected["em"] += exact_match(answers[one.id], one.answers)
    assert size == len(samples) == 8
    assert {name: float(log[name]) for name in expected} == pytest.approx(expected, rel=1e-5)
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_mixed_precision_gives_about_the_same_loss(dtype, data) -> None:
    task, model = make(data)
    dataset, criterion = task.dataset("valid"), WsumSpanLoss(task)
    batch = dataset.collater([dataset[k] for k in range(3)])
    expected = criterion(model, batch)[0].item()
    with torch.autocast("cpu", dtype):
        loss = criterion(model.float(), batch)[0]
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=0.03)


def test_only_training_leaves_out_long_contexts(data) -> None:
    lengths = {}
    for limit in (400, 8):
        task = WsumSpanPredictionTask(
            WsumSpanPredictionConfig(data=str(data), max_source_positions=limit)
        )
        for split in ("train", "valid"):
            task.load_dataset(split)
            lengths[limit, split] = task.dataset(split).sizes
    assert lengths[8, "train"].max() <= 8 < lengths[400, "train"].max()
    assert (lengths[8, "valid"] == lengths[400, "valid"]).all()


def test_dropout_applies_to_bytes_layers_and_scores(data) -> None:
    task, model = make(data, dropout=1.0)
    dataset = task.dataset("valid")
    inputs = dataset.collater([dataset[0]])["net_input"]
    tokens, of_bytes = inputs["src_tokens"], inputs["src_bytes"]

    def is_cut():
        start, end = model(**inputs)
        embedded = torch.equal(model._embed(tokens, of_bytes), model._embed(tokens, of_bytes * 0))
        run = not model._run(model.phrase, model._embed(tokens, of_bytes), tokens < 0).any()
        same = [torch.equal(scores, scores[:, :1].expand_as(scores)) for scores in (start, end)]
        return [embedded, run, *same]

    assert is_cut() == [False] * 4
    model.train()
    assert is_cut() == [True] * 4


def test_pretrained_vectors_are_read_and_can_be_frozen(data, tmp_path) -> None:
    (tmp_path / "vectors").write_text("cd 1 2 3 4 5\n")
    path = str(tmp_path / "vectors")
    task, model = make(data, encoder_embed_path=path, encoder_freeze_embed=True)
    weight = model.embed_tokens.weight
    assert weight[task.source_dictionary.index("cd")].tolist() == [1, 2, 3, 4, 5]
    assert not weight.requires_grad and model.start.weight.requires_grad
