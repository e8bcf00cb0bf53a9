"""Reading a checkpoint, and running its model on sentences with a trace of every layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary, encoders
from fairseq.models import ARCH_MODEL_REGISTRY, BaseFairseqModel, FairseqLanguageModel
from fairseq.modules import LearnedPositionalEmbedding
from fairseq.tasks import TASK_REGISTRY
from omegaconf import OmegaConf
from torch import Tensor

from .. import plugin  # noqa: F401  # registers the architectures
from ..layer import State, WsumLSTM
from ..plugin.modules import CarriedState
from . import origins
from .sentences import END, UNKNOWN, Line, Sentence, Text, View, join_words
from .trace import Trace, trace


class Reader:
    """A checkpoint with its dictionaries, which turns lines into traced sentences.

    Args:
        checkpoint: a checkpoint of a model whose layers are `WsumLSTM`s.
        data: the folder with the model's dictionaries, by default that of its training.
        source_lang: the source language of a translation model, and
        target_lang: its target language; by default those of the data in the folder. A folder with
            dictionaries alone does not name them.
        user_dir: a folder with code of the user, such as a cell, to import before.
        bpe: fairseq's name of the segmentation, `sentencepiece` or `subword_nmt`, or None if the
            text is segmented already. By default sentencepiece if the data folder has `spm.model`.
        bpe_model: the model of sentencepiece, or the codes of subword-nmt.
        beam: beam size for the model's own translations.
        device: the device to run on.

    Attributes:
        architecture: fairseq's name of the model's architecture.
        cell_names: the label of the cell of each side, even if it computes no weighted sum.

    Raises:
        OSError, ValueError: a file is missing or not usable; the message names the option.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        data: Path | None = None,
        source_lang: str | None = None,
        target_lang: str | None = None,
        user_dir: Path | None = None,
        bpe: str | None = None,
        bpe_model: Path | None = None,
        beam: int = 5,
        device: str = "cpu",
    ) -> None:
        state = origins.read(checkpoint)
        if user_dir is not None:
            origins.import_code(user_dir)
        self.architecture, task, trained_on = origins.recorded(checkpoint, state)
        origins.check_known(checkpoint, "architecture", self.architecture, ARCH_MODEL_REGISTRY)
        origins.check_known(checkpoint, "task", task, TASK_REGISTRY)
        folder = origins.data_folder(data, trained_on)
        overrides: dict[str, Any] = {"data": str(folder)}
        overrides |= origins.languages(source_lang, target_lang)
        # Neither the files from which the embeddings came are needed, nor the training's backend.
        overrides |= {"encoder_embed_path": None, "decoder_embed_path": None}
        overrides["lstm_backend"] = "auto"
        try:
            (self.model,), cfg, self.task = checkpoint_utils.load_model_ensemble_and_task(
                [str(checkpoint)], arg_overrides=overrides
            )
        except FileNotFoundError as error:  # a dictionary
            raise origins.no_data(data, folder, f"has no {Path(error.filename).name}") from error
        except Exception as error:  # fairseq has no type for this one
            if "Could not infer language pair" not in str(error):
                raise
            raise ValueError(
                f"{folder} has no file that names the languages, such as train.en-de.en.bin: give "
                "them with --source-lang and --target-lang"
            ) from error
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise ValueError(
                f"checkpoint {checkpoint}: not all of its parameters are finite numbers, so there "
                "is nothing to show: its training has diverged"
            )
        self.model.to(device).eval()
        self.device = device
        self.layers = _layers(self.model)
        self.cell_names = {layer.side: layer.module.cell.label for layer in self.layers}
        _check_cells(checkpoint, self.architecture, self.layers)
        self.is_language_model = isinstance(self.model, FairseqLanguageModel)
        if self.is_language_model and source_lang is not None:
            raise ValueError(
                "--source-lang and --target-lang are for translation models, and this is a "
                "language model: omit them"
            )
        marks, self.bpe = _segmentation(bpe, bpe_model, folder)
        self.marks = marks or _marks(self.task.target_dictionary.symbols)
        cfg.generation.beam = beam
        self._generation = cfg.generation

    def sentences(self, lines: Iterable[Line], carry_state: bool = False) -> Iterator[Sentence]:
        """Run the model on each line.

        Args:
            lines: the lines, none of them empty.
            carry_state: whether a language model begins each line with the state after the line
                before.

        Raises:
            ValueError: `carry_state` for a model that carries no state, or a target for a language
                model.
        """
        if carry_state and not self.is_language_model:
            raise ValueError(
                "--carry-state is for language models, and this is a translation model"
            )
        if carry_state and not getattr(self.model, "carries_state", False):
            raise ValueError("--carry-state: this model does not carry a state; omit the option")
        carried = CarriedState() if carry_state else None
        for line in lines:
            if not self.is_language_model:
                yield self._translation(line)
            elif line.target is None:
                yield self._text(line, carried)
            else:
                raise ValueError("a target is for translation models, and this is a language model")

    def unknown(self, line: Line) -> dict[str, tuple[int, int]]:
        """How many words of a line and its target have unknown parts, and the number of words.

        The keys are those of `lengths`; the end of the sentence does not count.
        """
        found = {}
        for side, (_, names) in self._tokens(line).items():
            words = [word for word in self._words(names).words if word != END]
            found[side] = sum(word.endswith(UNKNOWN) for word in words), len(words)
        return found

    @property
    def needs_segmentation(self) -> bool:
        """Whether the dictionary has subwords, and no model is given that makes them."""
        return self.marks is not None and self.bpe is None

    def words(self, line: Line) -> tuple[str, ...]:
        """The words of a line, without the end of the sentence."""
        _, names = next(iter(self._tokens(line).values()))
        return tuple(word for word in self._words(names).words if word != END)

    def lengths(self, line: Line) -> dict[str, int]:
        """The number of tokens that the encoder and the decoder read, as far as they are given.

        Raises:
            ValueError: the model has learned positional embeddings, and they do not reach so far.
        """
        lengths = {side: len(tokens) for side, (tokens, _) in self._tokens(line).items()}
        for side, length in lengths.items():
            positions = getattr(getattr(self.model, side, None), "embed_positions", None)
            if (
                isinstance(positions, LearnedPositionalEmbedding)
                and length > positions.max_positions
            ):
                whose = "its translation" if side == "decoder" and line.target else "it"
                raise ValueError(
                    f"{line.where}: {whose} has {length} tokens, and the {side} of this model has "
                    f"learned positions for {positions.max_positions}: split the sentence"
                )
        return lengths

    def _tokens(self, line: Line) -> dict[str, tuple[Tensor, list[str]]]:
        """What each side reads, as far as it is given: tokens and their names."""
        source, target = self.task.source_dictionary, self.task.target_dictionary
        first = "decoder" if self.is_language_model else "encoder"
        read = {first: self._encode(line.text, source)}
        if line.target is not None and not self.is_language_model:
            read["decoder"] = self._encode(line.target, target)
        return read

    def word_counts(self, side: str) -> dict[str, int] | None:
        """How often each word occurs in the training text of a side; None with subwords."""
        if self.marks is not None:
            return None
        task = self.task
        dictionary = task.source_dictionary if side == "encoder" else task.target_dictionary
        counts = zip(dictionary.symbols, dictionary.count, strict=True)
        return dict(list(counts)[dictionary.nspecial :])

    def _text(self, line: Line, carried: CarriedState | None) -> Sentence:
        tokens, names = self._encode(line.text, self.task.target_dictionary)
        inputs = tokens.roll(1).unsqueeze(0)  # a decoder begins with the last token, </s>
        given = {} if carried is None else {"carried_state": carried}
        calls, _ = self._run(lambda: self.model(inputs.to(self.device), **given))
        read = self._shifted(names)
        return Sentence(self._views(calls, {"decoder": read}), None, self._words(names), None)

    def _translation(self, line: Line) -> Sentence:
        source, source_names = self._encode(line.text, self.task.source_dictionary)
        batch = source.unsqueeze(0).to(self.device)
        lengths = torch.tensor([batch.size(1)], device=self.device)
        if line.target is not None:
            target, names = self._encode(line.target, self.task.target_dictionary)
        else:
            target = self._translate(batch, lengths)
            names = [self.task.target_dictionary[int(token)] for token in target]
        inputs = target.roll(1).unsqueeze(0).to(self.device)
        calls, (_, attention) = self._run(lambda: self.model(batch, lengths, inputs))
        if isinstance(attention, dict):  # of a Transformer
            (attention,) = attention["attn"]
        words = self._words(source_names)
        texts = {"encoder": words, "decoder": self._shifted(names)}
        attention = None if attention is None else attention[0].float().cpu()
        return Sentence(self._views(calls, texts), words, self._words(names), attention)

    def _translate(self, batch: Tensor, lengths: Tensor) -> Tensor:
        """The model's own translation, with the end of the sentence."""
        generator = self.task.build_generator([self.model], self._generation)
        sample = {"net_input": {"src_tokens": batch, "src_lengths": lengths}}
        with torch.no_grad():
            tokens: Tensor = self.task.inference_step(generator, [self.model], sample)[0][0][
                "tokens"
            ]
        return tokens.cpu()

    def _encode(self, text: str, dictionary: Dictionary) -> tuple[Tensor, list[str]]:
        """The tokens of a line with the end of the sentence, and their names."""
        segmented = self.bpe is None or "▁" in text or "@@ " in text
        text = " ".join(text.split())  # subword models read a tab or a no-break space as a letter
        pieces = (text if segmented else self.bpe.encode(text)).split()
        tokens = [dictionary.index(piece) for piece in pieces]
        # the word <pad> is no padding
        tokens = [dictionary.unk() if t == dictionary.pad() else t for t in tokens]
        unknown = dictionary.unk_string()
        names = [
            piece + UNKNOWN if token == dictionary.unk() and piece != unknown else piece
            for piece, token in zip(pieces, tokens, strict=True)
        ]
        eos = dictionary.eos()
        return torch.tensor([*tokens, eos]), [*names, dictionary[eos]]

    def _words(self, names: Sequence[str]) -> Text:
        return join_words(names, self.marks)

    def _shifted(self, names: Sequence[str]) -> Text:
        """The tokens that a decoder reads to predict `names`: it begins with the last one, </s>."""
        return self._words([names[-1], *names[:-1]])

    # Traces

    def _run(self, forward: Callable[[], Any]) -> tuple[list[list[Call]], Any]:
        """Run the model, and record how it called each of `self.layers`."""
        calls: list[list[Call]] = [[] for _ in self.layers]
        hooks = [
            layer.module.register_forward_pre_hook(_recorder(own), with_kwargs=True)
            for layer, own in zip(self.layers, calls, strict=True)
        ]
        try:
            with torch.no_grad():
                result = forward()
        finally:
            for hook in hooks:
                hook.remove()
        return calls, result

    def _views(self, calls: list[list[Call]], texts: dict[str, Text]) -> tuple[View, ...]:
        views: list[View] = []
        for layer, own in zip(self.layers, calls, strict=True):
            module = layer.module
            if not module.cell.has_memory or not own:
                continue
            x, hx, mask = _joined(own)
            with torch.no_grad():
                traces = [_on_cpu(one) for one in trace(module, x, hx, mask)]
            size = module.num_directions
            for k in range(module.num_layers):
                directions = tuple(traces[k * size : (k + 1) * size])
                views.append(View(layer.side, layer.number + k, texts[layer.side], directions))
        return tuple(views)


class Call(NamedTuple):
    """The arguments of a call of a `WsumLSTM`."""

    input: Tensor
    hx: State | None
    padding_mask: Tensor | None


class _Layer(NamedTuple):
    """A `WsumLSTM` of a model, which may have several layers."""

    side: str  # `encoder` or `decoder`
    number: int  # of its first layer within the side, from 1
    module: WsumLSTM


def _recorder(calls: list[Call]) -> Callable[..., None]:
    def record(layer: WsumLSTM, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = dict(zip(Call._fields, args, strict=False)) | kwargs
        calls.append(Call(given["input"], given.get("hx"), given.get("padding_mask")))

    return record


def _joined(calls: list[Call]) -> Call:
    """One call over the whole sentence, in place of one for each step (input feeding)."""
    masks = [call.padding_mask for call in calls if call.padding_mask is not None]
    mask = torch.cat(masks) if masks else None
    return Call(torch.cat([call.input for call in calls]), calls[0].hx, mask)


def _on_cpu(trace: Trace) -> Trace:
    parts = {field.name: getattr(trace, field.name) for field in fields(trace)}
    moved: dict[str, Any] = {
        name: part.cpu() for name, part in parts.items() if isinstance(part, Tensor)
    }
    rows = {row: z.cpu() for row, z in trace.preactivations.items()}
    return replace(trace, preactivations=rows, **moved)


def _layers(model: BaseFairseqModel) -> list[_Layer]:
    """The `WsumLSTM`s of a model, with their place in the encoder or the decoder."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, WsumLSTM):
            place = re.search(r"\.(\d+)\.", name)  # such as encoder.layers.2.self_attn.wsum
            found.append(_Layer(name.split(".")[0], int(place[1]) + 1 if place else 1, module))
    return found


def _check_cells(checkpoint: Path, architecture: str, layers: list[_Layer]) -> None:
    if not layers:
        raise ValueError(
            f"checkpoint {checkpoint}: no layer of this model ({architecture}) is a WsumLSTM: give "
            "a checkpoint of wsum_lstm or wsum_lstm_lm, or of wsum_transformer or "
            "wsum_transformer_lm with a recurrent layer"
        )
    cells = [layer.module.cell for layer in layers]
    if not any(cell.has_memory for cell in cells):
        names = ", ".join(sorted({cell.name for cell in cells}))
        raise ValueError(
            f"checkpoint {checkpoint}: cell {names} has no memory cell, so it computes no weighted "
            "sum and there are no weights to show"
        )


def _segmentation(name: str | None, model: Path | None, folder: Path) -> tuple[str | None, Any]:
    """The segmentation into subwords: its name and its encoder, or None, None."""
    if name is None and model is not None:
        raise ValueError("--bpe-model needs --bpe: choose sentencepiece or subword_nmt")
    prepared = folder / "spm.model"
    if model is None and name in (None, "sentencepiece") and prepared.is_file():
        name, model = "sentencepiece", prepared
    if name is None:
        return None, None
    if model is None:
        raise ValueError(f"--bpe {name} needs --bpe-model FILE")
    if not model.is_file():
        raise FileNotFoundError(f"--bpe-model {model}: there is no such file")
    option = {"sentencepiece": "sentencepiece_model", "subword_nmt": "bpe_codes"}[name]
    try:
        return name, encoders.build_bpe(OmegaConf.create({"_name": name, option: str(model)}))
    except (OSError, RuntimeError, ValueError) as error:  # what the libraries raise for other files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"--bpe-model {model}: not a model of {name} ({reason})") from error


def _marks(symbols: Sequence[str]) -> str | None:
    """How a dictionary marks subwords, for text that is segmented already; None for words."""
    if any(symbol.startswith("▁") for symbol in symbols):
        return "sentencepiece"
    return "subword_nmt" if any(symbol.endswith("@@") for symbol in symbols) else None
