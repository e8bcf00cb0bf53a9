"""Reading a checkpoint, and running its model on sentences with a trace of every layer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq import utils
from fairseq.models import BaseFairseqModel, FairseqLanguageModel
from torch import Tensor

from ..layer import State, WsumLSTM
from ..plugin.data.treebank import Sentence as TreebankSentence
from ..plugin.loading import load_model
from ..plugin.modules.states import CarriedState
from .sentences import UNKNOWN, Sentence, Text, View, join_words
from .trace import Trace, trace
from .vocabulary import Tokens, Vocabulary

Sides = dict[str, Tokens]  # what the encoder and the decoder read


class Reader:
    """A checkpoint with its dictionaries, which turns text into traced sentences.

    Args:
        checkpoint: a checkpoint of a model whose layers are `WsumLSTM`s.
        data, user_dir, bpe_model, beam, device: the options of `fairseq-wsum weights`.

    Attributes:
        architecture: fairseq's name of the model's architecture.
        cell_names: the label of the cell of each side, even if it computes no weighted sum.
        vocabularies: the vocabulary of each side.
        has_decoder: whether the model has a decoder; otherwise its only side is the encoder.

    Raises:
        OSError, RuntimeError, ValueError: a file is missing or not usable, or no layer has weights.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        data: Path | None = None,
        user_dir: Path | None = None,
        bpe_model: Path | None = None,
        beam: int = 5,
        device: str = "cpu",
    ) -> None:
        self.model, cfg, self.task = load_model(checkpoint, device, user_dir, data=data)
        self.device = device
        self.architecture = str(cfg.model._name)
        self.layers = _layers(self.model)
        if not any(layer.module.cell.has_memory for layer in self.layers):
            raise ValueError(
                f"checkpoint {checkpoint}: no layer of this model ({self.architecture}) is a "
                "WsumLSTM with a memory cell, so there are no weights to show"
            )
        self.has_decoder = hasattr(self.model, "decoder")
        self.cell_names = {layer.side: layer.module.cell.label for layer in self.layers}
        dictionaries = {}
        if self.has_decoder:
            dictionaries["decoder"] = self.task.target_dictionary
        if not isinstance(self.model, FairseqLanguageModel):
            dictionaries["encoder"] = self.task.source_dictionary
        folder = data or Path(utils.split_paths(cfg.task.data)[0])
        self.vocabularies = {
            side: Vocabulary(dictionary, folder, bpe_model)
            for side, dictionary in dictionaries.items()
        }
        if bpe_model is not None and not any(one.bpe for one in self.vocabularies.values()):
            raise ValueError(f"--bpe-model {bpe_model}: no dictionary of the model has subwords")
        if getattr(cfg.task, "init_token", None) is not None:
            raise ValueError(f"checkpoint {checkpoint}: a text after --init-token cannot be traced")
        begins_with_bos = getattr(cfg.task, "add_bos_token", False)
        words = self.task.source_dictionary
        self._first = words.bos() if begins_with_bos else words.eos()  # that a decoder reads
        cfg.generation.beam = beam
        self._generation = cfg.generation

    def encode(self, given: str | TreebankSentence, target: str | None = None) -> Sides:
        """A sentence, and its translation or the question about it, as the model reads them.

        Raises:
            ValueError: there is a target, and this model has a single text, or no question.
        """
        split = getattr(self.task, "tokens_of", str.split)
        words = split(given) if isinstance(given, str) else given.words
        text = given if isinstance(given, str) else " ".join(words)
        texts = {"encoder": text, "decoder": target}
        if len(self.vocabularies) == 1:
            reads_question = getattr(self.task, "reads_question", False)
            if target is None and reads_question:
                raise ValueError("give the question about the sentence as --target-sentence")
            if target is not None and not reads_question:
                raise ValueError("this model has no --target-sentence and no --target")
            if hasattr(self.task, "sentence"):
                question = [] if target is None else [split(target)]
                if not all((words, *question)):
                    raise ValueError("the sentence, and a question about it, need a word each")
                # a parser may read tags
                read = words if reads_question or isinstance(given, str) else given
                return {"encoder": self._with_inputs(words, self.task.sentence(read, *question))}
            if len(text.split()) != len(words):
                raise ValueError(f"a word of {text!r} has a space, which this model cannot read")
            texts = dict.fromkeys(self.vocabularies, text)
        return {
            side: self.vocabularies[side].encode(text)
            for side, text in texts.items()
            if text is not None
        }

    def _with_inputs(self, words: list[str], inputs: dict[str, Tensor]) -> Tokens:
        """A sentence as a task of ours reads it, with all that the model gets."""
        dictionary = self.task.source_dictionary
        (indices,) = inputs["src_tokens"]
        before = [dictionary[int(k)] for k in indices[: len(indices) - len(words)]]
        names = [
            word + UNKNOWN * (int(k) == dictionary.unk())
            for word, k in zip([*before, *words], indices, strict=True)
        ]
        return Tokens(indices, join_words(names, None), inputs)

    def sentences(self, lines: Iterable[Sides], carry_state: bool = False) -> Iterator[Sentence]:
        """Run the model on each line.

        Args:
            lines: the lines, from `encode`.
            carry_state: whether a language model begins each line with the state after the line
                before.

        Raises:
            ValueError: `carry_state` for a model that carries no state, or a sentence that is
                longer than the model's positional embeddings.
        """
        if carry_state and not getattr(self.model, "carries_state", False):
            raise ValueError("--carry-state: this model does not carry a state")
        given = {"carried_state": CarriedState()} if carry_state else {}
        for sides in lines:
            try:
                sentence = self._sentence(sides, given)
            except IndexError as error:  # of learned positional embeddings
                raise ValueError(
                    "a sentence has more tokens than the model has positions"
                ) from error
            yield sentence

    def _sentence(self, sides: Sides, given: dict[str, CarriedState]) -> Sentence:
        source, target = sides.get("encoder"), sides.get("decoder")
        inputs: list[Tensor] = []
        if source is not None:
            batch = source.indices.unsqueeze(0).to(self.device)
            inputs = [batch, torch.tensor([batch.size(1)], device=self.device)]
        if not self.has_decoder:
            assert source is not None
            named = {name: part.to(self.device) for name, part in (source.inputs or {}).items()}
            calls, _ = self._run(**named) if named else self._run(*inputs)
            calls = [own[:1] for own in calls]  # a layer that reads the question, too, does so last
            return Sentence(self._views(calls, {"encoder": source.text}), None, source.text, None)
        vocabulary = self.vocabularies["decoder"]
        dictionary = vocabulary.dictionary
        if target is None:
            indices = self._translation(*inputs)
            target = Tokens(indices, vocabulary.join([dictionary[int(k)] for k in indices]))
        read = torch.cat((torch.tensor([self._first]), target.indices[:-1]))
        calls, (_, extra) = self._run(*inputs, read.unsqueeze(0).to(self.device), **given)
        texts = {"decoder": vocabulary.join([dictionary[self._first], *target.text.tokens[:-1]])}
        if source is None:
            return Sentence(self._views(calls, texts), None, target.text, None)
        texts["encoder"] = source.text
        attention = extra["attn"][0] if isinstance(extra, dict) else extra  # of a Transformer
        attention = None if attention is None else attention[0].float().cpu()
        return Sentence(self._views(calls, texts), source.text, target.text, attention)

    def _translation(self, batch: Tensor, lengths: Tensor) -> Tensor:
        """The model's own translation, with the end of the sentence."""
        generator = self.task.build_generator([self.model], self._generation)
        sample = {"net_input": {"src_tokens": batch, "src_lengths": lengths}}
        ((best, *_),) = self.task.inference_step(generator, [self.model], sample)
        return best["tokens"].cpu()

    def _run(self, *inputs: Tensor, **given: Any) -> tuple[list[list[Call]], Any]:
        """Run the model, and record how it called each of `self.layers`."""
        calls: list[list[Call]] = [[] for _ in self.layers]
        with contextlib.ExitStack() as hooks, torch.no_grad():
            for layer, own in zip(self.layers, calls, strict=True):
                hook = layer.module.register_forward_pre_hook(_recorder(own), with_kwargs=True)
                hooks.enter_context(hook)
            return calls, self.model(*inputs, **given)

    def _views(self, calls: list[list[Call]], texts: dict[str, Text]) -> tuple[View, ...]:
        views: list[View] = []
        for (side, number, module), own in zip(self.layers, calls, strict=True):
            if not module.cell.has_memory:
                continue
            # one call over the whole sentence, in place of one for each step (input feeding)
            masks = [call.padding_mask for call in own if call.padding_mask is not None]
            mask = torch.cat(masks) if masks else None
            with torch.no_grad():
                traces = trace(module, torch.cat([call.input for call in own]), own[0].hx, mask)
            traces = [Trace(**utils.move_to_cpu(vars(one))) for one in traces]
            size = module.num_directions
            for k in range(module.num_layers):
                directions = tuple(traces[k * size : (k + 1) * size])
                if not all(one.cells.isfinite().all() for one in directions):
                    raise ValueError(
                        f"layer {number + k} of the {side}: its memory is not finite; did the "
                        "training diverge?"
                    )
                views.append(View(side, number + k, texts[side], directions))
        return tuple(views)


class Call(NamedTuple):
    """The arguments of a call of a `WsumLSTM`."""

    input: Tensor
    hx: State | None = None
    padding_mask: Tensor | None = None


def _recorder(calls: list[Call]) -> Callable[..., None]:
    return lambda _, args, kwargs: calls.append(Call(*args, **kwargs))


class _Layer(NamedTuple):
    """A `WsumLSTM` of a model, which may have several layers."""

    side: str  # `encoder` or `decoder`
    number: int  # of its first layer within the side, from 1
    module: WsumLSTM


def _layers(model: BaseFairseqModel) -> list[_Layer]:
    """The `WsumLSTM`s of a model, with their place in the encoder or the decoder."""
    found: list[_Layer] = []
    for name, module in model.named_modules():
        if isinstance(module, WsumLSTM):
            side = name.split(".")[0]
            side = side if side in ("encoder", "decoder") else "encoder"
            place = re.search(r"\.(\d+)\.", name)  # such as encoder.layers.2.self_attn.wsum
            before = sum(one.module.num_layers for one in found if one.side == side)
            found.append(_Layer(side, 1 + (int(place[1]) if place else before), module))
    return found
