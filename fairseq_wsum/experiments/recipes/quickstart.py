"""Train and score a small translation model; `scripts/quickstart.sh` calls it."""

from __future__ import annotations

import argparse
import io
from contextlib import redirect_stdout

from ...argument_types import positive
from ...cells import CELLS
from ..program import say
from ..text_files import lines_of
from ..training_log import validations
from .recipe import ROOT
from .translation import CORPUS, Captions

OUT = ROOT / "runs/quickstart"


class Quickstart(Captions):
    """The recipe, which shows the validations of the training and some translations."""

    def prepare(self) -> None:
        with redirect_stdout(io.StringIO()):
            super().prepare()

    def show(self, line: bytes) -> None:
        if found := validations(line.decode()):
            say(f"   epoch {found[0][0]} done: validation perplexity {found[0][1]}")

    def score(self) -> None:
        say("== 3. translating 300 test sentences")
        shorter = ("--max-len-a", "1.5", "--max-len-b", "10")
        out = self.score_set("test", "--checkpoints", str(self.run), *shorter)
        source, reference = lines_of(CORPUS / "test.en"), lines_of(CORPUS / "test.de")
        system = lines_of(out / "hypotheses.lenpen1.de")
        print("\n== Eight of the translations\n")
        for one in range(0, 8 * 37, 37):
            differs = "" if system[one] == reference[one] else "   (differs)"
            print(f"  source     {source[one]}\n  reference  {reference[one]}")
            print(f"  system     {system[one]}{differs}\n")


def main(given: list[str]) -> None:
    """Train, translate and score, unless it is done, and show the results."""
    usage = "%(prog)s [--cell NAME] [--epochs N]"  # the script has the help
    parser = argparse.ArgumentParser("scripts/quickstart.sh", usage, add_help=False)
    parser.add_argument("--cell", choices=CELLS, default="no-srnn-hidden")
    parser.add_argument("--epochs", type=positive, default=10)
    args = parser.parse_args(given)
    folder = OUT / f"{args.cell}-{args.epochs}epochs"
    say(f"== 2. corpus, and training: cell '{args.cell}', {args.epochs} epochs, in {folder}")
    words = ["--cell", args.cell, "--max-epoch", str(args.epochs), "--gpus", "0"]
    words += ["--out", str(OUT / "corpus"), "--run", str(folder)]
    try:
        Quickstart("captions", words).main()
    except SystemExit:
        log = folder / "train.log"
        if log.exists():
            for line in (*lines_of(log)[-15:], f"the quickstart failed; the training wrote {log}"):
                say(line)
        raise
    print("README.md shows what to do next, and docs/index.md lists all pages.")
