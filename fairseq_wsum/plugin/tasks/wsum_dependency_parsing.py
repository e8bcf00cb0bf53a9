"""`--task wsum_dependency_parsing`: parsers trained on a treebank in CoNLL-U."""

# Without `from __future__ import annotations`: fairseq needs the types of the options.
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask, register_task
from omegaconf import MISSING

from ..data.treebank import Sentence, TreebankDataset, read_treebank
from ..models.fields import check_limits, option

TAGS = ("none", "upos", "xpos")
logger = logging.getLogger(__name__)


@dataclass
class WsumDependencyParsingConfig(FairseqDataclass):
    """The options."""

    data: str = option(MISSING, "folder made by fairseq-wsum prepare treebank or ewt")
    tags: str = option(
        "none",
        "tags that the model reads beside words: upos or xpos, the columns of the treebank, or "
        "none",
        one_of=lambda: TAGS,
    )


@register_task("wsum_dependency_parsing", dataclass=WsumDependencyParsingConfig)
class WsumDependencyParsingTask(FairseqTask):
    """Dependency parsing of sentences whose words are given."""

    source_dictionary: Any = None  # of words in lower case; a property in fairseq
    tags: tuple[Dictionary, str] | None  # with the name of their column

    def __init__(self, cfg: WsumDependencyParsingConfig, **unused: Any) -> None:
        super().__init__(cfg)
        check_limits(WsumDependencyParsingConfig, cfg)
        import_module("ufal.chu_liu_edmonds")  # else it would be missing in the first validation
        self.source_dictionary = self._load("dict.txt")
        self.relation_dictionary = self._load("dict.deprel.txt")
        self.tags = None if cfg.tags == "none" else (self._load(f"dict.{cfg.tags}.txt"), cfg.tags)
        if self.tags is not None and {*self.tags[0].symbols[self.tags[0].nspecial :]} <= {"_"}:
            raise ValueError(f"--tags {cfg.tags}: this column of the treebank has no tags")

    def _load(self, name: str) -> Dictionary:
        return self.load_dictionary(str(Path(self.cfg.data, name)))

    def load_dataset(self, split: str, combine: bool = False, **unused: Any) -> None:
        """Read SPLIT.conllu of the data folder; see `read_treebank`."""
        path = Path(self.cfg.data, f"{split}.conllu")
        self.datasets[split] = self.treebank([*read_treebank(path, with_trees=True)])
        logger.info("%s: %d sentences", path, len(self.datasets[split]))

    def treebank(self, sentences: Sequence[Sentence]) -> TreebankDataset:
        """The sentences of a treebank as a dataset."""
        return TreebankDataset(
            sentences, self.source_dictionary, self.relation_dictionary, self.tags
        )

    def sentence(self, given: Iterable[str] | Sentence) -> dict[str, Any]:
        """What the model reads of a single sentence, or of its words.

        Raises:
            ValueError: the model reads tags, too, and there are words alone.
        """
        if not isinstance(given, Sentence):
            if self.tags is not None:
                raise ValueError(f"the model reads tags ({self.tags[1]}), and has words alone here")
            given = Sentence.of(given)
        dataset = self.treebank([given])
        return dataset.collater([dataset[0]])["net_input"]

    @torch.no_grad()
    def parse(self, model: Any, sentences: Sequence[Sentence]) -> None:
        """Replace the heads and relations of sentences by those of a model."""
        symbols = self.relation_dictionary
        for batch in self.treebank(sentences).batches(model):
            found = (batch["id"], *model.parse(model(**batch["net_input"])))
            for k, heads, relations in zip(*(part.tolist() for part in found), strict=True):
                words = slice(1, len(sentences[k].tokens) + 1)
                sentences[k].set_tree(heads[words], [symbols[r] for r in relations[words]])
