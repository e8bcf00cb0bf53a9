"""`scripts/distil.sh`: translate the training text with trained models, as another text."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from ..argument_types import positive
from . import bpe
from .files import (
    PACKAGE,
    UserError,
    few,
    folder,
    open_text,
    run,
    script_parser,
    sha256,
    versions,
    write_lines,
)
from .folder import (
    BEGUN,
    differing,
    encode,
    is_done,
    load_dictionary,
    new_folder,
    read_translation_record,
    write_record,
)
from .generated import TOO_LONG, arrange, tagged
from .translating import check_options, direction, name_of

DESCRIPTION = """\
Translate the training text of DATA (a folder of prepare_multi30k.sh or prepare_translation.sh) with
one model or an ensemble, in the direction in which they were trained, and make a folder in which
these translations are the target text: sequence-level knowledge distillation (Kim and Rush, 2016).
A model that trains on both texts in turn,

  scripts/train.sh DATA:OUT ...

learns from the references and from the models. Further options go to fairseq-generate, such as
--cpu. With 29,000 sentences and five small models it takes about 40 minutes on one core. After an
interruption the same command continues with the next part of the text (--part-size)."""
EXAMPLES = """\
examples:
  scripts/distil.sh data-bin/multi30k --out data-bin/multi30k-distilled \\
      --checkpoints runs/first/checkpoint_best.pt:runs/second/checkpoint_best.pt --lenpen 1.4"""


def main() -> None:
    """Run the command line of this process."""
    run(lambda: distil(*parse()))


def parse() -> tuple[argparse.Namespace, list[str]]:
    usage = "DATA --checkpoints FILE[:FILE...] --out OUT [options]"
    parser = script_parser("distil.sh", usage, DESCRIPTION, EXAMPLES)
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
        "--part-size",
        type=positive,
        default=20000,
        metavar="N",
        help="sentences in each run of fairseq-generate; each run loads the models again, and an "
        "interruption loses the translations of one run (default 20000)",
    )
    add(
        "--user-dir",
        type=Path,
        default=PACKAGE,
        metavar="DIR",
        help="fairseq modules to load, for a cell of your own (default: this plugin)",
    )
    args, options = parser.parse_known_args()
    if "--prefix-size" in map(name_of, options):
        parser.error("--prefix-size: words of the references would begin the translations; omit it")
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
    check_options(options, prepared["post_process"])
    source, target = direction(args.checkpoints.split(":"), prepared, options)
    sums = checkpoint_sums(args)
    settings = {
        "corpus": "distilled",
        "script": "distil.sh",
        "data": sha256((args.data / "prepared.json").read_bytes()),
        "checkpoints": list(sums.values()),
        "beam": args.beam,
        "lenpen": args.lenpen,
        "options": options,
    }
    if is_done(args.out, settings):
        return
    text = args.data.resolve() / "text" / f"train.{source}"
    is_bpe = prepared["post_process"] == "sentencepiece"
    with text.open("rb") as file:
        expected = sum(1 for _ in file)
    # Parts of other sizes have other sentences.
    begun = {**settings, "batch_size": args.batch_size, "part_size": args.part_size}
    with new_folder(args.out, begun) as partial:
        try:
            languages = ["--source-lang", source, "--target-lang", target]
            sentences = translate(args, [*languages, *options], partial, expected, is_bpe)
        finally:
            if not any(partial.glob("generate*.txt")):  # nothing to continue: remove the folder
                (partial / BEGUN).unlink(missing_ok=True)
        if changed := differing(sums, checkpoint_sums(args)):
            raise UserError(
                f"--checkpoints {few(changed)} changed meanwhile, so the translations may belong "
                "to two models: give checkpoints that no training writes to, such as copies, and "
                "a new --out"
            )
        (partial / "text").mkdir(exist_ok=True)
        shutil.copy(text, partial / "text")
        units: Iterable[str] = sentences
        if is_bpe:
            units = bpe.segmented(bpe.load(args.data / "spm.model"), sentences)
        write_lines(partial / "text" / f"train.{target}", units)
        for lang in (source, target):
            shutil.copy(args.data / f"dict.{lang}.txt", partial)
            with open_text(partial / "text" / f"train.{lang}") as file:
                encode(
                    partial / f"train.{source}-{target}.{lang}",
                    map(str.split, file),
                    load_dictionary(partial / f"dict.{lang}.txt"),
                )
        tools = versions("fairseq", "fairseq-fixed", "torch", "sentencepiece")
        write_record(partial, {**settings, "sha256": sums, "versions": tools})
    print(f"{args.out}: {len(sentences):,} translations; train on {args.data}:{args.out}")


def checkpoint_sums(args: argparse.Namespace) -> dict[str, str]:
    """The SHA-256 of each model."""
    return {path: sha256(Path(path).read_bytes()) for path in args.checkpoints.split(":")}


def translate(
    args: argparse.Namespace, options: list[str], partial: Path, expected: int, is_bpe: bool
) -> list[str]:
    """The translations in the order of the text. `partial` gets the output of fairseq-generate.

    The text is translated in parts, without those that an earlier run has finished.
    """
    options = ["--post-process", "sentencepiece", *options] if is_bpe else options
    whole, printed = partial / "generate.txt", partial / "generate.partial"
    # at least one batch in each part, as fairseq-generate fails without a translation
    number = -(-expected // max(args.part_size, args.batch_size))
    parts = [partial / f"generate-{i + 1:04d}-of-{number:04d}.txt" for i in range(number)]
    left = [] if whole.is_file() else [i for i in range(number) if not parts[i].is_file()]
    if left:
        print(
            f"translating {expected:,} sentences, {len(left)} of {number} parts; "
            f"the progress is in {partial / 'generate.log'}",
            flush=True,
        )
    for i in left:
        # Of all batches, every `number`-th: the translations do not depend on the size of a part.
        shard = ["--distributed-world-size", str(number), "--distributed-rank", str(i)]
        generate(args, [*shard, *options], partial, printed)
        os.replace(printed, parts[i])
    if not whole.is_file():
        join(parts, printed)
        os.replace(printed, whole)
    for part in finished_parts(partial):
        part.unlink()
    return arrange(hypotheses(whole), expected, "translations")


def finished_parts(partial: Path) -> list[Path]:
    return list(partial.glob("generate-*.txt"))


def generate(args: argparse.Namespace, options: list[str], partial: Path, printed: Path) -> None:
    """Run fairseq-generate; `printed` gets its output."""
    command = [sys.executable, "-P", "-m", "fairseq_cli.generate", str(args.data.resolve())]
    command += [f"--path={args.checkpoints}", "--user-dir", str(args.user_dir)]
    command += ["--gen-subset", "train", "--required-batch-size-multiple", "1"]
    command += ["--batch-size", str(args.batch_size)]
    command += ["--beam", str(args.beam), "--lenpen", str(args.lenpen)]
    command += ["--log-format", "simple", "--log-interval", "10", *options]
    log = partial / "generate.log"
    with printed.open("wb") as output, log.open("ab") as messages:
        # It inherits the lock and holds it as well.
        done = subprocess.run(command, close_fds=False, stdout=output, stderr=messages)
    if done.returncode != 0:
        text = log.read_text("utf-8", "replace")
        if long := TOO_LONG.search(text):
            limits = "{'max_source_positions': N, 'max_target_positions': N}"
            raise UserError(
                f"the training text has a sentence longer than the models accept ({long[1]}): "
                f'raise their limit with --max-source-positions N --model-overrides "{limits}", or '
                "leave out such sentences with --max-words N of scripts/prepare_multi30k.sh"
            )
        *_, last = ["no message", *text.splitlines()]
        kept = finished_parts(partial)
        cure = "; the same command continues after the finished parts" if kept else ""
        raise UserError(f"fairseq-generate failed: {last}{cure}")


def join(parts: Iterable[Path], path: Path) -> None:
    with path.open("wb") as file:
        for part in parts:
            with part.open("rb") as text:
                shutil.copyfileobj(text, file)


def hypotheses(printed: Path) -> dict[int, str]:
    with open_text(printed) as file:
        return tagged([line.rstrip("\n") for line in file if line.startswith("H-")], "H")
