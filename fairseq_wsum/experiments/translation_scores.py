"""Scores of translations in both forms of the text, with sacrebleu."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU, CHRF
from sacremoses import MosesDetokenizer, MosesPunctNormalizer, MosesTokenizer

from .corpora.folder import UNKNOWN
from .program import UserError
from .text_files import language_of, lines_of

ESCAPED = re.compile(r"&(?:amp|apos|gt|lt|quot|#\d+);")  # as Moses writes special characters


def replace_unknown(sentences: list[str], alignments: list[str], source: list[str]) -> list[str]:
    """Replace every <unk> by the aligned source word. An alignment is "source-target ..."."""
    done = []
    for sentence, alignment, words in zip(sentences, alignments, source, strict=True):
        pairs = (pair.split("-") for pair in alignment.split())
        aligned = {int(target): int(source_word) for source_word, target in pairs}
        original = words.split()
        done.append(
            " ".join(
                original[aligned[i]] if token == UNKNOWN and i in aligned else token
                for i, token in enumerate(sentence.split())
            )
        )
    return done


def detokenised(sentences: list[str], prepared: dict[str, str]) -> list[str]:
    if prepared["text"] == "raw" and prepared["units"] == "bpe":
        return sentences  # the text was never tokenised
    moses = MosesDetokenizer(lang=language_of(prepared["target_lang"]))
    return [moses.detokenize(sentence.split()) for sentence in sentences]


def lower_cased_tokens(sentences: list[str], lang: str, reference: Path) -> list[str]:
    """Tokens like those of a reference, which may have Moses' escapes, such as &apos;."""
    escape = reference.is_file() and any(map(ESCAPED.search, lines_of(reference)))
    lang = language_of(lang)
    normalise, moses = MosesPunctNormalizer(lang=lang), MosesTokenizer(lang=lang)
    return [
        moses.tokenize(normalise.normalize(sentence.lower()), return_str=True, escape=escape)
        for sentence in sentences
    ]


def both_ways(
    sentences: list[str],
    detok: list[str],
    prepared: dict[str, str],
    references: Path,
    subset: str,
) -> list[dict[str, Any]]:
    """The scores, first those on the form of the text that the system was trained on.

    A form without a reference is left out. Each has the form of the `text`, the `metric`, the
    `score`, sacrebleu's `signature` of how it computed it, and the name of the `reference`.
    """
    target = prepared["target_lang"]
    # without `tokenize`, sacrebleu chooses by the language: 13a for most
    tokens: dict[str, Any] = {"tokenize": "none", "force": True}
    # description, the system's sentences, form of the reference, lower case, options of BLEU
    if prepared["text"] == "lc.norm.tok":
        ways = [
            ("lower-cased tokens", sentences, "lc.norm.tok", False, tokens),
            ("detokenised, lower-cased", detok, "raw", True, {}),
            ("detokenised, cased (the system writes no case)", detok, "raw", False, {}),
        ]
    else:
        approximate = "lower-cased tokens, approximate: tokenised by sacremoses"
        system = lower_cased_tokens(detok, target, references / f"{subset}.lc.norm.tok.{target}")
        ways = [
            ("detokenised, cased", detok, "raw", False, {}),
            (approximate, system, "lc.norm.tok", False, tokens),
        ]
    figures = []
    for text, system, reference, lower, options in ways:
        path = references / f"{subset}.{reference}.{target}"
        if not path.is_file():
            continue
        right = lines_of(path)
        if len(right) != len(system):  # sacrebleu would silently score the first ones
            raise UserError(
                f"{path} has {len(right)} lines for {len(system)} translations: prepare the data "
                "again from files with the same sentences in both forms"
            )
        bleu = BLEU(lowercase=lower, trg_lang=language_of(target), **options)
        for metric in (bleu, CHRF(lowercase=lower)):
            result = metric.corpus_score(system, [right])
            figure = {"text": text, "metric": result.name, "score": result.score}
            signature = str(metric.get_signature())
            figures.append({**figure, "signature": signature, "reference": path.name})
    return figures
