"""`fairseq-wsum parse`: write the dependency trees of sentences as CoNLL-U."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import opened
from .model import load_model, model_parser, write
from .program import UserError

if TYPE_CHECKING:
    from ..plugin.data.treebank import Sentence

DESCRIPTION = """\
Parse sentences with a model of --arch wsum_biaffine_parser, and write their trees as CoNLL-U. The
input is CoNLL-U, of which HEAD and DEPREL are replaced and everything else is kept, or text: one
sentence a line, its words and punctuation marks separated by spaces."""
EPILOG = """\
examples:
  echo 'The hymn was sung .' | fairseq-wsum parse runs/ewt/lstm/epochs-25-seed-1/checkpoint_best.pt
  fairseq-wsum parse runs/ewt/lstm/epochs-25-seed-1/checkpoint_best.pt \\
      --input en_ewt-ud-test.conllu --scores --output parsed.conllu"""


def main(given: Sequence[str]) -> None:
    """Parse with a command line."""
    parser = model_parser("parse", DESCRIPTION, EPILOG)
    help = "the sentences: FILE.conllu, FILE.conllu.gz, or a text (default: text from stdin)"
    parser.add_argument("--input", type=Path, metavar="FILE", help=help)
    help = "compare the trees with those of the input, and print the attachment scores to stderr"
    parser.add_argument("--scores", action="store_true", help=help)
    args = parser.parse_args(given)
    if args.scores and not is_treebank(args.input):
        raise UserError("--scores needs the trees of a file --input FILE.conllu")
    options = {"data": args.data, "cpu": args.cpu, "user_dir": args.user_dir}
    model, task = load_model(args.checkpoint, "wsum_biaffine_parser", **options)
    sentences, scores = parse(model, task, args.input, args.scores)
    write("".join(one.serialize() for one in sentences), args.output, scores)


def parse(
    model: Any, task: Any, path: Path | None, with_scores: bool
) -> tuple[list[Sentence], dict[str, float]]:
    """The sentences of a file with a model's trees, and their scores if it has trees.

    Raises:
        UserError: the file cannot be read, or a sentence in it; the message has the line.
    """
    sentences = read_sentences(path, with_scores)
    if task.tags is not None:
        _, column = task.tags
        if all(tag == "_" for one in sentences for tag in one.column(column)):
            raise UserError(f"--input: the model reads tags; give CoNLL-U with a column {column}")
    gold = [(one.heads, one.column("deprel")) for one in sentences]
    task.parse(model, sentences)
    return sentences, attachment_scores(gold, sentences) if with_scores else {}


def is_treebank(path: Path | None) -> bool:
    return path is not None and ".conllu" in path.suffixes


def read_sentences(path: Path | None, with_trees: bool) -> list[Sentence]:
    """The sentences of a treebank, or of a text (by default stdin) with one a line."""
    from ..plugin.data.treebank import Sentence, read_treebank

    try:
        if path is not None and is_treebank(path):
            return [*read_treebank(path, with_trees=with_trees)]
        with nullcontext(sys.stdin.buffer) if path is None else opened(path) as file:
            lines = file.read().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"--input: {path or 'stdin'} is not UTF-8 text: {error}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"--input: {error}") from error
    if any(line.count("\t") == 9 for line in lines):
        raise UserError("--input: this is CoNLL-U; give a file whose name ends in .conllu")
    return [Sentence.of(line.split()) for line in lines if line.split()]


def attachment_scores(
    gold: Sequence[tuple[Sequence[int], Sequence[str]]], parsed: Sequence[Sentence]
) -> dict[str, float]:
    """The labelled and the unlabelled attachment score in percent, all words alike.

    They are the shares of words with the right head and relation, and with the right head. As in
    the shared task of CoNLL 2018, a relation counts without its subtype: `nsubj:pass` is `nsubj`.
    There the scores are F1 scores of the words of raw text; with gold words they are these shares.
    The scores without punctuation leave out the words whose UPOS is PUNCT, if words have a UPOS.
    `gold` has the heads and relations of each sentence.
    """
    words = []  # the tag; whether head and relation are right, and the head alone
    for (heads, relations), one in zip(gold, parsed, strict=True):
        found = zip(one.heads, one.column("deprel"), one.column("upos"), strict=True)
        for head, relation, (own, own_relation, tag) in zip(heads, relations, found, strict=True):
            same = relation.split(":")[0] == own_relation.split(":")[0]
            words.append((tag, (head == own and same, head == own)))
    groups = {"": [right for _, right in words]}
    if any(tag != "_" for tag, _ in words):
        groups[" without punctuation"] = [right for tag, right in words if tag != "PUNCT"]
    return {
        f"{name}{kind}": 100 * sum(right[k] for right in group) / max(len(group), 1)
        for kind, group in groups.items()
        for k, name in enumerate(("LAS", "UAS"))
    }
