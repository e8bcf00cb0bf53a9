"""`fairseq-wsum answer`: answer questions with a part of their contexts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .model import load_model, model_parser, write
from .program import UserError

DESCRIPTION = """\
Answer questions with a model of --arch wsum_bidaf. The input has the format of SQuAD 1.1, with or
without answers. The output is a JSON object with the answer to each question by its id, which the
official program of SQuAD 1.1 scores."""
EPILOG = """\
examples:
  fairseq-wsum answer runs/squad/lstm/epochs-12-seed-1/checkpoint_best.pt \\
      --input dev-v1.1.json --scores --output predictions.json"""


def main(given: Sequence[str]) -> None:
    """Answer with a command line."""
    parser = model_parser("answer", DESCRIPTION, EPILOG)
    help = "the questions, FILE.json or FILE.json.gz"
    parser.add_argument("--input", type=Path, metavar="FILE", required=True, help=help)
    help = "compare with the answers of the input, and print F1 and exact match (EM) to stderr"
    parser.add_argument("--scores", action="store_true", help=help)
    args = parser.parse_args(given)
    options = {"data": args.data, "cpu": args.cpu, "user_dir": args.user_dir}
    model, task = load_model(args.checkpoint, "wsum_bidaf", **options)
    answers, scores = answer(model, task, args.input, args.scores)
    write(as_json(answers), args.output, scores)


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
    pairs = [(answers[one.id], one.answers) for one in questions]
    return answers, scores(pairs) if with_scores else {}


def as_json(answers: dict[str, str]) -> str:
    """Answers in the format of SQuAD's official program."""
    return json.dumps(answers, ensure_ascii=False, indent=1) + "\n"
