"""Print what a training of scripts/quickstart.sh achieved, and what to do next.

usage: summary.py TEXT RUN SET-UP TRAINING TRANSLATING; the last three are times.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from sacrebleu.metrics import BLEU

REPO = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def main() -> None:
    text, run, times = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    source, reference = read(text / "test.en"), read(text / "test.de")
    system = read(run / "score/hypotheses.lenpen1.de")
    untrained = read(run / "untrained/score/hypotheses.lenpen1.de")

    print("\n== Eight of the translations\n")
    for one in range(0, 8 * 37, 37):
        differs = "" if system[one] == reference[one] else "   (differs)"
        print(f"  source     {source[one]}\n  reference  {reference[one]}")
        print(f"  system     {system[one]}{differs}\n")

    bleu = BLEU(tokenize="none", force=True)  # on tokens, as they are in the corpus
    unseen = "where every sentence has a combination of words unseen in training"
    print(f"== BLEU on the test set, {unseen}\n")
    translations = {
        "this model": system,
        "the same model, untrained": untrained,
        "copying the English": source,
    }
    for name, sentences in translations.items():
        print(f"  {name:28} {bleu.corpus_score(sentences, [reference]).score:.2f}")
    result = bleu.corpus_score(system, [reference])
    print(f"\n  {result.format(width=2, signature=str(bleu.get_signature()))}")

    print("\n== Time\n")
    for name, time in zip(("set-up", "training", "translating"), times, strict=True):
        print(f"  {name:12} {time}")

    # the user's shell has neither this folder nor this environment
    first, activate = f"cd {shlex.quote(str(REPO))}", BIN / "activate"
    first += f" && source {shlex.quote(str(activate))}" if activate.is_file() else ""
    look = f"fairseq-wsum weights {shlex.quote(str(run))}/checkpoint_best.pt \\\n{'':35}"
    look += "--sentence 'the man is walking .' --page weights.html"
    steps = {
        "for these commands": first,
        "what this model remembers": look,
        "another cell": "scripts/quickstart.sh --cell lstm",
        "real data": "scripts/prepare_multi30k.sh --help",
        "recipes, published figures": "examples/translation_multi30k",
        "language models": "examples/language_model_ptb",
        "your own training": "scripts/train.sh --help",
        "all documentation": "docs/index.md",
    }
    if shutil.which("fairseq-wsum") is None:  # an environment of the user's own may lack it
        del steps["what this model remembers"]
    print("\n== What next\n")
    for name, step in steps.items():
        print(f"  {name:28} {step}")


def read(path: Path) -> list[str]:
    return path.read_text("utf-8").removesuffix("\n").split("\n")


if __name__ == "__main__":
    main()
