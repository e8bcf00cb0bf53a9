"""`scripts/perplexity.sh`: the perplexity of a language model, by fairseq-eval-lm."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..argument_types import positive
from ..files import whole
from .average import average_last
from .files import (
    PACKAGE,
    UserError,
    call,
    changed_meanwhile,
    failure,
    folder,
    parse_data_first,
    run,
    say,
    script_parser,
)

DESCRIPTION = """\
Score the validation and the test split of DATA with a language model and print its perplexity. It
is per token of DATA. If the tokens are subwords, add --post-process '@@ ' (subword-nmt) or
--post-process sentencepiece for the perplexity per word. With '@@ ', no sentence may be longer than
--tokens-per-sample-valid (default 1,000).

A GPU is used if there is one, unless --cpu is given. If memory runs out with a large vocabulary,
give a smaller --tokens-per-sample-valid; the result is the same."""
EPILOG = """\
examples:
  scripts/perplexity.sh data-bin/ptb --checkpoint runs/lm/checkpoint_best.pt
  scripts/perplexity.sh data-bin/ptb --checkpoint runs/lm --average 5"""
PART = "the perplexity would be of a part of the split; leave it out"
LISTS = "this script prints perplexities only; run fairseq-eval-lm with "
LISTS += f"--user-dir {PACKAGE} --task TASK"
REFUSED = {
    "--path": "give the model with --checkpoint",
    "--num-shards": PART,
    "--shard-id": PART,
    "--output-word-probs": LISTS,
    "--output-word-stats": LISTS,
}
START = "\u2581"  # the first character of each SentencePiece subword that begins a word


def main() -> None:
    """Run the command line of this process."""
    run(lambda: perplexity(*read_options(sys.argv[1:])))


def read_options(given: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and those of fairseq-eval-lm."""
    usage = "DATA --checkpoint FILE|DIR [options] [any option of fairseq-eval-lm]"
    parser = script_parser("perplexity.sh", usage, DESCRIPTION, EPILOG)
    add = parser.add_argument
    help = "the model; with --average the training's --save-dir"
    add("--checkpoint", type=folder, required=True, metavar="FILE", help=help)
    help = "average the checkpoints of the last N epochs in DIR or, if it has fewer, the last N "
    help += "of --save-interval-updates, into DIR/average-N.pt, and score that model"
    add("--average", type=positive, metavar="N", help=help)
    help = "splits to score (default valid,test); fairseq's --gen-subset is the same"
    add("--splits", "--gen-subset", default="valid,test", metavar="LIST", help=help)
    help = "fairseq's task (default wsum_language_modeling: one stream, and the state is carried"
    help += " from sentence to sentence)"
    add("--task", default="wsum_language_modeling", help=help)
    help = "write the perplexities, of how many tokens they are (except with '@@ '), and the "
    help += "task to FILE as JSON, too"
    add("--out", type=Path, metavar="FILE", help=help)
    # two names of one option, whose value may be left out
    add("--post-process", "--remove-bpe", nargs="?", const="@@ ", help=argparse.SUPPRESS)
    add("--user-dir", default=str(PACKAGE), help=argparse.SUPPRESS)
    args, data, options = parse_data_first(parser, given)
    args.data = folder(data)
    for name in (option.partition("=")[0] for option in options):
        if name in REFUSED:
            raise UserError(f"{name}: {REFUSED[name]}")
    if not (args.data / "dict.txt").is_file():
        raise UserError(
            f"{args.data} has no dict.txt: give a folder that scripts/prepare_ptb.sh, "
            "prepare_wikitext2.sh, prepare_gbw.sh, prepare_text.sh or fairseq-preprocess "
            "--only-source made"
        )
    _check_paths(args)
    return args, options


def _check_paths(args: argparse.Namespace) -> None:
    model, out = args.checkpoint, args.out
    if args.average is not None and not model.is_dir():
        raise UserError(f"--average needs a folder, but --checkpoint {model} is not one")
    if args.average is None and model.is_dir():
        raise UserError(f"--checkpoint {model} is a folder: name a file in it, or use --average")
    if not model.exists():
        raise UserError(f"--checkpoint {model}: no such file")
    args.splits = [split for split in args.splits.split(",") if split]
    if not args.splits:
        raise UserError("--splits: name at least one, such as valid,test")
    for split in args.splits:
        if not (args.data / f"{split}.idx").is_file():
            raise UserError(f"--splits {','.join(args.splits)}: {args.data} has no {split}")
    if out is None:
        return
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file in it")
    if out.exists() and out.stat().st_size and not _is_ours(out):
        raise UserError(
            f"--out {out} exists, and is not a result of this script: give another name"
        )
    out.parent.mkdir(parents=True, exist_ok=True)


def _is_ours(path: Path) -> bool:
    try:
        return "task" in json.loads(path.read_bytes())
    except (TypeError, ValueError):
        return False


def perplexity(args: argparse.Namespace, options: list[str]) -> None:
    """Print the perplexities, and write them to `args.out`."""
    model: Path = args.checkpoint
    if args.average is not None:
        model = model / f"average-{args.average}.pt"
        averaged = average_last(args.checkpoint, args.average, model)
        say(f"averaged {' '.join(averaged)} into {model}")
    figures: dict[str, Any] = {}
    with changed_meanwhile("--checkpoint", str(model)):
        for split in args.splits:
            figures |= _score(args, options, model, split)
    if args.out is not None:
        with whole(args.out) as partial:
            partial.write_text(json.dumps({**figures, "task": args.task}) + "\n")


def _score(args: argparse.Namespace, options: list[str], model: Path, split: str) -> dict[str, Any]:
    """Run fairseq-eval-lm on a split."""
    command = ["fairseq-eval-lm", str(args.data), "--user-dir", args.user_dir, "--task", args.task]
    command += [f"--path={model}", "--gen-subset", split, "--log-format", "none"]
    command += ["--distributed-world-size", "1", *options]
    # fairseq-eval-lm knows the subwords of subword-nmt only
    joined = args.post_process not in (None, "sentencepiece")
    command += ["--post-process", args.post_process] if joined else []
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "log")
        failed = call(command, path)
        log = path.read_text("utf-8", "replace")
    if failed is not None:
        raise failure("fairseq-eval-lm", failed)
    if found := re.search(r".*samples have invalid sizes and will be skipped.*", log):
        say(found[0])
        raise UserError(
            f"part of {split} was not scored, as some samples are longer than the model accepts; "
            "give a smaller --tokens-per-sample, or raise the model's limit with "
            "--model-overrides \"{'max_target_positions': 1024}\""
        )
    bits = re.search(r"Loss \(base 2\): ([\d.a-z]+), Perplexity: ([\d.a-z]+)", log)
    evaluated = re.search(r"Evaluated ([\d,]+) tokens", log)
    if bits is None or evaluated is None:
        raise UserError(f"fairseq-eval-lm gave no perplexity:\n{log}")
    value, tokens = bits[2], int(evaluated[1].replace(",", ""))
    if tokens == 0:
        raise UserError(f"{split} has no tokens to score")
    counted, unit = tokens, "subwords" if joined else "tokens"
    shown = f"{tokens:,} {unit}"
    if args.post_process == "sentencepiece" or "--add-bos-token" in options:
        # fairseq-eval-lm counts the first tokens, which it does not score
        in_text, words = count_tokens(args.data, split)
        if "--add-bos-token" in options:
            counted, shown = in_text, f"{in_text:,} {unit}"
        if args.post_process == "sentencepiece":
            if words == 0:
                raise UserError(
                    f"{args.data} has no SentencePiece subwords, as no word starts with {START}: "
                    "omit --post-process sentencepiece"
                )
            value = f"{2 ** (float(bits[1]) * counted / words):.2f}"
            counted, shown = words, f"{words} words, {counted:,} tokens"
    print(f"{split}: perplexity {value} ({shown})", flush=True)
    # JSON has no inf and nan
    number: Any = value if value in ("inf", "nan") else float(value)
    return {split: number, **({} if joined else {f"{split}_tokens": counted})}


def count_tokens(data: Path, split: str) -> tuple[int, int]:
    """The number of tokens of a split, and that of its words and sentence ends.

    The second is 0 if no token is a subword of SentencePiece.
    """
    from fairseq.data import Dictionary, data_utils

    dictionary = Dictionary.load(str(data / "dict.txt"))
    sentences = data_utils.load_indexed_dataset(str(data / split), dictionary)
    starts = [symbol.startswith(START) for symbol in dictionary.symbols]
    starts[dictionary.eos()] = any(starts)
    tokens = words = 0
    for k in range(len(sentences)):
        units = sentences[k].tolist()
        tokens += len(units)
        words += sum(starts[unit] for unit in units)
    return tokens, words
