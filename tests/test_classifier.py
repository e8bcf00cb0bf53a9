"""The classifier of sentences: its logits against equations, and what must not change them."""

import itertools
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("fairseq")
from fairseq.data.data_utils import collate_tokens
from translation import dictionary_of

from fairseq_wsum.plugin.models.wsum_classifier import WsumClassifier, WsumClassifierConfig

WORDS = dictionary_of(*"abcdefgh")
SENTENCES = [[4, 5, 6, 2], [7, 2], [8, 4, 4, 9, 10, 2]]
POOLINGS = ("last", "max", "attention")
SIZES = dict(encoder_embed_dim=5, encoder_hidden_size=4)


def make(**options) -> WsumClassifier:
    """A model in float64 with a head of three classes, without dropout."""
    torch.manual_seed(1)
    cfg = WsumClassifierConfig(**{**SIZES, **options})
    model = WsumClassifier.build_model(cfg, SimpleNamespace(source_dictionary=WORDS))
    model.register_classification_head("head", 3)
    return model.double().eval()


def batch(sentences, left=False) -> torch.Tensor:
    return collate_tokens([*map(torch.tensor, sentences)], WORDS.pad(), left_pad=left)


def logits(model, tokens) -> torch.Tensor:
    with torch.no_grad():
        scores, none = model(src_tokens=tokens, classification_head_name="head")
    assert none is None
    return scores


def expected_logits(model: WsumClassifier, sentence: list[int], pooling: str) -> torch.Tensor:
    """Those of a single sentence, from the outputs of its layers."""
    encoder, lstm = model.encoder, model.encoder.lstm
    x = encoder.embed_tokens.weight[sentence]
    if lstm is None:
        features = sum(x) / len(x)
    else:
        x, _ = lstm(x)
        half = lstm.hidden_size
        if pooling == "last":
            features = torch.cat((x[-1, :half], x[0, half:]))
        elif pooling == "max":
            features = x.amax(0)
        else:
            inner, _, query = encoder.attention
            scores = [
                torch.exp(query.weight[0] @ torch.tanh(inner.weight @ y + inner.bias)) for y in x
            ]
            features = sum(score * y for score, y in zip(scores, x, strict=True)) / sum(scores)
    head = model.classification_heads["head"]
    return head.weight @ features + head.bias


@pytest.mark.parametrize(
    ("cell", "layers", "bidirectional", "pooling"),
    [
        *(("lstm", 2, bidirectional, p) for bidirectional in (False, True) for p in POOLINGS),
        *((cell, 2, True, "last") for cell in ("no-srnn-hidden", "no-gates", "gru")),
        ("lstm", 0, False, "last"),  # the mean of the embeddings
    ],
)
@torch.no_grad()
def test_logits_are_those_of_the_equations(cell, layers, bidirectional, pooling) -> None:
    options = dict(encoder_bidirectional=bidirectional, pooling=pooling, encoder_layers=layers)
    model = make(cell=cell, **options)
    found = logits(model, batch(SENTENCES))
    expected = torch.stack([expected_logits(model, one, pooling) for one in SENTENCES])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "options", [*({"pooling": p} for p in POOLINGS), {"encoder_layers": 0}], ids=str
)
def test_padding_and_the_order_of_a_batch_change_nothing(options) -> None:
    model = make(encoder_bidirectional=True, **options)
    expected = torch.cat([logits(model, batch([one])) for one in SENTENCES])
    for order in itertools.permutations(range(3)):
        for left in (False, True):
            found = logits(model, batch([SENTENCES[k] for k in order], left))
            torch.testing.assert_close(found, expected[list(order)], rtol=1e-10, atol=1e-12)


def test_weights_of_other_classes_are_refused() -> None:
    model, other = (
        WsumClassifier.build_model(
            WsumClassifierConfig(**SIZES),
            SimpleNamespace(source_dictionary=WORDS, label_dictionary=dictionary_of(*classes)),
        )
        for classes in (("no", "yes"), ("yes", "no"))
    )
    with pytest.raises(ValueError, match="trained with other labels, or with the same ones in an"):
        model.load_state_dict(other.state_dict())


@pytest.mark.parametrize("locked", [False, True])
def test_dropout_applies_to_words_and_to_the_features_of_a_sentence(locked) -> None:
    model = make(dropout=0.5, locked_dropout=locked).train()
    tokens, kept = torch.full((4, 9), 4), []
    model.encoder.lstm.register_forward_pre_hook(lambda _, given: kept.append(given[0] != 0))
    features = model.encoder(tokens)  # T x B x C words
    assert 0.2 < kept[0].double().mean() < 0.8 and not features.all()
    assert torch.equal(kept[0], kept[0][:1].expand_as(kept[0])) == locked
    assert not make(dropout=1.0).train().encoder(tokens).any()
