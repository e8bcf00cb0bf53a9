"""`scripts/distil.sh`: translate the training text with trained models, as another text."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .corpora import bpe
from .corpora.folder import UNKNOWN, is_done, new_folder, read_translation_record, write_record
from .corpora.reading import file_sha256
from .corpora.translation import binarise
from .program import UserError, folder, parse_data_first, script_parser
from .text_files import lines_of, sha256, write_lines
from .translating import add_options, direction, generate, limits, read_generated

DESCRIPTION = """\
Translate the training text of DATA (a folder of prepare.sh multi30k or prepare.sh translation) with
one model or an ensemble, in the direction in which they were trained, and make a folder in which
these translations are the target text: sequence-level knowledge distillation (Kim and Rush, 2016).
A model that trains on both texts in turn,

  scripts/train.sh DATA:OUT ...

learns from the references and from the models. Further options go to fairseq-generate, such as
--cpu. With 29,000 sentences and five small models it takes about 40 minutes on one core."""
EXAMPLES = """\
examples:
  scripts/distil.sh data-bin/multi30k --out data-bin/multi30k-distilled \\
      --checkpoints runs/first/checkpoint_best.pt:runs/second/checkpoint_best.pt --lenpen 1.4"""


def read_options(given: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and those of fairseq-generate."""
    usage = "DATA --checkpoints FILE[:FILE...] --out OUT [options]"
    parser = script_parser("scripts/distil.sh", DESCRIPTION, EXAMPLES, usage)
    add = parser.add_argument
    help = "the model, or the models of an ensemble"
    add("--checkpoints", required=True, metavar="FILE[:FILE...]", help=help)
    add("--out", required=True, type=folder, metavar="OUT", help="the new folder")
    add("--lenpen", type=float, default=1.0, metavar="P", help="length penalty (default 1)")
    add_options(parser, batch_size=256)
    args, options = parse_data_first(parser, given)
    args.data = folder(args.data)
    for path in args.checkpoints.split(":"):
        if not Path(path).is_file():
            raise UserError(f"--checkpoints {path}: no such file")
    return args, options


def main(given: list[str]) -> None:
    """Make the folder with a command line."""
    args, options = read_options(given)
    record = read_translation_record(args.data)
    models = args.checkpoints.split(":")
    source, target = direction(args.checkpoints, record)
    record |= {"source_lang": source, "target_lang": target}
    sums = {path: file_sha256(Path(path)) for path in models}
    settings = {
        "corpus": "distilled",
        "data": sha256((args.data / "prepared.json").read_bytes()),
        "checkpoints": list(sums.values()),
        "beam": args.beam,
        "lenpen": args.lenpen,
        "options": options,
    }
    if is_done(args.out, settings):
        return
    with new_folder(args.out) as partial:
        sentences = translate(args, record, options, partial)
        text = partial / "text"
        text.mkdir()
        shutil.copy(args.data / "text" / f"train.{source}", text)
        units: Iterable[str] = sentences
        if record["units"] == "bpe":
            units = segmented(bpe.load(args.data / "spm.model"), sentences)
        write_lines(text / f"train.{target}", units)
        for lang in (source, target):
            shutil.copy(args.data / f"dict.{lang}.txt", partial)
        binarise(partial, (source, target), ["train"])
        write_record(partial, {**settings, "sha256": sums})
    print(f"{args.out}: {len(sentences):,} translations; train on {args.data}:{args.out}")


def segmented(model: Any, translations: list[str]) -> Iterator[str]:
    """Translations cut into units, of which <unk> stays one."""
    other = "\uffff"  # a character that no text has
    for units in bpe.segmented(model, (line.replace(UNKNOWN, other) for line in translations)):
        yield re.sub(f"{other}+", UNKNOWN, units)


def translate(
    args: argparse.Namespace, record: dict[str, Any], options: list[str], partial: Path
) -> list[str]:
    """The translations of the training text, in its order.

    `partial` gets the output of fairseq-generate.
    """
    expected = len(lines_of(args.data / "text" / f"train.{record['source_lang']}"))
    printed, log = partial / "generate.txt", partial / "generate.log"
    print(f"translating {expected:,} sentences; the progress is in {log}", flush=True)
    options = [*limits(args.checkpoints), *options, "--gen-subset", "train"]
    options += ["--lenpen", str(args.lenpen)]
    generate(args, record, args.checkpoints, options, printed, log)
    return read_generated(printed, "H", expected)
