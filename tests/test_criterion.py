"""`--criterion wsum_cross_entropy` against fairseq's own criteria."""

from argparse import Namespace

import pytest
import torch
from cpp_oracle import needs_kernels

pytest.importorskip("fairseq")
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.distributed import ModuleProxyWrapper
from fairseq.models.lstm import LSTMDecoder
from fairseq.models.lstm_lm import LSTMLanguageModel, base_architecture
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer.transformer_legacy import base_architecture as transformer_options
from translation import PAD, TARGET, make_batch, make_model, make_task

from fairseq_wsum.plugin.criterions.wsum_cross_entropy import WsumCrossEntropyCriterion
from fairseq_wsum.plugin.models.wsum_lstm_lm import WsumLSTMLanguageModel
from fairseq_wsum.plugin.models.wsum_transformer import WsumTransformerModel
from fairseq_wsum.training import cross_entropy

TASK = make_task(TARGET, TARGET)


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


def test_an_output_may_lack_its_second_part() -> None:
    """As that of fairseq's hf_gpt2."""
    model, sample = make_model(TASK), make_sample()
    criterion = WsumCrossEntropyCriterion(TASK, True, 0.0)
    logits = torch.randn(*sample["target"].shape, len(TARGET))
    loss, _ = criterion.compute_loss(model, (logits,), sample)
    assert loss.equal(criterion.compute_loss(model, (logits, None), sample)[0])


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


def make_language_model(kind: type) -> torch.nn.Module:
    """One of fairseq's own or of ours."""
    args = Namespace(decoder_embed_dim=6, decoder_hidden_size=5, decoder_layers=1, dropout=0.0)
    args.add_bos_token, args.tokens_per_sample, args.criterion = False, 11, "cross_entropy"
    if kind is LSTMLanguageModel:
        base_architecture(args)
    return kind.build_model(args, TASK).eval()


def make_text() -> dict[str, object]:
    tokens = torch.randint(4, len(TARGET), (3, 12))
    target = tokens[:, 1:].contiguous()
    return {"net_input": {"src_tokens": tokens[:, :-1]}, "target": target, "ntokens": 33}


def make_transformer(kind: type) -> torch.nn.Module:
    """fairseq's own or ours."""
    sizes = dict(encoder_embed_dim=8, encoder_layers=1, decoder_layers=1, dropout=0.0)
    args = Namespace(**sizes, encoder_attention_heads=2, decoder_attention_heads=2)
    if kind is TransformerModel:
        transformer_options(args)
    return kind.build_model(args, make_task())


def in_processes(kind: type) -> torch.nn.Module:
    return ModuleProxyWrapper(torch.nn.DataParallel(make_language_model(kind)))


@needs_kernels
@pytest.mark.parametrize(
    ("make", "kind", "sample", "positions"),
    [
        (in_processes, WsumLSTMLanguageModel, make_text, 33),
        (in_processes, LSTMLanguageModel, make_text, 33),
        (make_transformer, WsumTransformerModel, make_sample, 18),
        (make_transformer, TransformerModel, make_sample, 18),
    ],
)
def test_every_model_uses_it(make, kind, sample, positions, taken) -> None:
    ours = WsumCrossEntropyCriterion(TASK, False, label_smoothing=0.1)
    theirs = LabelSmoothedCrossEntropyCriterion(TASK, False, label_smoothing=0.1)
    assert_same(ours, theirs, make(kind), sample())
    assert taken == [(positions, len(TARGET))]


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
