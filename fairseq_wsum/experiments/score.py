"""`scripts/score.sh`: translate with fairseq-generate, and score with sacrebleu."""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU

from ..argument_types import positive
from .checkpoints import average_last
from .corpora.folder import PACKAGES, read_translation_record
from .corpora.published import FORMS
from .program import UserError, folder, parse_data_first, say, script_parser, versions
from .text_files import language_of, lines_of, write_lines
from .translating import add_options, direction, generate, limits, read_generated
from .translation_scores import both_ways, detokenised, replace_unknown

DESCRIPTION = """\
Translate a split of DATA (a folder of prepare.sh multi30k or prepare.sh translation) and score it
in both ways: as lower-cased tokens, like the literature on Multi30k, and as detokenised text. The
direction is that in which the model was trained."""
EPILOG = """\
Files in FOLDER (the results of an earlier run are replaced once the new ones are complete; a folder
with other files is refused):
  scores.json         every score with its signature, and how the translations were made
  hypotheses.*.LANG   the translations in the order of the text; *.detok.LANG: detokenised
  generate.*.txt      what fairseq-generate printed; generate.log: its messages
  average.pt          the averaged checkpoint

examples:
  scripts/score.sh data-bin/multi30k --checkpoints runs/first --average 10
  scripts/score.sh data-bin/multi30k --checkpoints runs/first --subset valid \\
      --lenpen 0.6,1.0,1.4
  scripts/score.sh data-bin/multi30k-words --checkpoints runs/words --replace-unk --cpu
  scripts/score.sh data-bin/multi30k --out runs/both \\
      --checkpoints runs/first/checkpoint_best.pt:runs/second/checkpoint_best.pt"""
# what scores.json has of the record of the data
OF_DATA = ("corpus", "text", "units", "max_words", "source_lang", "target_lang")
SCORES = "scores.json"  # marks a folder as one of this program
UNFINISHED = ".score."  # a folder in it, which a killed run leaves
OURS = ("average.pt", "generate.lenpen*.txt", "hypotheses.lenpen*")  # what else it may have


def main(given: list[str]) -> None:
    """Translate and score with a command line; the results are in --out once they are complete."""
    args, options = read_options(given)
    record = read_translation_record(args.data)
    if args.replace_unk and record["units"] == "bpe":
        raise UserError("--replace-unk needs data of --units words: BPE has no unknown words")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out, prefix=UNFINISHED) as temporary:
        work, model = Path(temporary), args.model
        averaged: list[str] = []
        if args.average is not None:
            model = str(work / "average.pt")
            averaged = average_last(args.folder, args.average, Path(model))
            args.model = str(args.out / "average.pt")  # where it will be
            say(f"averaged {' '.join(averaged)}")
        source, target = direction(model, record)
        record |= {"source_lang": source, "target_lang": target}
        _check_references(args.data, args.subset, target)
        fitting, results = limits(model), []
        for penalty in args.lenpen:
            say(
                f"translating {args.subset} from {source} to {target} with "
                f"{' '.join(averaged) or model}, beam {args.beam}, length penalty {penalty}"
            )
            printed, log = work / f"generate.lenpen{penalty}.txt", work / "generate.log"
            words = ["--gen-subset", args.subset, f"--lenpen={penalty}"]
            if args.replace_unk:
                # fairseq's own --replace-unk does not work
                words += ["--print-alignment", "hard"]
            generate(args, record, model, [*fitting, *options, *words], printed, log)
            results.append(_figures(args, record, penalty, printed))
        best = _write(args, options, record, results, averaged, work)
        models = {Path(path).resolve() for path in model.split(":")}
        for old in [path for name in OURS for path in args.out.glob(name)]:
            if old.resolve() not in models:
                old.unlink()
        for new in sorted(work.iterdir()):  # SCORES, the last one, stays until then
            new.replace(args.out / new.name)
    _show(args, results, best)
    say(f"written to {args.out / SCORES}")


def read_options(given: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and those of fairseq-generate."""
    usage = "DATA --checkpoints DIR|FILE[:FILE...] [options]\n"
    usage += "                        [any option of fairseq-generate]"
    parser = script_parser("scripts/score.sh", DESCRIPTION, EPILOG, usage)
    add = parser.add_argument
    help = "the run's --save-dir: use its checkpoint_best.pt, or see --average. Or FILE: "
    help += "use this checkpoint; with several, separated by ':', the ensemble of them"
    add("--checkpoints", required=True, metavar="DIR", help=help)
    help = "average the checkpoints of the last N epochs in DIR or, if it has fewer, the last N "
    help += "of --save-interval-updates"
    add("--average", type=positive, metavar="N", help=help)
    help = "(default test)"
    add("--subset", "--gen-subset", choices=("test", "valid"), default="test", help=help)
    help = "length penalty (default 1). Several print a table and keep the best; they need "
    help += "--subset valid, as choosing on the test set would flatter the result"
    add("--lenpen", type=penalties, default=["1"], metavar="P[,P...]", help=help)
    add_options(parser, batch_size=64)
    help = "fp32 (default), or bf16, which is faster on a CPU with AVX-512"
    add("--precision", choices=("fp32", "bf16"), default="fp32", help=help)
    help = "replace every unknown word by the source word with the most attention; for data "
    help += "prepared with --units words. With fairseq's own lstm give --batch-size 1, because "
    help += "its attention weights refer to the text with its padding moved"
    add("--replace-unk", action="store_true", help=help)
    help = "folder for the results (default DIR/score-S)"
    add("--out", type=folder, metavar="FOLDER", help=help)
    args, options = parse_data_first(parser, given)
    args.data = folder(args.data)
    if args.precision == "bf16":
        options.append("--bf16")
    if args.subset == "test" and len(args.lenpen) > 1:
        raise UserError(
            f"--lenpen {','.join(args.lenpen)} with --subset test: choose the penalty with "
            "--subset valid first"
        )
    _check_models(args)
    return args, options


def penalties(text: str) -> list[str]:
    """The type of --lenpen."""
    found = text.split(",")
    _ = [float(penalty) for penalty in found]
    return found


def _check_models(args: argparse.Namespace) -> None:
    """Check the models; set `model`, the path for fairseq-generate, and `folder`, their folder."""
    members = [Path(name) for name in args.checkpoints.split(":")]
    for member in members:
        if not member.exists():
            raise UserError(
                f"--checkpoints {member}: no such file or folder (a ':' ends the name of a model)"
            )
    first = members[0]
    args.model, args.folder = args.checkpoints, first if first.is_dir() else first.parent
    if len(members) > 1 and (args.out is None or any(member.is_dir() for member in members)):
        raise UserError("an ensemble needs files, and --out FOLDER for its scores")
    if args.average is not None and not first.is_dir():
        raise UserError(f"--average needs a folder, and --checkpoints {first} is none")
    if args.average is None and first.is_dir():
        args.model = str(first / "checkpoint_best.pt")
        if not Path(args.model).is_file():
            raise UserError(
                f"{first} has no checkpoint_best.pt; name a checkpoint file, or use --average"
            )
    args.out = args.out or args.folder / f"score-{args.subset}"
    there = [path.name for path in args.out.glob("*") if not path.name.startswith(UNFINISHED)]
    if there and SCORES not in there:
        raise UserError(f"--out {args.out} has other files in it; give a new folder")


def _check_references(data: Path, subset: str, target: str) -> None:
    """Check that there is a reference, and that sacrebleu can tokenise it."""
    if not any((data / "reference" / f"{subset}.{form}.{target}").is_file() for form in FORMS):
        raise UserError(
            f"{data}/reference has no {subset} split in {target}: prepare the data again, in a new "
            "folder"
        )
    try:
        BLEU(trg_lang=language_of(target))
    except (ImportError, RuntimeError) as error:  # such as a tokeniser for Japanese
        raise UserError(f"sacrebleu cannot tokenise {target}: {str(error).strip()}") from error


def _figures(
    args: argparse.Namespace, record: dict[str, Any], penalty: str, printed: Path
) -> dict[str, Any]:
    """Score what fairseq-generate printed with a length penalty, and write it beside that."""
    subset, target, work = args.subset, record["target_lang"], printed.parent
    source = lines_of(args.data / "text" / f"{subset}.{record['source_lang']}")
    sentences = read_generated(printed, "H", len(source))
    if args.replace_unk:
        alignments = read_generated(printed, "A", len(source))
        sentences = replace_unknown(sentences, alignments, source)
    detok = detokenised(sentences, record)
    write_lines(work / f"hypotheses.lenpen{penalty}.{target}", sentences)
    write_lines(work / f"hypotheses.lenpen{penalty}.detok.{target}", detok)
    figures = both_ways(sentences, detok, record, args.data / "reference", subset)
    form = ".detok" if record["text"] == "raw" else ""  # that of the first figure
    name = f"hypotheses.lenpen{penalty}{form}.{target}"
    return {"lenpen": float(penalty), "hypotheses": name, "figures": figures}


def _write(
    args: argparse.Namespace,
    options: list[str],
    prepared: dict[str, Any],
    results: list[dict[str, Any]],
    averaged: list[str],
    work: Path,
) -> dict[str, Any]:
    """Write scores.json, and return the best result."""
    best = max(results, key=lambda result: result["figures"][0]["score"])
    record = {
        **best,
        "subset": args.subset,
        "sentences": len(lines_of(args.data / "text" / f"{args.subset}.{prepared['target_lang']}")),
        "checkpoint": args.model,
        "averaged": averaged,
        "beam": args.beam,
        "replace_unk": args.replace_unk,
        "generate_options": shlex.join(options),
        "data": {name: prepared[name] for name in OF_DATA},
        "tried": results,
        "versions": versions(*PACKAGES, "sacrebleu"),
    }
    (work / SCORES).write_text(json.dumps(record, indent=2) + "\n")
    return best


def _show(args: argparse.Namespace, results: list[dict[str, Any]], best: dict[str, Any]) -> None:
    if len(results) > 1:
        first = best["figures"][0]
        print(f"{first['metric']} {args.subset}, {first['text']}, {first['signature']}")
        for result in results:
            mark = "  best" if result is best else ""
            print(f"  lenpen {result['lenpen']:g}: {result['figures'][0]['score']:.2f}{mark}")
    print(f"{args.subset}, beam {args.beam}, lenpen {best['lenpen']:g}:")
    for figure in best["figures"]:
        print(f"  {figure['metric']:5} {figure['score']:6.2f}  {figure['text']}")
        print(f"                {figure['signature']}")
