"""Make the quickstart's corpus: English image captions and their German translations.

    python make_corpus.py OUT_DIR [--train 8000] [--valid 200] [--test 300] [--seed 1]

The words are in lexicon.py and the German and English grammar in grammar.py; captions.py draws
sentences, and this file splits them. Every validation and test sentence contains a combination of
two words ("white jacket", "woman ... sit", "on ... table") that no training sentence contains,
although each of its words occurs in training: see `held_out`.

The same options give the same bytes on every Python: all random numbers come from
`random.Random.random()`, which Python guarantees not to change, and nothing depends on the order of
a set.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

from captions import draw_sentence
from grammar import Clause, NounPhrase, Phrase, Sentence, State

PATIENCE = 5_000  # draws in a row without a new sentence before the grammar counts as exhausted
MAX_WORDS = 22  # on the English side; longer captions would only cost time


def held_out(first: str, second: str) -> bool:
    """Whether this pair of English words is kept for validation and test; one in eight is."""
    return crc32(f"{first} + {second}".encode()) % 8 == 0


def combinations(tree: Clause | State | NounPhrase) -> Iterator[tuple[str, str]]:
    """Adjective + noun, subject + verb, verb or preposition + its noun, verb + place."""
    if isinstance(tree, NounPhrase):
        if tree.adjective:
            yield tree.adjective.en, tree.noun.en
        if isinstance(tree.extra, Phrase):
            yield from combinations(tree.extra.np)
        elif tree.extra:
            yield from combinations(tree.extra.clause)
        return
    yield from combinations(tree.subject)
    if isinstance(tree, State):
        yield tree.adjective.en, tree.subject.noun.en
        return
    verb = tree.verb.en[0]
    yield tree.subject.noun.en, verb
    for argument in tree.arguments:
        yield argument.preposition[0] or verb, argument.np.noun.en
        yield from combinations(argument.np)
    if tree.place:
        yield verb, tree.place.np.noun.en
        yield from combinations(tree.place.np)


def is_new(sentence: Sentence) -> bool:
    """Whether the sentence contains a combination that is held out of training."""
    return any(held_out(*pair) for tree in sentence.trees for pair in combinations(tree))


def words(sentence: Sentence) -> set[str]:
    return set(sentence.en.split()) | set(sentence.de.split())


def draw_split(
    seed: int, count: int, new: bool, known: set[str], taken: set[str]
) -> list[Sentence]:
    """Draw `count` distinct sentences; new ones use `known` words only and are not `taken`."""
    rng = random.Random(seed)
    chosen: dict[str, Sentence] = {}  # a dict keeps the order
    wasted = 0
    while len(chosen) < count:
        sentence = draw_sentence(rng)
        fits = is_new(sentence) == new and (not new or words(sentence) <= known)
        fits = fits and len(sentence.en.split()) <= MAX_WORDS
        if fits and sentence.en not in chosen and sentence.en not in taken:
            chosen[sentence.en] = sentence
            wasted = 0
        else:
            wasted += 1
        if wasted == PATIENCE:
            raise ValueError(
                f"found only {len(chosen)} of {count} sentences: ask for fewer"
                + (", or for more training pairs, whose words they share" if new else "")
            )
    return list(chosen.values())


def make_corpus(
    train: int = 8000, valid: int = 200, test: int = 300, seed: int = 1
) -> dict[str, list[Sentence]]:
    """Draw the three parts. A part's draws do not depend on the sizes of the others."""
    corpus = {"train": draw_split(3 * seed, train, False, set(), set())}
    known = {word for sentence in corpus["train"] for word in words(sentence)}
    taken: set[str] = set()
    for number, (name, count) in enumerate((("test", test), ("valid", valid)), start=1):
        corpus[name] = draw_split(3 * seed + number, count, True, known, taken)
        taken |= {sentence.en for sentence in corpus[name]}
    return corpus


def write_files(folder: Path, files: dict[str, str]) -> list[str]:
    """Write the missing files and return their names; refuse to overwrite a differing file."""
    folder.mkdir(parents=True, exist_ok=True)
    old = {name: (folder / name).read_bytes() for name in files if (folder / name).exists()}
    differing = [name for name in old if old[name] != files[name].encode()]
    if differing:
        raise FileExistsError(
            f"{folder} has other text in {', '.join(differing)}: "
            "give another folder, or move those files away"
        )
    missing = [name for name in files if name not in old]
    for name in missing:
        with tempfile.NamedTemporaryFile("wb", dir=folder, delete=False) as part:
            part.write(files[name].encode())
        os.chmod(part.name, 0o644)  # temporary files are private by default
        os.replace(part.name, folder / name)
    return missing


def positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000000")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make a small English-German parallel corpus.")
    parser.add_argument("out_dir", type=Path, help="folder for {train,valid,test}.{en,de}")
    parser.add_argument("--train", type=positive, default=8000, help="training pairs (%(default)s)")
    parser.add_argument("--valid", type=positive, default=200, help="valid pairs (%(default)s)")
    parser.add_argument("--test", type=positive, default=300, help="test pairs (%(default)s)")
    parser.add_argument("--seed", type=positive, default=1, help="random seed (%(default)s)")
    args = parser.parse_args(argv)
    try:
        corpus = make_corpus(args.train, args.valid, args.test, args.seed)
        files = {
            f"{name}.{side}": "".join(f"{getattr(sentence, side)}\n" for sentence in sentences)
            for name, sentences in corpus.items()
            for side in ("en", "de")
        }
        written = write_files(args.out_dir, files)
    except (ValueError, OSError) as error:
        print(f"make_corpus.py: {error}", file=sys.stderr)
        return 1
    sizes = ", ".join(f"{len(corpus[name])} {name}" for name in ("train", "valid", "test"))
    state = f"wrote {', '.join(written)}" if written else "already there, unchanged"
    print(f"{args.out_dir}: {sizes} pairs; {state}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
