"""Reading a checkpoint, and running its model on sentences with a trace of every layer."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq import checkpoint_utils, utils
from fairseq.models import BaseFairseqModel, FairseqLanguageModel
from torch import Tensor

from .. import plugin  # noqa: F401  # registers the architectures
from ..layer import State, WsumLSTM
from ..plugin.modules import CarriedState
from .sentences import Line, Sentence, Text, View
from .trace import Trace, trace
from .vocabulary import Tokens, Vocabulary, segmentation

Sides = dict[str, Tokens]  # what the encoder and the decoder read, as far as it is given


class Reader:
    """A checkpoint with its dictionaries, which turns lines into traced sentences.

    Args:
        checkpoint: a checkpoint of a model whose layers are `WsumLSTM`s.
        data: the folder with the model's dictionaries, by default that of its training.
        source_lang: the source language of a translation model, and
        target_lang: its target language; by default those of the data in the folder. A folder with
            dictionaries alone does not name them.
        user_dir: a folder with code of the user, such as a cell, to import before.
        bpe: fairseq's name of the segmentation, and
        bpe_model: its model; see `segmentation`.
        beam: beam size for the model's own translations.
        device: the device to run on.

    Attributes:
        architecture: fairseq's name of the model's architecture.
        cell_names: the label of the cell of each side, even if it computes no weighted sum.
        vocabulary: its dictionaries and the segmentation of its text.

    Raises:
        OSError, RuntimeError, ValueError: a file is missing or not usable, or no layer has weights.
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
        if user_dir is not None:
            utils.import_user_module(Namespace(user_dir=str(user_dir)))
        # Neither the files from which the embeddings came are needed, nor the training's backend.
        overrides: dict[str, str | None] = dict.fromkeys(
            ("encoder_embed_path", "decoder_embed_path")
        )
        overrides["lstm_backend"] = "auto"
        given = {"data": data, "source_lang": source_lang, "target_lang": target_lang}
        overrides |= {name: str(value) for name, value in given.items() if value is not None}
        try:
            (self.model,), cfg, self.task = checkpoint_utils.load_model_ensemble_and_task(
                [str(checkpoint)], arg_overrides=overrides
            )
        except Exception as error:  # fairseq has no type for unknown languages
            if not isinstance(error, FileNotFoundError) and "language pair" not in str(error):
                raise
            raise ValueError(
                f"{error}: give the folder of the model's data with --data; if it has dictionaries "
                "only, give --source-lang and --target-lang, too"
            ) from error
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise ValueError(
                f"checkpoint {checkpoint}: not all of its parameters are finite: its training has "
                "diverged"
            )
        self.model.to(device).eval()
        self.device = device
        self.architecture = str(getattr(cfg.model, "_name", None) or cfg.model.arch)
        self.layers = _layers(self.model)
        if not any(layer.module.cell.has_memory for layer in self.layers):
            raise ValueError(
                f"checkpoint {checkpoint}: no layer of this model ({self.architecture}) is a "
                "WsumLSTM with a memory cell, so there are no weights to show"
            )
        self.cell_names = {layer.side: layer.module.cell.label for layer in self.layers}
        self.is_language_model = isinstance(self.model, FairseqLanguageModel)
        dictionaries = {"decoder": self.task.target_dictionary}
        if not self.is_language_model:
            dictionaries["encoder"] = self.task.source_dictionary
        folder = data or Path(utils.split_paths(cfg.task.data)[0])
        self.vocabulary = Vocabulary(dictionaries, segmentation(bpe, bpe_model, folder))
        cfg.generation.beam = beam
        self._generation = cfg.generation

    def encode(self, line: Line) -> Sides:
        """A line as the model reads it.

        Raises:
            ValueError: the line has a target, and this is a language model.
        """
        if not self.is_language_model:
            texts = {"encoder": line.text, "decoder": line.target}
        elif line.target is None:
            texts = {"decoder": line.text}
        else:
            raise ValueError("a language model has no --target-sentence and no --target: omit them")
        return {
            side: self.vocabulary.encode(side, text)
            for side, text in texts.items()
            if text is not None
        }

    def sentences(self, lines: Iterable[Sides], carry_state: bool = False) -> Iterator[Sentence]:
        """Run the model on each line.

        Args:
            lines: the lines, from `encode`.
            carry_state: whether a language model begins each line with the state after the line
                before.

        Raises:
            ValueError: `carry_state` for a model that carries no state.
        """
        if carry_state and not getattr(self.model, "carries_state", False):
            raise ValueError("--carry-state: this model does not carry a state; omit the option")
        carried = CarriedState() if carry_state else None
        for sides in lines:
            if self.is_language_model:
                yield self._text(sides["decoder"], carried)
            else:
                yield self._translation(sides["encoder"], sides.get("decoder"))

    def _text(self, tokens: Tokens, carried: CarriedState | None) -> Sentence:
        dictionary = self.vocabulary.dictionaries["decoder"]
        begins_with_bos = getattr(self.task.args, "add_bos_token", False)
        first = dictionary.bos() if begins_with_bos else dictionary.eos()
        inputs = torch.cat((torch.tensor([first]), tokens.indices[:-1])).unsqueeze(0)
        given = {} if carried is None else {"carried_state": carried}
        calls, _ = self._run(lambda: self.model(inputs.to(self.device), **given))
        texts = {"decoder": self._read(tokens.text, dictionary[first])}
        return Sentence(self._views(calls, texts), None, tokens.text, None)

    def _translation(self, source: Tokens, target: Tokens | None) -> Sentence:
        batch = source.indices.unsqueeze(0).to(self.device)
        lengths = torch.tensor([batch.size(1)], device=self.device)
        if target is None:
            indices = self._translate(batch, lengths)
            target = Tokens(indices, self.vocabulary.name("decoder", indices))
        inputs = target.indices.roll(1).unsqueeze(0).to(self.device)
        calls, (_, attention) = self._run(lambda: self.model(batch, lengths, inputs))
        if isinstance(attention, dict):  # of a Transformer
            (attention,) = attention["attn"]
        texts = {"encoder": source.text, "decoder": self._read(target.text, target.text.tokens[-1])}
        attention = None if attention is None else attention[0].float().cpu()
        return Sentence(self._views(calls, texts), source.text, target.text, attention)

    def _translate(self, batch: Tensor, lengths: Tensor) -> Tensor:
        """The model's own translation, with the end of the sentence."""
        generator = self.task.build_generator([self.model], self._generation)
        sample = {"net_input": {"src_tokens": batch, "src_lengths": lengths}}
        ((best, *_),) = self.task.inference_step(generator, [self.model], sample)
        tokens: Tensor = best["tokens"]
        return tokens.cpu()

    def _read(self, predicted: Text, first: str) -> Text:
        """The tokens that a decoder reads to predict these, of which the first is given."""
        return self.vocabulary.join("decoder", [first, *predicted.tokens[:-1]])

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
        for (side, number, module), own in zip(self.layers, calls, strict=True):
            if not module.cell.has_memory or not own:
                continue
            with torch.no_grad():
                traces = [_on_cpu(one) for one in trace(module, *_joined(own))]
            size = module.num_directions
            for k in range(module.num_layers):
                directions = tuple(traces[k * size : (k + 1) * size])
                views.append(View(side, number + k, texts[side], directions))
        return tuple(views)


class Call(NamedTuple):
    """The arguments of a call of a `WsumLSTM`."""

    input: Tensor
    hx: State | None = None
    padding_mask: Tensor | None = None


class _Layer(NamedTuple):
    """A `WsumLSTM` of a model, which may have several layers."""

    side: str  # `encoder` or `decoder`
    number: int  # of its first layer within the side, from 1
    module: WsumLSTM


def _layers(model: BaseFairseqModel) -> list[_Layer]:
    """The `WsumLSTM`s of a model, with their place in the encoder or the decoder."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, WsumLSTM):
            place = re.search(r"\.(\d+)\.", name)  # such as encoder.layers.2.self_attn.wsum
            found.append(_Layer(name.split(".")[0], int(place[1]) + 1 if place else 1, module))
    return found


def _recorder(calls: list[Call]) -> Callable[..., None]:
    return lambda _, args, kwargs: calls.append(Call(*args, **kwargs))


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
