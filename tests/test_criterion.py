"""`--criterion wsum_cross_entropy` against fairseq's own criteria."""

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from cpp_oracle import needs_kernels

pytest.importorskip("fairseq")
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.criterions.label_smoothed_cross_entropy_with_rdrop import (
    RdropLabelSmoothedCrossEntropyCriterion,
)
from fairseq.distributed import ModuleProxyWrapper
from fairseq.models.lstm import LSTMDecoder
from fairseq.models.lstm_lm import LSTMLanguageModel, base_architecture
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer.transformer_legacy import base_architecture as transformer_options
from torch.nn import functional as F
from translation import PAD, TARGET, make_batch, make_model, make_task

from fairseq_wsum.ops import cross_entropy
from fairseq_wsum.ops.symmetric_kl import symmetric_kl
from fairseq_wsum.plugin.criterions.wsum_cross_entropy import WsumCrossEntropyCriterion
from fairseq_wsum.plugin.models.wsum_lstm_lm import WsumLSTMLanguageModel
from fairseq_wsum.plugin.models.wsum_transformer import WsumTransformerModel

TASK = SimpleNamespace(
    **dict.fromkeys(("source_dictionary", "target_dictionary", "dictionary"), TARGET)
)


def make_sample() -> dict[str, object]:
    src, lengths, prev = make_batch()
    target = prev.roll(-1, 1)
    target[1, 4:] = PAD
    net_input = {"src_tokens": src, "src_lengths": lengths, "prev_output_tokens": prev}
    return {"net_input": net_input, "target": target, "ntokens": int((target != PAD).sum())}


@pytest.fixture
def taken(monkeypatch):
    """The shapes of the scores that the kernels took."""
    shapes = []

    def spy(logits, *rest):
        shapes.append(tuple(logits.shape))
        return compute(logits, *rest)

    compute = cross_entropy.cross_entropy
    monkeypatch.setattr(cross_entropy, "cross_entropy", spy)
    return shapes


# Of gradients, next to the largest of a parameter. In bfloat16 those of the scores may be rounded
# to neighbours of 8 bits; over all tests here they are the same.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.01, torch.float64: 0}


def assert_same(ours, theirs, model, sample, reduce=True) -> None:
    """The loss, what is logged, and every gradient."""
    results = []
    for criterion in (ours, theirs):
        model.zero_grad()
        loss, size, log = criterion(model, sample, reduce=reduce)
        loss.sum().backward()
        gradients = {name: p.grad.double() for name, p in model.named_parameters()}
        results.append((loss.detach(), size, log, gradients))
    (loss, size, log, gradients), (loss_2, size_2, log_2, gradients_2) = results
    close = dict(rtol=1e-5, atol=1e-5)
    torch.testing.assert_close((loss.view(-1), size), (loss_2.view(-1), size_2), **close)
    for name, right in gradients_2.items():
        tolerance = TOLERANCE[next(model.parameters()).dtype] * right.abs().amax()
        if name.endswith("k_proj.bias"):  # zero, up to rounding
            tolerance = 1e-6
        assert (gradients[name] - right).abs().amax() <= tolerance, name
    for name, value in log_2.items():
        found = torch.as_tensor(log[name]).view(-1)
        torch.testing.assert_close(found, torch.as_tensor(value).view(-1), **close)


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("reduce", [True, False], ids=["sum", "each"])
@pytest.mark.parametrize(
    "options",
    [dict(), dict(label_smoothing=0.1), dict(label_smoothing=0.2, ignore_prefix_size=2)],
    ids=["plain", "smoothed", "prefix"],
)
def test_it_equals_fairseqs_label_smoothed_cross_entropy(options, reduce, dtype, taken) -> None:
    model = make_model().to(dtype)
    ours = WsumCrossEntropyCriterion(TASK, True, **{"label_smoothing": 0.0, **options})
    theirs = LabelSmoothedCrossEntropyCriterion(TASK, True, **{"label_smoothing": 0.0, **options})
    assert_same(ours, theirs, model, make_sample(), reduce)
    assert taken == [(3 * 6, len(TARGET))]


@needs_kernels
@pytest.mark.parametrize("average", [True, False], ids=["sentences", "tokens"])
def test_without_smoothing_it_equals_fairseqs_cross_entropy(average, taken) -> None:
    model = make_model(share_decoder_input_output_embed=True).float()
    ours = WsumCrossEntropyCriterion(TASK, average, label_smoothing=0.0)
    theirs = CrossEntropyCriterion(TASK, average)
    assert_same(ours, theirs, model, make_sample())
    assert len(taken) == 1


def make_language_model(kind: type, dropout: float = 0.0) -> torch.nn.Module:
    """One of fairseq's own or of ours."""
    args = Namespace(decoder_embed_dim=6, decoder_hidden_size=5, decoder_layers=1, dropout=dropout)
    args.add_bos_token, args.tokens_per_sample, args.criterion = False, 11, "cross_entropy"
    if kind is LSTMLanguageModel:
        base_architecture(args)
    return kind.build_model(args, TASK).eval()


def make_text() -> dict[str, object]:
    tokens = torch.randint(4, len(TARGET), (3, 12))
    target = tokens[:, 1:].contiguous()
    return {"net_input": {"src_tokens": tokens[:, :-1]}, "target": target, "ntokens": 33}


class Wrapper(torch.nn.Module):
    """A model within another module, as for several processes."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: object, **kwargs: object) -> object:
        return self.module(*args, **kwargs)


@needs_kernels
@pytest.mark.parametrize(
    "kind", [WsumLSTMLanguageModel, LSTMLanguageModel], ids=["ours", "fairseq"]
)
def test_language_models_and_several_processes_use_it(kind, taken) -> None:
    model = ModuleProxyWrapper(Wrapper(make_language_model(kind)))
    ours = WsumCrossEntropyCriterion(TASK, False, label_smoothing=0.1)
    theirs = LabelSmoothedCrossEntropyCriterion(TASK, False, label_smoothing=0.1)
    assert_same(ours, theirs, model, make_text())
    assert taken == [(33, len(TARGET))]


@needs_kernels
@pytest.mark.parametrize("kind", [WsumTransformerModel, TransformerModel], ids=["ours", "fairseq"])
def test_transformers_use_it(kind, taken) -> None:
    sizes = dict(encoder_embed_dim=8, encoder_layers=1, decoder_layers=1, dropout=0.0)
    args = Namespace(**sizes, encoder_attention_heads=2, decoder_attention_heads=2)
    if kind is TransformerModel:
        transformer_options(args)
    model = kind.build_model(args, make_task())
    ours = WsumCrossEntropyCriterion(TASK, False, label_smoothing=0.1)
    theirs = LabelSmoothedCrossEntropyCriterion(TASK, False, label_smoothing=0.1)
    assert_same(ours, theirs, model, make_sample())
    assert taken == [(18, len(TARGET))]


class Sharper(LSTMDecoder):
    """A decoder with a softmax of its own."""

    def get_normalized_probs(self, net_output, log_probs, sample=None):
        return super().get_normalized_probs((net_output[0] * 2, *net_output[1:]), log_probs, sample)


class SharperModel(LSTMLanguageModel):
    """A model with a softmax of its own."""

    def get_normalized_probs(self, net_output, log_probs, sample=None):
        return super().get_normalized_probs((net_output[0] * 2, *net_output[1:]), log_probs, sample)


@pytest.mark.parametrize("smoothing", [0.1, 0.0], ids=["smoothed", "plain"])
@pytest.mark.parametrize("model", ["double", "sharper", "sharper-model"])
def test_other_types_and_models_use_fairseqs(model, smoothing, taken) -> None:
    ours = WsumCrossEntropyCriterion(TASK, True, label_smoothing=smoothing)
    theirs = CrossEntropyCriterion(TASK, True)
    if smoothing:
        theirs = LabelSmoothedCrossEntropyCriterion(TASK, True, label_smoothing=smoothing)
    sharper = make_language_model(LSTMLanguageModel)
    sharper.decoder.__class__ = Sharper
    sharper_model = make_language_model(LSTMLanguageModel)
    sharper_model.__class__ = SharperModel
    pairs = {
        "double": (make_model(), make_sample()),
        "sharper": (sharper, make_text()),
        "sharper-model": (sharper_model, make_text()),
    }
    assert_same(ours, theirs, *pairs[model])
    assert taken == []


@needs_kernels
def test_its_accuracy_equals_fairseqs() -> None:
    options = dict(label_smoothing=0.1, report_accuracy=True)
    logs = []
    model, sample = make_model().float(), make_sample()
    best = model(**sample["net_input"])[0].argmax(-1)
    some = sample["target"].ne(TASK.target_dictionary.pad()) & (torch.rand(best.shape) < 0.5)
    sample["target"][some] = best[some]
    for kind in (WsumCrossEntropyCriterion, LabelSmoothedCrossEntropyCriterion):
        _, _, log = kind(TASK, True, **options)(model, sample)
        logs.append((log["n_correct"], log["total"]))
    assert logs[0] == logs[1]
    assert 0 < logs[0][0] < logs[0][1]


def test_it_is_registered_with_fairseq() -> None:
    assert CRITERION_REGISTRY["wsum_cross_entropy"] is WsumCrossEntropyCriterion


def doubled(sample: dict) -> dict:
    """The batch in which every sentence occurs twice."""
    net_input = {name: torch.cat((part, part)) for name, part in sample["net_input"].items()}
    return dict(net_input=net_input, target=torch.cat((sample["target"],) * 2), ntokens=1)


def make_dropping_model(**options: object) -> torch.nn.Module:
    return make_model(**options).float().train()


@needs_kernels
@pytest.mark.parametrize("average", [True, False], ids=["sentences", "tokens"])
def test_rdrop_has_half_the_gradient_of_fairseqs(average) -> None:
    model = make_dropping_model(dropout=0.3)
    named = dict(label_smoothing=0.1, rdrop_alpha=3.0)
    ours, theirs = (
        kind(TASK, average, **named)
        for kind in (WsumCrossEntropyCriterion, RdropLabelSmoothedCrossEntropyCriterion)
    )
    gradients = []
    for criterion in (ours, theirs):
        model.zero_grad()
        torch.manual_seed(7)
        loss, size, _ = criterion(model, make_sample())
        (loss / size).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, right in gradients[1].items():
        close = dict(rtol=0, atol=1e-5 * float(right.abs().amax()))
        torch.testing.assert_close(2 * gradients[0][name], right, **close)


@pytest.mark.parametrize("reduce", [True, False], ids=["sum", "each"])
@pytest.mark.parametrize("kind", ["softmax", "sharper"])
@pytest.mark.parametrize("prefix", [0, 2])
def test_rdrop_adds_the_divergence_of_the_words_that_count(prefix, kind, reduce) -> None:
    """If the loss is not summed, each word has half of it in both of its predictions."""
    # with a small --init-range the divergence would be below the tolerance
    model, sample, alpha = make_dropping_model(dropout=0.3, init_range=1.0), make_sample(), 3.0
    if kind == "sharper":
        model, sample = make_language_model(LSTMLanguageModel, dropout=0.3).train(), make_text()
        model.decoder.__class__ = Sharper
        sample["target"][1, 4:] = PAD
    named = dict(label_smoothing=0.1, ignore_prefix_size=prefix)
    double = doubled(sample)
    torch.manual_seed(7)
    logits, *_ = model(**double["net_input"])
    log_p, log_q = (logits * (2 if kind == "sharper" else 1)).log_softmax(-1).chunk(2)
    divergence = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1)[:, prefix:] / 2
    divergence = divergence.masked_fill(sample["target"][:, prefix:] == PAD, 0)
    divergence = divergence.sum() if reduce else divergence.repeat(2, 1).view(-1, 1) / 2
    torch.manual_seed(7)
    plain = WsumCrossEntropyCriterion(TASK, False, **named)
    loss, _, _ = plain(model, double, reduce)
    weights = torch.rand_like(loss)
    total = loss + alpha * divergence
    expected = torch.autograd.grad((total * weights).sum(), model.parameters())
    torch.manual_seed(7)
    rdrop = WsumCrossEntropyCriterion(TASK, False, **named, rdrop_alpha=alpha)
    found, _, _ = rdrop(model, sample, reduce)
    found = torch.autograd.grad((found * weights).sum(), model.parameters())
    for gradient, correct in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, correct, rtol=1e-4, atol=1e-4)


def test_rdrop_logs_the_mean_over_both_predictions() -> None:
    model, sample = make_dropping_model(dropout=0.3), make_sample()
    named = dict(label_smoothing=0.1, report_accuracy=True)
    plain, rdrop = (
        WsumCrossEntropyCriterion(TASK, False, rdrop_alpha=alpha, **named) for alpha in (0.0, 3.0)
    )
    torch.manual_seed(7)
    log = rdrop(model, sample)[2]
    double = doubled(sample)
    torch.manual_seed(7)
    expected = plain(model, double)[2]
    for name in ("loss", "nll_loss", "n_correct", "total"):
        torch.testing.assert_close(2 * log[name], expected[name], check_dtype=False)
    assert log["total"] == sample["ntokens"]
    counts = [log[name] for name in ("ntokens", "nsentences", "sample_size")]
    assert counts == [sample["ntokens"], 3, sample["ntokens"]]


def test_rdrop_is_for_training_only() -> None:
    model, sample = make_model().float().eval(), make_sample()
    results = [
        WsumCrossEntropyCriterion(TASK, False, label_smoothing=0.1, rdrop_alpha=alpha)(
            model, sample
        )
        for alpha in (0.0, 3.0)
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize("option", ["rdrop_alpha", "ignore_prefix_size"])
def test_options_for_sentences_are_rejected_for_a_stream(option) -> None:
    options = dict(rdrop_alpha=0.0, ignore_prefix_size=0) | {option: 1}
    cfg = Namespace(label_smoothing=0.1, sentence_avg=False, **options)
    WsumCrossEntropyCriterion.build_criterion(cfg, TASK)
    stream = SimpleNamespace(**vars(TASK), carries_state=True)
    flag = "--" + option.replace("_", "-")
    with pytest.raises(ValueError, match=rf"{flag} .* --sample-break-mode eos"):
        WsumCrossEntropyCriterion.build_criterion(cfg, stream)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_symmetric_kl_equals_torchs(dtype) -> None:
    a, b = (torch.randn(70, 3001, dtype=dtype, requires_grad=True) for _ in range(2))
    weight = torch.randn(70)
    log_p, log_q = (z.double().log_softmax(-1) for z in (a, b))
    right = sum(
        F.kl_div(y, x, log_target=True, reduction="none").sum(-1) / 2
        for x, y in ((log_p, log_q), (log_q, log_p))
    )
    found = symmetric_kl(a, b)
    with pytest.raises(NotImplementedError, match="second derivatives need"):
        torch.autograd.grad(symmetric_kl(a, b).sum(), a, create_graph=True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, right.float())
    expected = torch.autograd.grad((right * weight).sum(), (a, b))
    gradients = torch.autograd.grad((found * weight).sum(), (a, b))
    for gradient, correct in zip(gradients, expected, strict=True):
        atol = {torch.bfloat16: 1e-2}.get(dtype, 1e-5) * float(correct.abs().amax())
        torch.testing.assert_close(gradient, correct, rtol=0, atol=atol)


def test_words_of_probability_zero_do_not_change_the_divergence() -> None:
    a, b = torch.randn(2, 3, 5).unbind()
    both, without = [], []
    for z in (a, b):
        masked = z.clone()
        masked[:, 1] = -torch.inf
        both.append(masked.requires_grad_())
        without.append(z[:, [0, 2, 3, 4]].requires_grad_())
    found, expected = symmetric_kl(*both), symmetric_kl(*without)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found.sum(), both)
    for gradient, right in zip(
        gradients, torch.autograd.grad(expected.sum(), without), strict=True
    ):
        torch.testing.assert_close(gradient[:, [0, 2, 3, 4]], right)
        assert not gradient[:, 1].any()


def test_the_divergence_in_float16_can_be_scaled() -> None:
    """A loss scale may make its weight too large for float16, but not its gradient."""
    a, b = torch.randn(2, 20, 3001, dtype=torch.float16).unbind()
    gradients = []
    for scale in (1.0, 2.0**17):
        x = a.clone().requires_grad_()
        symmetric_kl(x, b).mul(scale).sum().backward()
        gradients.append(x.grad)
    assert gradients[1].isfinite().all()
    exact = a.double().requires_grad_()
    symmetric_kl(exact, b.double()).sum().backward()
    torch.testing.assert_close(gradients[1].double() / 2**17, exact.grad, rtol=1e-3, atol=1e-9)
    assert gradients[0].dtype == torch.float16
