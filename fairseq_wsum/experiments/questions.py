"""Prepare questions for `--task wsum_span_prediction`: files like SQuAD 1.1's, and a dictionary."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from .corpora import Corpus, file_sha256, read_text
from .files import UserError, listed, sha256, versions
from .folder import (
    import_fairseq,
    is_done,
    make_dictionary,
    new_folder,
    words_with_vectors,
    write_record,
)

NAMES = {"train": ("train",), "valid": ("valid",), "test": ("dev", "test")}  # of own files


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
    own = None if corpus is not None else lambda: _sums(own_files(args.data))
    if is_done(args.out, settings, own):
        return
    import_fairseq()
    from ..plugin.data.questions import read_articles, read_questions

    with new_folder(args.out) as partial:
        if corpus is None:
            paths = own_files(args.data)
        else:
            names = corpus.splits.items()
            paths = {split: corpus.find(one, args.data, args.cache) for split, (one,) in names}
        sums = _sums(paths)
        if corpus is not None:
            for split, path in paths.items():
                corpus.check(corpus.splits[split][0], sums[split], path, args.data)
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
        kept = Counter({word: n for word, n in words.items() if n >= args.threshold})
        if args.vectors is not None:
            kept |= words_with_vectors(args.vectors, {**others, **words})
        dictionary = make_dictionary(kept, 1, None, padding=1)
        dictionary.save(str(partial / "dict.txt"))
        record = {**settings, "questions": numbers, "exact": exact, "dictionary": len(dictionary)}
        package = versions("ve-fairseq", "fairseq-fixed", "fairseq")
        write_record(partial, {**record, "sha256": sums, "versions": package})
    print(f"{args.out}: questions: {listed(numbers)}; dictionary: {len(dictionary):,}")
    share = 100 * exact["train"] / numbers["train"]
    print(f"  {share:.1f} % of the training answers are whole tokens")


def own_files(data: Path) -> dict[str, Path]:
    """One's own files, such as train-v1.1.json and dev-v1.1.json, or the .gz of each."""
    found = {}
    for split, begins in NAMES.items():
        matching = [
            path
            for begin in begins
            for ending in ("json", "json.gz")
            for path in sorted(data.glob(f"{begin}*.{ending}"))
        ]
        if len(matching) > 1 or (not matching and split != "valid"):
            names = " or ".join(f"{begin}*.json" for begin in begins)
            raise UserError(f"--data {data} has {len(matching)} files {names} (or .gz); keep one")
        if matching:
            found[split] = matching[0]
    return found


def _held_out(articles: int, number: int | None, path: Path) -> set[int]:
    """Which articles are for validation: as far from each other as possible in the file."""
    number = max(4, articles // 20) if number is None else number
    if number >= articles:
        raise UserError(
            f"{path} has {articles} articles, of which --valid-articles {number} leaves none for "
            "the training; give fewer, or a file valid.json"
        )
    return {(2 * k + 1) * articles // (2 * number) for k in range(number)}


def _sums(paths: dict[str, Path]) -> dict[str, str]:
    """The SHA-256 of the text of each file."""
    return {split: sha256(read_text(path)) for split, path in paths.items()}
