"""The classifier of sentences: its logits against loops, and what must not change them."""

import itertools
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("fairseq")
from fairseq.data import Dictionary

from fairseq_wsum import WsumLSTM
from fairseq_wsum.plugin.models.wsum_classifier import WsumClassifier, WsumClassifierConfig

WORDS = Dictionary()
for word in "abcdefgh":
    WORDS.add_symbol(word)
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
    most, pad = max(map(len, sentences)), WORDS.pad()
    padding = ([pad] * (most - len(one)) for one in sentences)
    rows = [gap + one if left else one + gap for one, gap in zip(sentences, padding, strict=True)]
    return torch.tensor(rows)


def logits(model, tokens) -> torch.Tensor:
    with torch.no_grad():
        scores, none = model(src_tokens=tokens, classification_head_name="head")
    assert none is None
    return scores


def by_loops(model: WsumClassifier, sentence: list[int], pooling: str) -> torch.Tensor:
    """The logits of one sentence by plain loops over layers, directions, words and features."""
    encoder, lstm = model.encoder, model.encoder.lstm
    x = [encoder.embed_tokens.weight[k] for k in sentence]
    if lstm is None:
        features = [sum(x[t][k] for t in range(len(x))) / len(x) for k in range(len(x[0]))]
    else:
        for layer in range(lstm.num_layers):
            runs = []
            for direction in range(lstm.num_directions):
                one = WsumLSTM(len(x[0]), lstm.hidden_size, cell=lstm.cell, backend="reference")
                ending = f"_l{layer}" + "_reverse" * direction
                for name, weight in one.named_parameters():
                    weight.data = getattr(lstm, name.replace("_l0", ending)).data
                steps, state, y = x[::-1] if direction else x, None, []
                for step in steps:
                    out, state = one(step.view(1, 1, -1), state)
                    y.append(out.flatten())
                runs.append(y[::-1] if direction else y)
            x = [torch.cat(parts) for parts in zip(*runs, strict=True)]
        size, half = len(x[0]), lstm.hidden_size
        if pooling == "last":
            features = [x[-1 if k < half else 0][k] for k in range(size)]
        elif pooling == "max":
            features = [max(y[k] for y in x) for k in range(size)]
        else:
            inner, _, query = encoder.attention
            scores = [
                torch.exp(query.weight[0] @ torch.tanh(inner.weight @ y + inner.bias)) for y in x
            ]
            shares = [score / sum(scores) for score in scores]
            features = [sum(a * y[k] for a, y in zip(shares, x, strict=True)) for k in range(size)]
    head = model.classification_heads["head"]
    rows = zip(head.weight, head.bias, strict=True)
    return torch.stack(
        [sum(w * z for w, z in zip(row, features, strict=True)) + b for row, b in rows]
    )


@pytest.mark.parametrize(
    ("cell", "layers", "bidirectional", "pooling"),
    [
        *(("lstm", 2, bidirectional, p) for bidirectional in (False, True) for p in POOLINGS),
        *((cell, 2, True, "last") for cell in ("no-srnn-hidden", "no-gates", "gru")),
        ("lstm", 0, False, "last"),  # the mean of the embeddings
    ],
)
@torch.no_grad()
def test_logits_are_those_of_plain_loops(cell, layers, bidirectional, pooling) -> None:
    options = dict(encoder_bidirectional=bidirectional, pooling=pooling, encoder_layers=layers)
    model = make(cell=cell, **options)
    found = logits(model, batch(SENTENCES))
    expected = torch.stack([by_loops(model, one, pooling) for one in SENTENCES])
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


def with_classes(*classes: str) -> WsumClassifier:
    dictionary = Dictionary()
    for label in classes:
        dictionary.add_symbol(label)
    task = SimpleNamespace(source_dictionary=WORDS, label_dictionary=dictionary)
    return WsumClassifier.build_model(WsumClassifierConfig(**SIZES), task)


def test_weights_of_other_classes_are_refused() -> None:
    model, other = with_classes("no", "yes"), with_classes("yes", "no")
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


def test_pretrained_vectors_are_read(tmp_path) -> None:
    (tmp_path / "vectors").write_text("c 1 2 3 4 5\n")
    model = make(encoder_embed_path=str(tmp_path / "vectors"))
    assert model.encoder.embed_tokens.weight[WORDS.index("c")].tolist() == [1, 2, 3, 4, 5]
