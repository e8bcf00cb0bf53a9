"""The models that the benchmarks compare: fairseq's own, and this package's of the same sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairseq_wsum import CELLS

PEER = "fairseq's own"
CRITERION = ["--criterion", "wsum_cross_entropy"]


@dataclass(frozen=True)
class System:
    """A model: its name in the table and its options."""

    name: str
    options: list[str] = field(default_factory=list)
    own_search: bool = False  # decode with fairseq's own beam search
    decoding: tuple[str, ...] = ()  # further options of fairseq-generate
    compute_type: str = ""  # translate with CTranslate2, with fairseq's own model


def lstms(cells: Sequence[str]) -> list[System]:
    """fairseq's LSTM, then each ablation, with input feeding if its cell reads h_{t-1}.

    With input feeding every step waits for the last, as in fairseq's LSTM. The cells without
    h_{t-1} exist to avoid that, so they are measured without input feeding. fairseq's LSTM trains
    with fairseq's criterion and PyTorch's dropout, which it also applies to the encoder's output.
    """
    common = ["--dropout", "0.3", "--encoder-dropout-in", "0", "--decoder-dropout-in", "0"]
    for side in ("encoder", "decoder"):
        common += [f"--{side}-layers", "2", f"--{side}-embed-dim", "500"]
        common += [f"--{side}-hidden-size", "500"]
    common += ["--decoder-out-embed-dim", "500"]
    found = [System(PEER, ["--arch", "lstm", *common], own_search=True)]
    for name in cells:
        feeds = CELLS[name].has_recurrent_matrix
        options = ["--arch", "wsum_lstm", "--cell", name, *common, *CRITERION]
        options += ["--decoder-input-feeding", str(feeds)]
        found.append(System(f"{name}, input feeding {'on' if feeds else 'off'}", options))
    return found


def transformers(cells: Sequence[str]) -> list[System]:
    """fairseq's Transformer, then each cell in place of self-attention.

    All of them train with the same criterion. They differ in self-attention and in the kernel of
    their dropout.
    """
    common = [*CRITERION, "--dropout", "0.3"]
    for side in ("encoder", "decoder"):
        common += [f"--{side}-layers", "4", f"--{side}-embed-dim", "128"]
        common += [f"--{side}-ffn-embed-dim", "256", f"--{side}-attention-heads", "4"]
    peer = System(PEER, ["--arch", "transformer", *common], own_search=True)
    ours = ["--arch", "wsum_transformer", *common]
    return [peer, *(System(name, [*ours, "--cell", name]) for name in cells)]


def language_models(cells: Sequence[str]) -> list[System]:
    """fairseq's LSTM, which carries no state, then each ablation, which does.

    fairseq's LSTM trains with fairseq's criterion.
    """
    common = ["--dropout", "0", "--decoder-layers", "2"]
    common += ["--tokens-per-sample", "20", "--sample-break-mode", "none"]
    for part in ("embed-dim", "hidden-size", "out-embed-dim"):
        common += [f"--decoder-{part}", "200"]
    peer = ["--task", "language_modeling", "--arch", "lstm_lm", *common]
    ours = ["--task", "wsum_language_modeling", "--arch", "wsum_lstm_lm", *common, *CRITERION]
    return [System(PEER, peer), *(System(name, [*ours, "--cell", name]) for name in cells)]


TRANSLATION = {"lstm": lstms, "transformer": transformers}  # the values of --model
