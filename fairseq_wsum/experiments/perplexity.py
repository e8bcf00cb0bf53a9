"""`scripts/perplexity.sh`: the perplexity of a language model, by fairseq-eval-lm."""

from __future__ import annotations

import argparse
import io
import json
import math
import re
from pathlib import Path
from typing import Any

from ..argument_types import positive
from ..checkpoint_files import read, task_options
from ..files import whole
from . import fairseq_programs
from .checkpoints import average_last
from .program import PACKAGE, UserError, folder, parse_data_first, say, script_parser, user_dir

DESCRIPTION = """\
Score the validation and the test split of DATA with a language model and print its perplexity. It
is per token of DATA, or per word with fairseq's --post-process '@@ ' for subwords of subword-nmt,
where no sentence may be longer than --tokens-per-sample-valid (default 1,000).

A GPU is used if there is one, unless --cpu is given. If memory runs out with a large vocabulary,
give a smaller --tokens-per-sample-valid; the result is the same."""
EPILOG = """\
examples:
  scripts/perplexity.sh data-bin/ptb --checkpoint runs/lm/checkpoint_best.pt
  scripts/perplexity.sh data-bin/ptb --checkpoint runs/lm --average 5"""


def main(given: list[str]) -> None:
    """Print the perplexities with a command line, and write them to --out."""
    args, options = read_options(given)
    model: Path = args.checkpoint
    if args.average is not None:
        model = model / f"average-{args.average}.pt"
        averaged = average_last(args.checkpoint, args.average, model)
        say(f"averaged {' '.join(averaged)} into {model}")
    options = [*_as_trained(model), *options]
    figures: dict[str, Any] = {}
    for split in args.splits:
        figures |= _score(args, options, model, split)
    if args.out is not None:
        with whole(args.out) as partial:
            partial.write_text(json.dumps({**figures, "task": args.task}) + "\n")


def read_options(given: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and those of fairseq-eval-lm."""
    usage = "DATA --checkpoint FILE|DIR [options] [any option of fairseq-eval-lm]"
    parser = script_parser("scripts/perplexity.sh", DESCRIPTION, EPILOG, usage)
    add = parser.add_argument
    help = "the model; with --average, the --save-dir of its training run"
    add("--checkpoint", type=folder, required=True, metavar="FILE", help=help)
    help = "average the checkpoints of the last N epochs in DIR or, if it has fewer, the last N "
    help += "of --save-interval-updates, into DIR/average-N.pt, and score that model"
    add("--average", type=positive, metavar="N", help=help)
    help = "splits to score (default valid,test)"
    add("--splits", "--gen-subset", default="valid,test", metavar="LIST", help=help)
    help = "fairseq's task (default wsum_language_modeling, which scores one stream and carries "
    help += "the state, unless the model was trained with another --sample-break-mode)"
    add("--task", default="wsum_language_modeling", help=help)
    help = "write the perplexities, the numbers of tokens and the task to FILE as JSON, too"
    add("--out", type=Path, metavar="FILE", help=help)
    add("--user-dir", type=user_dir, default=str(PACKAGE), help=argparse.SUPPRESS)
    args, options = parse_data_first(parser, given)
    args.data = folder(args.data)
    _check_paths(args)
    return args, options


def _check_paths(args: argparse.Namespace) -> None:
    data, model = args.data, args.checkpoint
    if model.is_dir() != (args.average is not None):
        raise UserError(f"--checkpoint {model}: name a file, or a folder with --average")
    args.splits = [split for split in args.splits.split(",") if split]
    for split in args.splits:
        if not (data / f"{split}.idx").is_file():
            raise UserError(
                f"--splits {','.join(args.splits)}: {data} has no {split}; give those that it has, "
                "and a folder of prepare.sh ptb, prepare.sh text or fairseq-preprocess"
            )


def _as_trained(model: Path) -> list[str]:
    """How the training made samples of the text: fairseq-eval-lm does not read it itself."""
    try:
        options = task_options(read(model, mmap=True))
    except Exception:  # a damaged file can raise anything; fairseq-eval-lm names it
        return []
    chosen = ["--add-bos-token"] if options.get("add_bos_token") else []
    for name in ("sample_break_mode", "tokens_per_sample"):
        if (value := options.get(name)) is not None:
            chosen.append(f"--{name.replace('_', '-')}={value}")
    return chosen


def _score(args: argparse.Namespace, options: list[str], model: Path, split: str) -> dict[str, Any]:
    """Run fairseq-eval-lm on a split."""
    words = [str(args.data), *options, "--user-dir", args.user_dir, "--task", args.task]
    words += [f"--path={model}", "--gen-subset", split]
    words += ["--log-format", "none", "--distributed-world-size", "1"]
    log = io.StringIO()
    with fairseq_programs.messages_in(log):
        found = fairseq_programs.call("eval_lm", args.user_dir, words)
    if skipped := re.search(r".*samples have invalid sizes and will be skipped.*", log.getvalue()):
        say(skipped[0])
        raise UserError(
            f"part of {split} was not scored, as some samples are longer than the model accepts; "
            "give a smaller --tokens-per-sample, or raise the model's limit with "
            "--model-overrides \"{'max_target_positions': 1024}\""
        )
    # the lines of --output-word-probs and --output-word-stats
    for line in re.findall(r"fairseq_cli\.eval_lm \| (\d+ .*\[.*|.*\t.*)", log.getvalue()):
        print(line)
    # with --add-bos-token, also those at the beginning of the samples
    (count,) = re.findall(r"Evaluated ([\d,]+) tokens", log.getvalue())
    tokens = int(count.replace(",", ""))
    if tokens == 0:
        raise UserError(f"{split} has no tokens to score")
    value = float(found["perplexity"])
    print(f"{split}: perplexity {value:.2f} ({tokens:,} tokens)", flush=True)
    # JSON has no inf and nan
    return {split: value if math.isfinite(value) else str(value), f"{split}_tokens": tokens}
