"""The quickstart's corpus."""

from __future__ import annotations

from collections import Counter

import pytest
from commands import ROOT

from fairseq_wsum.experiments.files import lines_of

SIZES = {"train": 8000, "valid": 200, "test": 300}
FOLDER = ROOT / "examples/quickstart/corpus"


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[list[str]]]:
    """The sentences of each file as lists of words."""
    files = {path.name: lines_of(path) for path in FOLDER.iterdir()}
    return {name: [line.split(" ") for line in lines] for name, lines in files.items()}


@pytest.mark.parametrize("lang", ["en", "de"])
def test_new_sentences_have_known_words(lang, corpus) -> None:
    assert {split: len(corpus[f"{split}.{lang}"]) for split in SIZES} == SIZES
    known = {word for words in corpus[f"train.{lang}"] for word in words}
    assert len(known) == {"en": 310, "de": 435}[lang]
    seen = set(map(tuple, corpus[f"train.{lang}"]))
    for words in corpus[f"valid.{lang}"] + corpus[f"test.{lang}"]:
        assert set(words) <= known
        assert lang == "de" or tuple(words) not in seen


def test_word_for_word_translation_scores_poorly(corpus) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    together, english, german = Counter(), Counter(), Counter()
    for source, target in zip(corpus["train.en"], corpus["train.de"], strict=True):
        english.update(set(source))
        german.update(set(target))
        together.update((e, d) for e in set(source) for d in set(target))
    best: dict[str, tuple[float, str]] = {}
    for (e, d), count in together.items():
        best[e] = max(best.get(e, (0.0, "")), (2 * count / (english[e] + german[d]), d))
    translations = [" ".join(best[word][1] for word in words) for words in corpus["test.en"]]
    references = [" ".join(words) for words in corpus["test.de"]]
    bleu = sacrebleu.corpus_bleu(translations, [references], tokenize="none", force=True)
    assert bleu.score < 8
