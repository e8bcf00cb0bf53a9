"""Models with random layers for the tests of `fairseq_wsum.weights`: quick to make, no training."""

import zlib

import torch
from torch import Tensor

from fairseq_wsum import Cell, WsumLSTM
from fairseq_wsum.weights.sentences import Model, Sentence, Text, View, join_words
from fairseq_wsum.weights.trace import trace

LONG = (
    "Ein älterer Mann läuft mit seinem müden Hund über die Straße und hört den Vögeln zu , während "
    "vor dem großen weißen Häuschen zwei Mädchen in grünen Röcken auf einer Bank sitzen , "
    "Äpfel essen und dem Bürgermeister zusehen , der für die Gäste des Frühlingsfestes eine "
    "überraschend lange Rede über Fußgängerübergänge hält , ohne auf zu schauen ."
)
TEXTS = (
    "Guten Morgen !",
    "Ein Mann überquert mit seinem Hund die Straße im Regen .",
    "▁Zwei ▁Mä dchen ▁essen ▁sü ße ▁Äpfel ▁vor ▁dem ▁Hä us chen ▁.",
    "Der Fuß@@ gä@@ nger@@ über@@ gang ist für Schul@@ kinder da .",
    LONG,
)
SENTENCES = [text.split() for text in TEXTS]


def make_model(
    name: str = "no-srnn-hidden",
    cell: str | Cell = "no-srnn-hidden",
    sentences: list[list[str]] | None = None,
    units: int = 24,
    layers: int = 2,
    encoder: bool = True,
    decoder: bool = True,
) -> Model:
    """A model with random layers that translates each sentence into its words in reverse.

    Args:
        name, cell: the name of the model, and the cell of its layers.
        sentences: the tokens of each sentence, with ▁ or @@ or as whole words; by default
            `SENTENCES`, of 3 to 60 tokens.
        units, layers: the hidden units of a direction, and the layers of each side.
        encoder: whether there is a source; without it the model is a language model.
        decoder: whether the decoder's cell is a weighted sum. If not, it has no views.
    """
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(zlib.crc32(name.encode()))
        sides = {}
        if encoder:
            sides["encoder"] = make_layer(cell, units, layers, bidirectional=True)
        if decoder:
            sides["decoder"] = make_layer(cell, units, layers, bidirectional=False)
        made = [make_sentence(sides, tokens, encoder) for tokens in sentences or SENTENCES]
    label = cell if isinstance(cell, str) else cell.name
    architecture = "wsum_lstm" if encoder else "wsum_lstm_lm"
    return Model(name, architecture, dict.fromkeys(sides, label), made)


def make_layer(cell: str | Cell, units: int, layers: int, bidirectional: bool) -> WsumLSTM:
    """Layers whose forget gates differ between units and between words, as trained ones do."""
    layer = WsumLSTM(units, units, layers, cell=cell, bidirectional=bidirectional)
    for parameter_name, parameter in layer.named_parameters():
        if parameter_name.startswith("weight_ih"):
            parameter *= 3
        if parameter_name.startswith("bias_ih") and "f" in layer.cell.bias_rows:
            k = layer.cell.bias_rows.index("f")
            parameter[k * units : (k + 1) * units] = 1 + 1.5 * torch.randn(units)
    return layer.eval()


def make_sentence(sides: dict[str, WsumLSTM], tokens: list[str], translation: bool) -> Sentence:
    source = make_text([*tokens, "</s>"])
    target = make_text([*reversed(source.words[:-1]), "</s>"]) if translation else source
    texts = {"encoder": source, "decoder": make_text(["</s>", *target.tokens[:-1]])}
    views = [view for side, layer in sides.items() for view in views_of(side, layer, texts[side])]
    if not translation:
        return Sentence(tuple(views), None, target, None)
    return Sentence(tuple(views), source, target, make_attention(target, source))


def make_text(tokens: list[str]) -> Text:
    kind = None
    if any(token.startswith("▁") for token in tokens):
        kind = "sentencepiece"
    elif any(token.endswith("@@") for token in tokens):
        kind = "subword_nmt"
    return join_words(tokens, kind)


def views_of(side: str, layer: WsumLSTM, text: Text) -> list[View]:
    traces = trace(layer, torch.randn(len(text.tokens), 1, layer.input_size))
    step = layer.num_directions
    return [
        View(side, k // step + 1, text, tuple(traces[k : k + step]))
        for k in range(0, len(traces), step)
    ]


def make_attention(target: Text, source: Text) -> Tensor:
    """Attention that reads the source from right to left, target x source."""
    rows = torch.linspace(1, 0, len(target.tokens))[:, None]
    columns = torch.linspace(0, 1, len(source.tokens))
    noise = torch.randn(len(target.tokens), len(source.tokens))
    return (noise - 60 * (rows - columns) ** 2).softmax(1)
