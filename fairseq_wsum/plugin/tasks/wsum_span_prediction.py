"""`--task wsum_span_prediction`: models that answer a question with a part of a context."""

# Without `from __future__ import annotations`: fairseq needs the types of the options.
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask, register_task
from omegaconf import MISSING

from ..data.questions import Question, QuestionDataset, Text, read_questions
from ..models.fields import check_limits, option, size
from ..modules.attention_flow import best_spans

logger = logging.getLogger(__name__)


@dataclass
class WsumSpanPredictionConfig(FairseqDataclass):
    """The options."""

    data: str = option(MISSING, "folder made by fairseq-wsum prepare questions or squad")
    max_source_positions: int = size(
        400, "leave out of the training the questions whose context has more tokens"
    )


@register_task("wsum_span_prediction", dataclass=WsumSpanPredictionConfig)
class WsumSpanPredictionTask(FairseqTask):
    """Question answering with a part of a given context."""

    reads_question = True
    source_dictionary: Any = None  # of words in lower case; a property in fairseq

    def __init__(self, cfg: WsumSpanPredictionConfig, **unused: Any) -> None:
        super().__init__(cfg)
        check_limits(WsumSpanPredictionConfig, cfg)
        self.source_dictionary = self.load_dictionary(str(Path(cfg.data, "dict.txt")))

    def load_dataset(self, split: str, combine: bool = False, **unused: Any) -> None:
        """Read SPLIT.json of the data folder; see `read_questions`.

        Long contexts are left out of the split `train`.
        """
        path = Path(self.cfg.data, f"{split}.json")
        found = read_questions(path, with_answers=True)
        limit = self.cfg.max_source_positions if split == "train" else math.inf
        kept = [one for one in found if len(one.context.tokens) <= limit]
        if found and not kept:
            raise ValueError(f"{path}: all contexts are longer than --max-source-positions {limit}")
        self.datasets[split] = QuestionDataset(kept, self.source_dictionary)
        logger.info(
            "%s: %d questions, and %d with longer contexts", path, len(kept), len(found) - len(kept)
        )

    def tokens_of(self, text: str) -> list[str]:
        """The tokens of a context or a question."""
        return Text.of(text).tokens

    def sentence(self, words: Iterable[str], question: Iterable[str] = ()) -> dict[str, Any]:
        """What the model reads of the tokens of a single context and of a question about it."""
        about, context = (Text("", [*tokens], []) for tokens in (question, words))
        dataset = QuestionDataset(
            [Question("", about, context, (), (0, 0))], self.source_dictionary
        )
        return dataset.collater([dataset[0]])["net_input"]

    @torch.no_grad()
    def answer(self, model: Any, questions: Sequence[Question]) -> dict[str, str]:
        """The answer of a model to each question, by its id: the best span of `best_spans`."""
        found = {}
        for batch in QuestionDataset(questions, self.source_dictionary).batches(model):
            spans = best_spans(*model(**batch["net_input"])).tolist()
            for one, span in zip(batch["questions"], spans, strict=True):
                found[one.id] = one.context.part(*span)
        return found
