"""Train and score a small translation model; `scripts/quickstart.sh` calls it."""

from __future__ import annotations

import argparse
import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from sacrebleu.metrics import BLEU

from ...argument_types import positive
from ...cells import CELLS
from .. import score
from ..program import say
from ..text_files import lines_of
from ..training_log import validations
from .recipe import ROOT
from .translation import CORPUS, Captions

OUT = ROOT / "runs/quickstart"


def main(given: list[str]) -> None:
    """Train, translate and score, unless it is done, and show the results."""
    usage = "%(prog)s [--cell NAME] [--epochs N]"  # the script has the help
    parser = argparse.ArgumentParser("scripts/quickstart.sh", usage, add_help=False)
    parser.add_argument("--cell", choices=CELLS, default="no-srnn-hidden")
    parser.add_argument("--epochs", type=positive, default=10)
    args = parser.parse_args(given)
    folder = OUT / f"{args.cell}-{args.epochs}epochs"
    say(f"== 2. corpus, and training: cell '{args.cell}', {args.epochs} epochs, in {folder}")
    train(args.cell, args.epochs, folder)
    say("== 3. translating 300 test sentences")
    translate(folder)
    show_scores(folder)
    print("\nREADME.md shows what to do next, and docs/index.md lists all pages.")


class Training(Captions):
    """The recipe, of whose training only the validations are shown."""

    def show(self, line: bytes) -> None:
        if found := validations(line.decode()):
            say(f"   epoch {found[0][0]} done: validation perplexity {found[0][1]}")


def train(cell: str, epochs: int, folder: Path) -> None:
    """Train in a folder."""
    given = ["--train-only", "--cell", cell, "--max-epoch", str(epochs), "--gpus", "0"]
    given += ["--out", str(OUT / "corpus"), "--run", str(folder)]
    try:
        with redirect_stdout(io.StringIO()):
            Training("captions", given).main()
    except SystemExit:
        log = folder / "train.log"
        if log.exists():
            say("\n".join([*lines_of(log)[-15:], f"the training failed; its output is in {log}"]))
        raise


def translate(folder: Path) -> None:
    """Translate the test set with the model in a folder."""
    given = [str(OUT / "corpus/data"), "--checkpoints", str(folder), "--out", str(folder / "score")]
    given += ["--cpu", "--max-len-a", "1.5", "--max-len-b", "10"]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        score.main(given)


def show_scores(folder: Path) -> None:
    """Print some translations, and the BLEU scores."""
    source, reference = lines_of(CORPUS / "test.en"), lines_of(CORPUS / "test.de")
    system = lines_of(folder / "score/hypotheses.lenpen1.de")
    translations = {"this model": system, "copying the English": source}
    print("\n== Eight of the translations\n")
    for one in range(0, 8 * 37, 37):
        differs = "" if system[one] == reference[one] else "   (differs)"
        print(f"  source     {source[one]}\n  reference  {reference[one]}")
        print(f"  system     {system[one]}{differs}\n")
    unseen = "where every sentence has a combination of words unseen in training"
    print(f"== BLEU on the test set, {unseen}\n")
    bleu = BLEU(tokenize="none", force=True)  # on tokens, as they are in the corpus
    scores = {name: bleu.corpus_score(text, [reference]) for name, text in translations.items()}
    for name, result in scores.items():
        print(f"  {name:28} {result.score:.2f}")
    signature = str(bleu.get_signature())
    print(f"\n  {scores['this model'].format(width=2, signature=signature)}")
