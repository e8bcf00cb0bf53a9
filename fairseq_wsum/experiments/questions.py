"""Prepare questions for `--task wsum_span_prediction`: files like SQuAD 1.1's, and a dictionary."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from .corpora import Corpus, file_sha256, find_files
from .files import UserError, listed, versions
from .folder import import_fairseq, is_done, make_words, new_folder, write_record

NAMES = {"train": ["train*.json"], "valid": ["valid*.json"], "test": ["dev*.json", "test*.json"]}


def prepare(corpus: Corpus | None, args: argparse.Namespace) -> None:
    """Prepare a published corpus, or one's own files in --data."""
    name = "questions" if corpus is None else corpus.name
    settings: dict[str, Any] = {
        "corpus": name,
        "script": f"prepare {name}",
        "threshold": args.threshold,
        "valid_articles": args.valid_articles,
        "vectors": args.vectors and file_sha256(args.vectors),
    }
    own = None if corpus is not None else lambda: find_files(None, args, NAMES, ["valid"])[1]
    if is_done(args.out, settings, own):
        return
    import_fairseq()
    from ..plugin.data.questions import read_articles, read_questions

    with new_folder(args.out) as partial:
        paths, sums = find_files(corpus, args, NAMES, ["valid"])
        articles = {split: read_articles(path) for split, path in paths.items()}
        if "valid" not in articles:
            held_out = _held_out(len(articles["train"]), args.valid_articles, paths["train"])
            every = list(enumerate(articles["train"]))
            articles["valid"] = [one for k, one in every if k in held_out]
            articles["train"] = [one for k, one in every if k not in held_out]
        words: Counter[str] = Counter()
        others: Counter[str] = Counter()
        numbers, exact = {}, {}
        for split, own_articles in articles.items():
            path = paths.get(split, paths["train"])
            found = read_questions(path, with_answers=True, articles=own_articles)
            numbers[split] = len(found)
            exact[split] = sum(one.is_exact for one in found)
            texts = {text for one in found for text in (one.question, one.context)}
            counts = words if split == "train" else others
            counts.update(token.lower() for text in texts for token in text.tokens)
            content = json.dumps({"version": "1.1", "data": own_articles}, ensure_ascii=False)
            (partial / f"{split}.json").write_text(content, "utf-8")
        dictionary = make_words(words, others, args.threshold, args.vectors)
        dictionary.save(str(partial / "dict.txt"))
        record = {**settings, "questions": numbers, "exact": exact, "dictionary": len(dictionary)}
        package = versions("ve-fairseq", "fairseq-fixed", "fairseq")
        write_record(partial, {**record, "sha256": sums, "versions": package})
    print(f"{args.out}: questions: {listed(numbers)}; dictionary: {len(dictionary):,}")
    share = 100 * exact["train"] / numbers["train"]
    print(f"  {share:.1f} % of the training answers are whole tokens")


def _held_out(articles: int, number: int | None, path: Path) -> set[int]:
    """Which articles are for validation: as far from each other as possible in the file."""
    number = max(4, articles // 20) if number is None else number
    if number >= articles:
        raise UserError(
            f"{path} has {articles} articles, of which --valid-articles {number} leaves none for "
            "the training; give fewer, or a file valid.json"
        )
    return {(2 * k + 1) * articles // (2 * number) for k in range(number)}
