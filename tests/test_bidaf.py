"""BiDAF: its attention and its scores against loops in float64, and what must not change them."""

import math
import random

import pytest
import torch
from torch import nn

pytest.importorskip("fairseq")
from fairseq_wsum.plugin.criterions.wsum_span_loss import WsumSpanLoss
from fairseq_wsum.plugin.data import sized
from fairseq_wsum.plugin.data.answer_scores import exact_match, f1
from fairseq_wsum.plugin.models.dictionaries import fingerprint
from fairseq_wsum.plugin.models.wsum_bidaf import WsumBidaf, WsumBidafConfig
from fairseq_wsum.plugin.modules.attention_flow import AttentionFlow, Highway, best_spans
from fairseq_wsum.plugin.tasks.wsum_span_prediction import (
    WsumSpanPredictionConfig,
    WsumSpanPredictionTask,
)

SIZES = dict(encoder_embed_dim=5, character_features=4, character_embedding_dim=3)
SIZES |= dict(encoder_hidden_size=3)


def make(questions, cell="lstm", **options):
    """A task, its validation set, and a model in float64."""
    task = WsumSpanPredictionTask(WsumSpanPredictionConfig(data=f"{questions}/data"))
    task.load_dataset("valid")
    torch.manual_seed(1)
    model = WsumBidaf.build_model(WsumBidafConfig(cell=cell, **SIZES, **options), task)
    return task, model.double().eval(), task.dataset("valid")


def attention_by_hand(w, h, u):
    """G of one question without padding, from h, T x F, and u, J x F."""
    s = torch.tensor([[w @ torch.cat((a, b, a * b)) for b in u] for a in h], dtype=h.dtype)
    to_context, to_query = s.amax(1).softmax(0) @ h, s.softmax(1) @ u
    pairs = zip(h, to_query, strict=True)
    return torch.stack([torch.cat((a, b, a * b, a * to_context)) for a, b in pairs])


def test_the_highway_starts_like_that_of_allennlp() -> None:
    """torch's initial values of a linear layer, and gates that let the input pass."""
    torch.manual_seed(0)
    plain = [nn.Linear(6, 12), nn.Linear(6, 12)]
    torch.manual_seed(0)
    for linear, layer in zip(plain, Highway(6, num_layers=2).layers, strict=True):
        assert torch.equal(layer.weight, linear.weight)
        assert torch.equal(layer.bias, torch.cat((linear.bias[:6], torch.ones(6))))


@torch.no_grad()
def test_the_attention_is_that_of_the_equations() -> None:
    layer = AttentionFlow(4).double()
    h, u = torch.randn(2, 5, 4).double(), torch.randn(2, 3, 4).double()
    h_mask, u_mask = torch.zeros(2, 5).bool(), torch.zeros(2, 3).bool()
    h_mask[1, 3:], u_mask[1, 2:] = True, True
    found, w = layer(h, u, h_mask, u_mask), layer.weight.flatten()
    for b, (t, j) in enumerate([(5, 3), (3, 2)]):
        expected = attention_by_hand(w, h[b, :t], u[b, :j])
        assert torch.allclose(found[b, :t], expected, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "no-gates"])
@torch.no_grad()
def test_the_scores_are_those_of_the_equations(cell, questions) -> None:
    """Question by question, with the modules for words and the recurrent layers as they are."""
    _, model, dataset = make(questions, cell)
    w_1, w_2 = model.start, model.end
    for sample in dataset:
        inputs = dataset.collater([sample])["net_input"]
        start, end = model(**inputs)
        tokens, bytes, question, question_bytes = inputs.values()
        texts = ((tokens, bytes), (question, question_bytes))
        words = (model.highway(torch.cat(model.features(*text), -1)) for text in texts)
        h, u = (model.phrase(one.transpose(0, 1))[0][:, 0] for one in words)
        g = attention_by_hand(model.attention.weight.flatten(), h, u)
        m = model.modelling(g.unsqueeze(1))[0][:, 0]
        scores = w_1(torch.cat((g, m), 1))[:, 0]
        assert start[0].tolist() == pytest.approx(scores.tolist(), abs=1e-5)
        chosen = scores.softmax(0) @ m
        rows = [torch.cat((a, b, chosen, b * chosen)) for a, b in zip(g, m, strict=True)]
        m_2 = model.span_end(torch.stack(rows).unsqueeze(1))[0][:, 0]
        scores = w_2(torch.cat((g, m_2), 1))[:, 0]
        assert end[0].tolist() == pytest.approx(scores.tolist(), abs=1e-5)


def test_the_best_span_is_the_best_of_all() -> None:
    start, end = torch.randn(50, 9), torch.randn(50, 9)
    for b, length in enumerate(torch.randint(1, 10, (50,)).tolist()):
        start[b, length:] = end[b, length:] = -math.inf
    for s, e, found in zip(start, end, best_spans(start, end).tolist(), strict=True):
        p_1, p_2 = s.softmax(0), e.softmax(0)
        products = {(i, j): float(p_1[i] * p_2[j]) for i in range(9) for j in range(i, 9)}
        assert tuple(found) == max(products, key=products.__getitem__)


@pytest.mark.parametrize(("cell", "window"), [("lstm", None), ("qrnn", 2)])
@torch.no_grad()
def test_padding_and_the_order_of_a_batch_change_nothing(cell, window, questions) -> None:
    _, model, dataset = make(questions, cell, window=window)
    samples = random.Random(1).sample([*dataset], len(dataset))

    def scored(chosen):
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


@torch.no_grad()
def test_the_loss_and_the_scores_of_a_batch(questions, monkeypatch) -> None:
    """Of all questions, one after the other."""
    monkeypatch.setattr(sized, "MAX_TOKENS", 1)  # of a batch of `answer`
    task, model, dataset = make(questions)
    samples = [*dataset]
    loss, size, log = WsumSpanLoss(task)(model, dataset.collater(samples))
    answers = task.answer(model, [one for _, one in samples])
    expected = {"loss": 0.0, "f1": 0.0, "em": 0.0}
    for sample in samples:
        one = sample[1]
        both = model(**dataset.collater([sample])["net_input"])
        for scores, place in zip(both, one.span, strict=True):
            expected["loss"] -= float(scores[0].log_softmax(0)[place])
        (span,) = best_spans(*both).tolist()
        assert answers[one.id] == one.context.part(*span)
        expected["f1"] += f1(answers[one.id], one.answers)
        expected["em"] += exact_match(answers[one.id], one.answers)
    assert size == len(samples) == 16
    assert {name: float(log[name]) for name in expected} == pytest.approx(expected, rel=1e-5)
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_mixed_precision_gives_about_the_same_loss(dtype, questions) -> None:
    task, model, dataset = make(questions)
    criterion = WsumSpanLoss(task)
    batch = dataset.collater([dataset[k] for k in range(3)])
    expected = criterion(model, batch)[0].item()
    with torch.autocast("cpu", dtype):
        loss = criterion(model.float(), batch)[0]
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=0.03)


def test_only_training_leaves_out_long_contexts(questions) -> None:
    lengths = {}
    for limit in (400, 8):
        cfg = WsumSpanPredictionConfig(data=f"{questions}/data", max_source_positions=limit)
        task = WsumSpanPredictionTask(cfg)
        for split in ("train", "valid"):
            task.load_dataset(split)
            lengths[limit, split] = task.dataset(split).sizes
    assert lengths[8, "train"].max() <= 8 < lengths[400, "train"].max()
    assert (lengths[8, "valid"] == lengths[400, "valid"]).all()
    cfg = WsumSpanPredictionConfig(data=f"{questions}/data", max_source_positions=1)
    with pytest.raises(ValueError, match=r"longer than --max-source-positions 1$"):
        WsumSpanPredictionTask(cfg).load_dataset("train")


def test_a_checkpoint_has_the_words(questions) -> None:
    task, model, _ = make(questions)
    assert torch.equal(model.state_dict()["words"], fingerprint(task.source_dictionary).double())


def test_dropout_applies_to_bytes_layers_and_scores(questions) -> None:
    _, model, dataset = make(questions, dropout=1.0)
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
