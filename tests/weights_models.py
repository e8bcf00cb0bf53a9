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
    views = []
    for side, layer in sides.items():
        traces = trace(layer, torch.randn(len(texts[side].tokens), 1, layer.input_size))
        step = layer.num_directions
        for k in range(layer.num_layers):
            directions = tuple(traces[k * step : (k + 1) * step])
            views.append(View(side, k + 1, texts[side], directions))
    attention = make_attention(target, source) if translation else None
    return Sentence(tuple(views), source if translation else None, target, attention)


def make_text(tokens: list[str]) -> Text:
    kind = "subword_nmt" if any(token.endswith("@@") for token in tokens) else None
    return join_words(tokens, "sentencepiece" if any("▁" in token for token in tokens) else kind)


def make_attention(target: Text, source: Text) -> Tensor:
    """Attention that reads the source from right to left, target x source."""
    rows = torch.linspace(1, 0, len(target.tokens))[:, None]
    columns = torch.linspace(0, 1, len(source.tokens))
    noise = torch.randn(len(target.tokens), len(source.tokens))
    return (noise - 60 * (rows - columns) ** 2).softmax(1)
