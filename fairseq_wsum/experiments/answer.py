"""`fairseq-wsum answer`: answer questions with a part of their contexts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import whole_at_end
from .files import PACKAGE, UserError, script_parser, user_dir
from .model import load_model

DESCRIPTION = """\
Answer questions with a model of --arch wsum_bidaf. The input has the format of SQuAD 1.1, with or
without answers. The output is a JSON object with the answer to each question by its id, which the
official program of SQuAD 1.1 scores."""
EPILOG = """\
examples:
  fairseq-wsum answer runs/squad/lstm/checkpoint_best.pt --input dev-v1.1.json --scores \\
      --output predictions.json"""
WAY = "SQuAD 1.1"  # how the scores are defined


def main(given: Sequence[str]) -> None:
    """Answer with a command line."""
    parser = script_parser("fairseq-wsum answer", DESCRIPTION, EPILOG, "CHECKPOINT [options]")
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="the model")
    help = "the questions, FILE.json or FILE.json.gz"
    add("--input", type=Path, metavar="FILE", required=True, help=help)
    add("--output", type=Path, metavar="FILE", help="a new file (default: stdout)")
    help = "compare with the answers of the input, and print F1 and exact match (EM) to stderr"
    add("--scores", action="store_true", help=help)
    help = "the folder with its dictionary (default: the data of its training)"
    add("--data", type=Path, metavar="FOLDER", help=help)
    add("--cpu", action="store_true", help="do not use a GPU")
    add("--user-dir", type=user_dir, default=str(PACKAGE), help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    if args.output is not None and args.output.exists():
        raise UserError(f"--output {args.output} exists; give another name")
    options = {"data": args.data, "cpu": args.cpu, "user_dir": args.user_dir}
    model, task = load_model(args.checkpoint, "wsum_bidaf", **options)
    answers, scores = answer(model, task, args.input, args.scores)
    if args.output is None:
        json.dump(answers, sys.stdout, ensure_ascii=False, indent=1)
        print()
    else:
        write(args.output, answers)
    for name, score in scores.items():
        print(f"{name}: {score:.2f}", file=sys.stderr)


def answer(
    model: Any, task: Any, path: Path, with_scores: bool
) -> tuple[dict[str, str], dict[str, float]]:
    """The answer to each question of a file, and their scores in percent if there are references.

    Raises:
        UserError: the file cannot be read, or a question in it; the message names it.
    """
    from ..plugin.data.answer_scores import scores
    from ..plugin.data.questions import read_questions

    try:
        questions = read_questions(path, with_answers=with_scores)
    except (OSError, ValueError) as error:
        raise UserError(f"--input: {error}") from error
    answers: dict[str, str] = task.answer(model, questions)
    references = {one.id: one.answers for one in questions}
    return answers, scores(answers, references) if with_scores else {}


def write(path: Path, answers: dict[str, str]) -> None:
    """Write answers in the format of SQuAD's official program."""
    with whole_at_end(path) as partial:
        partial.write_text(json.dumps(answers, ensure_ascii=False, indent=1) + "\n", "utf-8")
