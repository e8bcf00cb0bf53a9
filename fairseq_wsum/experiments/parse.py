"""`fairseq-wsum parse`: write the dependency trees of sentences as CoNLL-U."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import whole_at_end
from .files import PACKAGE, UserError, script_parser, user_dir
from .model import load_model

if TYPE_CHECKING:
    from ..plugin.data.treebank import Sentence

DESCRIPTION = """\
Parse sentences with a model of --arch wsum_biaffine_parser, and write their trees as CoNLL-U. The
input is CoNLL-U, of which HEAD and DEPREL are replaced and everything else is kept, or text: one
sentence a line, its words and punctuation marks separated by spaces."""
EPILOG = """\
examples:
  echo 'The hymn was sung .' | fairseq-wsum parse runs/ewt/lstm/checkpoint_best.pt
  fairseq-wsum parse runs/ewt/lstm/checkpoint_best.pt --input en_ewt-ud-test.conllu --scores \\
      --output parsed.conllu"""
MAX_TOKENS = 5000  # words of a batch, which changes no result
WITHOUT = " without punctuation"
WAY = "CoNLL 2018, gold words"  # how the scores are defined


def main(given: Sequence[str]) -> None:
    """Parse with a command line."""
    parser = script_parser("fairseq-wsum parse", DESCRIPTION, EPILOG, "CHECKPOINT [options]")
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="the model")
    help = "the sentences: FILE.conllu, FILE.conllu.gz, or a text (default: text from stdin)"
    add("--input", type=Path, metavar="FILE", help=help)
    add("--output", type=Path, metavar="FILE", help="a new file (default: stdout)")
    help = "compare the trees with those of the input, and print the attachment scores to stderr"
    add("--scores", action="store_true", help=help)
    help = "the folder with its dictionaries (default: the data of its training)"
    add("--data", type=Path, metavar="FOLDER", help=help)
    add("--cpu", action="store_true", help="do not use a GPU")
    add("--user-dir", type=user_dir, default=str(PACKAGE), help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    if args.output is not None and args.output.exists():
        raise UserError(f"--output {args.output} exists; give another name")
    is_treebank = args.input is not None and ".conllu" in args.input.suffixes
    if args.scores and not is_treebank:
        raise UserError("--scores needs the trees of a file --input FILE.conllu")
    model = Parser(args.checkpoint, data=args.data, cpu=args.cpu, user_dir=args.user_dir)
    sentences = read_sentences(args.input, is_treebank, args.scores)
    gold = [(one.heads, one.column("deprel")) for one in sentences] if args.scores else []
    model.parse(sentences)
    if args.output is None:
        write(sentences, sys.stdout)
    else:
        with whole_at_end(args.output) as partial, partial.open("w", encoding="utf-8") as file:
            write(sentences, file)
    if args.scores:
        for name, score in attachment_scores(gold, sentences).items():
            print(f"{name}: {score:.2f}", file=sys.stderr)


def read_sentences(path: Path | None, is_treebank: bool, with_trees: bool) -> list[Sentence]:
    """The sentences of a treebank, or of a text (by default stdin) with one a line."""
    from ..plugin.data.treebank import Sentence, read_treebank

    try:
        if is_treebank:
            assert path is not None
            return [*read_treebank(path, with_trees=with_trees)]
        text = sys.stdin.buffer.read() if path is None else path.read_bytes()
        lines = text.decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"--input: {error}") from error
    return [Sentence.of(line.split()) for line in lines if line.split()]


def write(sentences: Iterable[Sentence], file: Any) -> None:
    """Write sentences as CoNLL-U."""
    for one in sentences:
        file.write(one.rows.serialize())


class Parser:
    """A trained parser.

    Args:
        checkpoint: a checkpoint of `wsum_biaffine_parser`.
        data: the folder with its dictionaries; by default the data of its training.
        cpu: whether not to use a GPU.
        user_dir: the package with its cell.

    Raises:
        UserError: the checkpoint cannot be read, or has another model.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        data: Path | None = None,
        cpu: bool = False,
        user_dir: str = str(PACKAGE),
    ) -> None:
        self.model, self.task = load_model(
            checkpoint, "wsum_biaffine_parser", data=data, cpu=cpu, user_dir=user_dir
        )

    def parse(self, sentences: Sequence[Sentence]) -> None:
        """Replace the heads and relations of sentences."""
        import torch
        from fairseq import utils
        from fairseq.data.data_utils import batch_by_size

        if not sentences:
            return
        dataset, symbols = self.task.treebank(sentences), self.task.relation_dictionary
        device = next(self.model.parameters()).device
        most = max(MAX_TOKENS, int(dataset.sizes.max()))
        for indices in batch_by_size(
            dataset.ordered_indices(), dataset.num_tokens, max_tokens=most
        ):
            batch = dataset.collater([dataset[k] for k in indices])
            inputs = utils.apply_to_sample(lambda part: part.to(device), batch["net_input"])
            chosen = [sentences[k] for k in batch["id"].tolist()]
            with torch.no_grad():
                scores = self.model(**inputs)
            found = self.model.parse(scores, [1 + len(one.words) for one in chosen])
            for one, heads, relations in zip(
                chosen, *(part.tolist() for part in found), strict=True
            ):
                for k, token in enumerate(one.tokens, start=1):
                    token["head"], token["deprel"] = heads[k], symbols[relations[k]]


def attachment_scores(
    gold: Sequence[tuple[Sequence[int], Sequence[str]]], parsed: Sequence[Sentence]
) -> dict[str, float]:
    """The labelled and the unlabelled attachment score in percent, all words alike.

    They are the shares of words with the right head and relation, and with the right head. As in
    the shared task of CoNLL 2018, a relation counts without its subtype: `nsubj:pass` is `nsubj`.
    There the scores are F1 scores of the words of raw text; with gold words they are these shares.
    The scores without punctuation leave out the words whose UPOS is PUNCT.

    Args:
        gold: the heads and relations of each sentence.
        parsed: the sentences with the trees to score.
    """
    counts: Counter[str] = Counter()
    for (heads, relations), one in zip(gold, parsed, strict=True):
        found = zip(one.heads, one.column("deprel"), one.column("upos"), strict=True)
        for head, relation, (own, own_relation, tag) in zip(heads, relations, found, strict=True):
            same = relation.split(":")[0] == own_relation.split(":")[0]
            for kind in ("", WITHOUT)[: 1 if tag == "PUNCT" else 2]:
                counts[f"words{kind}"] += 1
                counts[f"UAS{kind}"] += head == own
                counts[f"LAS{kind}"] += head == own and same
    return {
        f"{name}{kind}": 100 * counts[f"{name}{kind}"] / max(counts[f"words{kind}"], 1)
        for kind in ("", WITHOUT)
        for name in ("LAS", "UAS")
    }


def score_treebank(model: Parser, treebank: Path) -> dict[str, float]:
    """The attachment scores of a model on a treebank."""
    sentences = read_sentences(treebank, True, True)
    gold = [(one.heads, one.column("deprel")) for one in sentences]
    model.parse(sentences)
    return attachment_scores(gold, sentences)
