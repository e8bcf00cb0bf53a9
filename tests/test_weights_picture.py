"""The picture of `fairseq_wsum.weights`: what is shaded, and that all of it can be seen."""

import html
import re
from xml.etree import ElementTree

import numpy
import pytest
import torch
from weights_models import SENTENCES, make_model

from fairseq_wsum.weights import norms, picture, weights
from fairseq_wsum.weights.picture import Square, draw, figures, find_view, square
from fairseq_wsum.weights.sentences import Text, View, join_words

pytest.importorskip("matplotlib")
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text as Label

LONG = max(SENTENCES, key=len)


@pytest.fixture(scope="module")
def model():
    return make_model(sentences=SENTENCES[:2], units=6)


def made_up(*words: str) -> Square:
    return Square(words, torch.rand(len(words), len(words)), torch.rand(len(words)))


def labels(figure) -> list[Label]:
    return [text for text in figure.findobj(Label) if text.get_visible() and text.get_text()]


def test_forward_norms_are_above_the_diagonal_and_backward_norms_below(model) -> None:
    view = model.sentences[1].views[0]
    shown = square(view)
    forward, backward = (norms(trace)[..., 0] for trace in view.directions)  # t x j
    assert shown.words == view.text.tokens
    for j in range(len(shown.words)):
        assert shown.backward[j] == backward[j, j]
        for t in range(len(shown.words)):
            assert shown.weights[j, t] == (forward if j <= t else backward)[t, j]
            assert shown.weights[j, t] > 0


def test_a_layer_with_one_direction_has_an_empty_triangle(model) -> None:
    shown = square(find_view(model.sentences[0], "decoder", 2))
    empty = torch.ones_like(shown.weights, dtype=torch.bool).tril(-1)
    assert torch.equal(shown.weights.isnan(), empty)
    assert shown.backward is None


def test_a_unit_is_shaded_by_the_size_of_its_weights(model) -> None:
    view = find_view(model.sentences[0], "encoder", 2)
    forward, backward = (weights(trace)[:, :, 0, 4].abs().t() for trace in view.directions)
    shown = square(view, unit=4)
    torch.testing.assert_close(shown.weights, forward.triu() + backward.tril(-1))
    torch.testing.assert_close(shown.backward, backward.diagonal())


def test_words_are_shown_in_place_of_their_tokens(model) -> None:
    view = model.sentences[0].views[0]  # of four tokens
    text = Text(("a@@", "b", "c", "</s>"), ("ab", "c", "</s>"), (0, 0, 1, 2))
    shown = square(View("encoder", 1, text, view.directions), join=True)
    forward, backward = (norms(trace)[..., 0] for trace in view.directions)
    assert shown.words == text.words
    torch.testing.assert_close(shown.weights[0, 1], forward[2, :2].norm())
    assert shown.weights[1, 0] == backward[0, 2]  # in the memory cell at the first token of ab
    torch.testing.assert_close(shown.backward[0], backward[0, :2].norm())


@pytest.mark.parametrize(
    ("tokens", "kind", "words", "word_of"),
    [
        ("a caf@@ é@@|<unk> s !", "subword_nmt", "a cafés|<unk> !", (0, 1, 1, 1, 2)),
        ("▁< b > man </s> c", "sentencepiece", "<b>man </s> c", (0, 0, 0, 0, 1, 2)),
        ("▁a <>|<unk> b </s>", "sentencepiece", "a<>b|<unk> </s>", (0, 0, 0, 1)),
        ("▁a ▁b|<unk> c </s>", "sentencepiece", "a bc|<unk> </s>", (0, 1, 1, 2)),
    ],
)
def test_subwords_are_joined_and_marked_as_unknown(tokens, kind, words, word_of) -> None:
    tokens, words = ([x.replace("|", " ") for x in text.split()] for text in (tokens, words))
    assert join_words(tokens, kind) == Text(tuple(tokens), tuple(words), word_of)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_equal_models_give_equal_files(model, tmp_path, suffix) -> None:
    for name in ("one", "two"):
        draw(tmp_path / f"{name}{suffix}", [model], unit=2, join=True)
    one, two = (tmp_path / f"{name}{suffix}" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_picture_that_is_too_large_for_a_png_is_refused(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(picture, "LARGEST", 200)
    with pytest.raises(ValueError, match=r"do not fit into a PNG file; give fewer, or a file"):
        draw(tmp_path / "a.png", [model])
    draw(tmp_path / "a.svg", [model])


def test_a_pdf_has_a_page_for_each_sentence(model, tmp_path) -> None:
    draw(tmp_path / "picture.pdf", [model])
    content = (tmp_path / "picture.pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", content)) == len(model.sentences)


def test_text_in_an_svg_is_text(tmp_path) -> None:
    tokens = ["▁Größe", "▁$5", "und", "▁$6", "Wei@@", "ß", "<unk>", "\\frac", "a_b", "x^2"]
    with rc_context({"text.usetex": True}):  # for other pictures
        one = make_model(sentences=[tokens], units=4, name="models/a_$b_$")
        draw(tmp_path / "picture.svg", [one])
    content = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    for word in tokens:
        assert f">{html.escape(word, quote=False)}<" in content
    assert "models/a_$b_$" in content and "cell no-srnn-hidden" in content


def test_control_characters_and_very_long_words_leave_a_picture_that_can_be_read(tmp_path) -> None:
    tokens = ["a\x08b", "\0", "c\ufffe", "x" * 3300, "y" * 60]
    model = make_model(sentences=[tokens], units=4)
    draw(tmp_path / "picture.png", [model])
    draw(tmp_path / "picture.svg", [model])
    texts = [one.text for one in ElementTree.parse(tmp_path / "picture.svg").iter() if one.text]
    for shown in ("a\ufffdb", "\ufffd", "c\ufffd", "x" * 59 + "…", "y" * 60):
        assert texts.count(shown) == 2


@pytest.mark.parametrize(
    "lines",
    [[LONG], [["a"]], [["W" * 60, "b"]], [*SENTENCES[:4], *SENTENCES[:3]], [LONG * 2]],
    ids=["60 words", "one word", "a long word", "many sentences", "120 words"],
)
def test_every_label_lies_inside_the_picture_and_beside_the_others(lines) -> None:
    shown = [made_up(*line, "</s>") for line in lines]
    title = ["experiments/multi30k/no-srnn-hidden/seed-1/checkpoint_best.pt", "encoder, layer 1"]
    (figure,) = figures([[one] for one in shown], title, "norm of the weights")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    places = [label.get_window_extent(canvas.get_renderer()).extents for label in labels(figure)]
    assert len(places) > sum(2 * len(one.words) for one in shown)
    x0, y0, x1, y1 = torch.tensor(numpy.array(places)).t()
    assert x0.min() >= 0 and x1.max() <= figure.bbox.width
    assert y0.min() >= 0 and y1.max() <= figure.bbox.height
    wide = torch.minimum(x1[:, None], x1) - torch.maximum(x0[:, None], x0)  # of what they share
    high = torch.minimum(y1[:, None], y1) - torch.maximum(y0[:, None], y0)
    assert not ((wide > 2) & (high > 2)).triu(1).any()  # pixels


@pytest.mark.parametrize("part", ["weights", "backward"])
def test_all_sentences_have_the_same_scale(part) -> None:
    strong, weak = made_up("a", "b"), made_up("c", "d")
    getattr(strong, part)[1] = 7.0
    for page in figures([[weak], [strong]], ["title"], "norm", each=True):
        shaded = page.axes[0].collections
        assert [one.get_clim() for one in shaded] == [(0, 7), (0, 7)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": "decoder"}, "--side, --layer: the layers .* are encoder 1, encoder 2; choose"),
        ({"layer": 3}, "--side, --layer: the layers .* are encoder 1, encoder 2; choose one"),
        ({"unit": 6}, "--unit 6: layer 1 of the encoder has the units 0 to 5"),
        ({"unit": -1}, "--unit -1: layer 1 of the encoder has the units 0 to 5"),
    ],
)
def test_options_beyond_the_model_are_rejected(tmp_path, options, message) -> None:
    one = make_model(sentences=[["a"]], units=6, decoder=False)
    with pytest.raises(ValueError, match=message):
        draw(tmp_path / "picture.png", [one], **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_label_has_room_for_the_square_characters_of_a_viewers_font() -> None:
    assert picture._width("猫が好き", 9) >= 4 * 9 / 72


def test_several_models_are_drawn_as_shares_of_their_largest_weights(tmp_path) -> None:
    one, two = (make_model(sentences=[["a", "b"]], units=4, name=name) for name in ("one", "two"))
    draw(tmp_path / "picture.svg", [one, two])
    content = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    assert "one: encoder, layer 1, cell" in content and "two: encoder, layer 1, cell" in content
    assert "as a share of the model" in content
    own = square(one.sentences[0].views[0])
    assert own.divided(own.largest(), "one").largest() == pytest.approx(1)
