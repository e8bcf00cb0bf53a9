"""Translate the training text with trained models, as another training text. For distil.sh."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from common import UserError, folder, positive, run, versions, write_lines
from corpus_files import lines, sha256
from data_folder import (
    new_folder,
    preprocess,
    read_translation_record,
    record_of,
    write_record,
)
from generated import arrange, tagged

DESCRIPTION = """\
Translate the training text of DATA (a folder of prepare_multi30k.sh) with one model or an ensemble,
and make a folder in which these translations are the target text: sequence-level knowledge
distillation (Kim and Rush, 2016). A model that trains on both texts in turn,

  scripts/train.sh DATA:OUT ...

learns from the references and from the models. Further options go to fairseq-generate, such as
--cpu. With 29,000 sentences and five small models it takes about 40 minutes on one core."""
EXAMPLES = """\
examples:
  scripts/distil.sh data-bin/multi30k --out data-bin/multi30k-distilled \\
      --checkpoints runs/first/checkpoint_best.pt:runs/second/checkpoint_best.pt --lenpen 1.4"""


def main() -> None:
    args, options = parse()
    distil(args, options)


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="scripts/distil.sh",
        usage="%(prog)s DATA --checkpoints FILE[:FILE...] --out OUT [options]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("data", type=folder, metavar="DATA", help="the prepared data")
    add(
        "--checkpoints",
        required=True,
        metavar="FILE[:FILE...]",
        help="the model, or the models of an ensemble",
    )
    add("--out", required=True, type=folder, metavar="OUT", help="the new folder")
    add("--beam", type=positive, default=5, metavar="N", help="beam size (default 5)")
    add("--lenpen", type=float, default=1.0, metavar="P", help="length penalty (default 1)")
    add(
        "--batch-size",
        type=positive,
        default=256,
        metavar="N",
        help="sentences per batch (default 256)",
    )
    add(
        "--user-dir",
        type=Path,
        default=Path(__file__).resolve().parents[1] / "fairseq_wsum",
        metavar="DIR",
        help="fairseq modules to load, for a cell of your own (default: this plugin)",
    )
    args, options = parser.parse_known_args()
    if not args.data.is_dir():
        parser.error(
            f"no data folder {args.data}: give DATA first, before fairseq-generate's options"
        )
    for path in args.checkpoints.split(":"):
        if not Path(path).is_file():
            parser.error(f"--checkpoints {path}: no such file")
    if not args.user_dir.is_dir():
        parser.error(f"--user-dir {args.user_dir}: no such folder")
    return args, options


def distil(args: argparse.Namespace, options: list[str]) -> None:
    prepared = read_translation_record(args.data, ("post_process", "source_lang", "target_lang"))
    sums = {path: sha256(Path(path).read_bytes()) for path in args.checkpoints.split(":")}
    settings = {
        "corpus": "distilled",
        "script": "distil.sh",
        "data": sha256((args.data / "prepared.json").read_bytes()),
        "checkpoints": list(sums.values()),
        "beam": args.beam,
        "lenpen": args.lenpen,
        "options": options,
    }
    out = args.out.resolve()
    if record_of(out, settings) is not None:
        print(f"{args.out}: already done, with the same options")
        return
    source, target = prepared["source_lang"], prepared["target_lang"]
    text = args.data.resolve() / "text" / f"train.{source}"
    bpe = prepared["post_process"] == "sentencepiece"
    with new_folder(out, settings) as partial:
        (partial / "text").mkdir()
        shutil.copy(text, partial / "text")
        sentences = translate(args, options, partial, len(lines(text.read_bytes())), bpe)
        if bpe:
            sentences = segmented(args.data / "spm.model", sentences)
        write_lines(partial / "text" / f"train.{target}", sentences)
        for lang in (source, target):
            shutil.copy(args.data / f"dict.{lang}.txt", partial / "text")
        preprocess(
            *(partial, ".", {"train": "text/train"}),
            [
                *("--source-lang", source, "--target-lang", target),
                *("--srcdict", f"text/dict.{source}.txt", "--tgtdict", f"text/dict.{target}.txt"),
            ],
        )
        tools = versions("fairseq", "fairseq-fixed", "torch", "sentencepiece")
        write_record(partial, {**settings, "sha256": sums, "versions": tools})
    print(f"{args.out}: {len(sentences):,} translations; train on {args.data}:{args.out}")


def translate(
    args: argparse.Namespace, options: list[str], partial: Path, expected: int, bpe: bool
) -> list[str]:
    """The translations in the order of the text. `partial` gets the output of fairseq-generate."""
    command = [sys.executable, "-P", "-m", "fairseq_cli.generate", str(args.data.resolve())]
    command += ["--path", args.checkpoints, "--user-dir", str(args.user_dir)]
    command += ["--gen-subset", "train", "--required-batch-size-multiple", "1"]
    command += ["--distributed-world-size", "1", "--batch-size", str(args.batch_size)]
    command += ["--beam", str(args.beam), "--lenpen", str(args.lenpen)]
    command += ["--post-process", "sentencepiece"] if bpe else []
    command += ["--log-format", "simple", "--log-interval", "10", *options]
    printed, log = partial / "generate.txt", partial / "generate.log"
    print(f"translating {expected:,} sentences; the progress is in {log}", flush=True)
    with printed.open("wb") as output, log.open("wb") as messages:
        # It inherits the lock and holds it as well.
        done = subprocess.run(command, close_fds=False, stdout=output, stderr=messages)
    if done.returncode != 0:
        *_, last = ["no message", *log.read_text("utf-8", "replace").splitlines()]
        raise UserError(f"fairseq-generate failed: {last}")
    return arrange(tagged(lines(printed.read_bytes()), "H"), expected, "translations")


def segmented(model: Path, sentences: list[str]) -> list[str]:
    """The sentences in the BPE units of the data."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return [" ".join(processor.encode(sentence, out_type=str)) for sentence in sentences]


if __name__ == "__main__":
    run(main)
