"""The regularisation of the AWD-LSTM (Merity et al., 2018) in `wsum_lstm_lm`."""

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("fairseq")
from language_models import TASK, make_lstm, make_sample, make_tokens

from fairseq_wsum.plugin.criterions.wsum_cross_entropy import WsumCrossEntropyCriterion
from fairseq_wsum.plugin.models.wsum_lstm_lm import WsumLSTMLanguageModel
from fairseq_wsum.plugin.modules.dropout import EmbeddingDropout, WeightDropout

PAD = TASK.target_dictionary.pad()


def make_model(**options) -> WsumLSTMLanguageModel:
    """With the same weights each time."""
    torch.manual_seed(3)
    return make_lstm(**options)


# Words


def test_embedding_dropout_drops_whole_words_and_scales_the_others() -> None:
    embed = nn.Embedding(4000, 5)
    tokens = torch.randperm(4000).repeat(2).view(10, 800)
    dropout = EmbeddingDropout(0.4)
    x, whole = dropout(embed, tokens), embed(tokens)
    dropped = (x == 0).all(-1)
    torch.testing.assert_close(x, torch.where(dropped[..., None], 0, whole / 0.6))
    assert dropped.float().mean() == pytest.approx(0.4, abs=0.04)  # 4,000 words
    assert torch.equal(dropped[:5], dropped[5:])  # both occurrences of every word
    assert not torch.equal(dropout(embed, tokens), x)  # the next pass drops others
    assert torch.equal(dropout.eval()(embed, tokens), whole)
    assert not EmbeddingDropout(1.0)(embed, tokens).any()


# Recurrent weights


class ReturnsItsWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name in ("weight_ih_l0", "weight_hh_l0", "weight_hh_l1"):
            self.register_parameter(name, nn.Parameter(torch.rand(200, 50) + 0.1))

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.parameters())


def test_weight_dropout_drops_elements_of_the_recurrent_matrices_only() -> None:
    lstm, dropout = ReturnsItsWeights(), WeightDropout(0.3)
    before = {name: weight.clone() for name, weight in lstm.state_dict().items()}
    w_ih, *recurrent = dropout(lstm, None, None)
    assert torch.equal(w_ih, lstm.weight_ih_l0)
    for name, w_hh in zip(("weight_hh_l0", "weight_hh_l1"), recurrent, strict=True):
        dropped = w_hh == 0
        assert dropped.float().mean() == pytest.approx(0.3, abs=0.02)  # 10,000 elements
        torch.testing.assert_close(w_hh, torch.where(dropped, 0, before[name] / 0.7))
    assert not torch.equal(*((w_hh == 0) for w_hh in recurrent))
    assert not torch.equal(dropout(lstm, None, None)[1], recurrent[0])  # the next pass
    assert all(torch.equal(weight, before[name]) for name, weight in lstm.state_dict().items())
    assert torch.equal(dropout.eval()(lstm, None, None)[1], lstm.weight_hh_l0)


def test_without_recurrent_weights_a_model_equals_one_with_all_of_them_dropped() -> None:
    model, tokens = make_model(weight_dropout=1.0), make_tokens()
    plain = make_model()
    torch.testing.assert_close(model.eval()(tokens)[0], plain(tokens)[0])
    for name, weight in plain.named_parameters():
        if "weight_hh" in name:
            nn.init.zeros_(weight)
    torch.testing.assert_close(model.train()(tokens)[0], plain(tokens)[0])


def test_weight_dropout_trains_the_weights_and_keeps_their_names() -> None:
    model = make_model(weight_dropout=0.5)
    assert model.state_dict().keys() == make_model().state_dict().keys()
    model.train()(make_tokens())[0].square().sum().backward()
    for layer in (0, 1):
        gradient = getattr(model.decoder.lstm, f"weight_hh_l{layer}").grad
        assert 0.3 < (gradient == 0).float().mean() < 0.7  # those of the dropped elements


# Activations

ALPHA, BETA = 2.0, 0.7


def penalty_by_hand(y: Tensor, dropped: Tensor, lengths: list[int]) -> Tensor:
    total = torch.tensor(0.0)
    for b, length in enumerate(lengths):
        for t in range(length):
            total = total + ALPHA * sum(value**2 for value in dropped[t, b]) / y.size(2)
            if t + 1 < length:
                changes = y[t + 1, b] - y[t, b]
                total = total + BETA * sum(value**2 for value in changes) / y.size(2)
    return total


def test_the_penalty_equals_its_equation_before_and_after_dropout() -> None:
    weights = dict(activation_regularization=ALPHA, temporal_activation_regularization=BETA)
    model, outputs = make_model(decoder_dropout_out=0.5, **weights).train(), []
    dropout = model.decoder.dropout_out_module
    dropout.register_forward_hook(lambda module, given, dropped: outputs.append((*given, dropped)))
    tokens = make_tokens(steps=5)
    tokens[1, 2:] = tokens[2, 1:] = PAD
    _, extra = model(tokens)
    ((y, dropped),) = outputs
    expected = penalty_by_hand(y, dropped, [5, 2, 1])
    torch.testing.assert_close(extra["penalty"], expected)


@pytest.mark.parametrize("average", [True, False], ids=["sentences", "tokens"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1], ids=["plain", "smoothed"])
@pytest.mark.parametrize("reduce", [True, False], ids=["sum", "each-token"])
def test_the_penalty_is_in_the_gradient_and_not_in_the_log(average, smoothing, reduce) -> None:
    criterion = WsumCrossEntropyCriterion(TASK, average, label_smoothing=smoothing)
    sample = make_sample()
    plain = make_model()
    model = make_model(
        activation_regularization=ALPHA, temporal_activation_regularization=BETA
    ).train()
    loss, size, log = criterion(model, sample, reduce=reduce)
    plain_loss, plain_size, plain_log = criterion(plain, sample, reduce=reduce)
    torch.testing.assert_close((loss, size, log), (plain_loss, plain_size, plain_log))

    tokens = sample["net_input"]["src_tokens"]
    y, _ = plain.decoder.lstm(plain.decoder.embed_tokens(tokens).transpose(0, 1))
    lengths = tokens.ne(PAD).sum(1).tolist()
    (plain_loss.sum() + penalty_by_hand(y, y, lengths)).backward()
    loss.sum().backward()
    for (name, parameter), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-5, msg=name)
    assert model.eval()(tokens)[1] is None  # nothing of it in validation
