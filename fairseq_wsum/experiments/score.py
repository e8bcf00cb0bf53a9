"""`scripts/score.sh`: translate with fairseq-generate, and score with sacrebleu."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU

from ..argument_types import positive
from .average import average_last
from .corpora import FORMS
from .figures import both_ways, detokenised, replace_unknown
from .files import (
    PACKAGE,
    UserError,
    call,
    changed_meanwhile,
    failure,
    folder,
    lines_of,
    parse_data_first,
    run,
    say,
    script_parser,
    versions,
    write_lines,
)
from .folder import read_translation_record
from .generated import TOO_LONG, arrange, tagged
from .translating import check_options, direction, value_of

DESCRIPTION = """\
Translate a split of DATA (a folder of scripts/prepare_multi30k.sh) and score it in both ways: as
lower-cased tokens, like the literature on Multi30k, and as detokenised text. The direction is that
in which the model was trained."""
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
# of the record of the data, for scoring a translation
NEEDED = ("text", "units", "max_words", "own_corpus", "source_lang", "target_lang")
SCORES = "scores.json"  # marks a folder as one of this program
OURS = ("hypotheses.lenpen*", "generate.lenpen*.txt", "average.pt")


def main() -> None:
    """Run the command line of this process."""
    run(lambda: score(*read_options(sys.argv[1:])))


def read_options(given: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and those of fairseq-generate."""
    usage = "DATA --checkpoints DIR|FILE[:FILE...] [options]\n"
    usage += "                        [any option of fairseq-generate]"
    parser = script_parser("score.sh", usage, DESCRIPTION, EPILOG)
    add = parser.add_argument
    help = "the training's --save-dir: use its checkpoint_best.pt, or see --average. Or FILE: "
    help += "use this checkpoint; with several, separated by ':', the ensemble of them"
    add("--checkpoints", required=True, metavar="DIR", help=help)
    help = "average the checkpoints of the last N epochs in DIR or, if it has fewer, the last N "
    help += "of --save-interval-updates"
    add("--average", type=positive, metavar="N", help=help)
    add(
        "--subset", "--gen-subset", choices=("test", "valid"), default="test", help="(default test)"
    )
    add("--beam", type=positive, default=5, metavar="N", help="beam size (default 5)")
    help = "length penalty (default 1). Several print a table and keep the best; they need "
    help += "--subset valid, as choosing on the test set would flatter the result"
    add("--lenpen", type=_penalties, default=["1"], metavar="P[,P...]", help=help)
    help = "sentences per batch (default 64)"
    add("--batch-size", type=positive, default=64, metavar="N", help=help)
    help = "fp32 (default), or bf16, which is faster on a CPU with AVX-512"
    add("--precision", choices=("fp32", "bf16"), default="fp32", help=help)
    help = "replace every unknown word by the source word with the most attention; for data "
    help += "prepared with --units words. With fairseq's own lstm give --batch-size 1, because "
    help += "its attention weights refer to the text with its padding moved"
    add("--replace-unk", action="store_true", help=help)
    help = "folder for the results (default DIR/score-S)"
    add("--out", type=folder, metavar="FOLDER", help=help)
    help = "fairseq modules to load, for a cell of your own (default: this plugin)"
    add("--user-dir", type=Path, default=PACKAGE, metavar="DIR", help=help)
    words = iter(given)
    # argparse would take a list that begins with a minus sign for an option
    joined = [f"{word}={next(words, '')}" if word == "--lenpen" else word for word in words]
    args, data, options = parse_data_first(parser, joined)
    args.data = folder(data)
    if args.precision == "bf16":
        options.append("--bf16")
    if args.subset == "test" and len(args.lenpen) > 1:
        raise UserError(
            f"--lenpen {','.join(args.lenpen)} with --subset test: choose the penalty with "
            "--subset valid first"
        )
    if not (args.data / "prepared.json").is_file():
        raise UserError(
            f"{args.data} has no prepared.json; make the data with scripts/prepare_multi30k.sh, or "
            "with prepare_translation.sh for text of your own, or translate it with "
            "fairseq-generate"
        )
    if not args.user_dir.is_dir():
        raise UserError(f"--user-dir {args.user_dir}: no such folder")
    _check_models(args)
    return args, options


def _penalties(text: str) -> list[str]:
    found = text.split(",")
    try:
        finite = all(math.isfinite(float(penalty)) for penalty in found)
    except ValueError:
        finite = False
    if not finite:
        raise argparse.ArgumentTypeError(f"{text}: give numbers, such as 0.6,1.0")
    return found


def _check_models(args: argparse.Namespace) -> None:
    """Check the models; set `model`, the path for fairseq-generate, and `folder`, their folder."""
    if ":" in args.checkpoints and Path(args.checkpoints).exists():
        raise UserError(
            f"--checkpoints {args.checkpoints}: fairseq splits paths at ':'; give a path without "
            "one, such as a link to it"
        )
    members = [Path(name) for name in args.checkpoints.split(":")]
    for member in members:
        if not member.exists() or member == Path():
            raise UserError(f"--checkpoints {member}: no such file or folder")
    first = members[0]
    args.model, args.folder = args.checkpoints, first if first.is_dir() else first.parent
    if len(members) > 1:
        if not all(member.is_file() for member in members):
            raise UserError(f"--checkpoints {args.checkpoints}: an ensemble needs files")
        if args.out is None:
            raise UserError("an ensemble needs --out FOLDER for its scores")
    elif first.is_dir():
        args.model = str(first / "checkpoint_best.pt")
        if args.average is None and not Path(args.model).is_file():
            raise UserError(
                f"{first} has no checkpoint_best.pt; name a checkpoint file, or use --average"
            )
    if args.average is not None and not first.is_dir():
        raise UserError(f"--average needs a folder, and --checkpoints {args.checkpoints} is none")
    args.out = args.out or args.folder / f"score-{args.subset}"
    if args.out.is_file() or (args.out.is_symlink() and not args.out.exists()):
        raise UserError(f"--out {args.out} is no folder; give a folder")
    if args.out.is_dir() and any(args.out.iterdir()) and not (args.out / SCORES).is_file():
        raise UserError(f"--out {args.out} has other files in it; give a new folder")


def score(args: argparse.Namespace, options: list[str]) -> None:
    """Translate and score; the results are in `args.out` once they are complete."""
    record = read_translation_record(args.data, (*NEEDED, "post_process"))
    check_options(options, record["post_process"])
    paths = args.model.split(":")
    if args.average is not None:  # the direction is that of any checkpoint in the folder
        paths = sorted(map(str, args.folder.glob("checkpoint*.pt")))[:1]
    source, target = direction(paths, record, options)
    _check_references(args.data, args.subset, target)
    if args.replace_unk and record["post_process"]:
        raise UserError("--replace-unk needs data of --units words: BPE has no unknown words")
    prepared = {**record, "source_lang": source, "target_lang": target}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out.parent, prefix=".score.") as temporary:
        work = Path(temporary, "score")  # it becomes OUT, or its files move there
        work.mkdir()
        averaged: list[str] = []
        if args.average is not None:
            averaged = average_last(args.folder, args.average, work / "average.pt")
            args.model = str(work / "average.pt")
            say(f"averaged {' '.join(averaged)}")
        with changed_meanwhile("--checkpoints", args.model):
            for penalty in args.lenpen:
                say(
                    f"translating {args.subset} from {source} to {target} with "
                    f"{' '.join(averaged) or args.model}, beam {args.beam}, length penalty "
                    f"{penalty}"
                )
                _translate(args, options, prepared, penalty, work)
        if averaged:
            args.model = str(args.out / "average.pt")  # where it will be
        _score(args, options, prepared, averaged, work)
        _move(work, args.out)
    say(f"written to {args.out / SCORES}")


def _check_references(data: Path, subset: str, target: str) -> None:
    """Check that there is a reference, and that sacrebleu can tokenise it."""
    if not any((data / "reference" / f"{subset}.{form}.{target}").is_file() for form in FORMS):
        raise UserError(
            f"{data}/reference has no {subset} split in {target}: prepare the data again, in a new "
            "folder"
        )
    try:
        BLEU(trg_lang=target)
    except (ImportError, RuntimeError) as error:  # such as a tokeniser for Japanese
        raise UserError(f"sacrebleu cannot tokenise {target}: {str(error).strip()}") from error


def _translate(
    args: argparse.Namespace,
    options: list[str],
    prepared: Mapping[str, Any],
    penalty: str,
    work: Path,
) -> None:
    """Run fairseq-generate with a length penalty."""
    command = ["fairseq-generate", str(args.data), "--path", args.model]
    command += ["--gen-subset", args.subset, "--beam", str(args.beam), f"--lenpen={penalty}"]
    command += ["--source-lang", prepared["source_lang"], "--target-lang", prepared["target_lang"]]
    command += ["--batch-size", str(args.batch_size), "--user-dir", str(args.user_dir)]
    # fairseq's default multiple would drop the last sentences
    command += ["--required-batch-size-multiple", "1", "--distributed-world-size", "1"]
    if prepared["post_process"]:
        command += ["--post-process", prepared["post_process"]]
    if args.replace_unk:
        # fairseq's own --replace-unk needs the data as text; `replace_unknown` has these alignments
        command += ["--print-alignment", "hard"]
    with (work / f"generate.lenpen{penalty}.txt").open("wb") as printed:
        log = call([*command, *options], work / "generate.log", printed)
    if log is None:
        return
    if found := TOO_LONG.search(log):
        raise UserError(
            f"{args.subset} has a sentence longer than the model accepts ({found[1]}), and a score "
            "needs every sentence. An LSTM itself has no limit: raise the model's with "
            "--max-source-positions N --max-target-positions N --model-overrides "
            "\"{'max_source_positions': N, 'max_target_positions': N}\""
        )
    error = failure("fairseq-generate", log)
    if "--print-alignment" in log:
        raise UserError(f"--replace-unk needs --print-alignment, which failed: {error}")
    raise error


def _score(
    args: argparse.Namespace,
    options: list[str],
    prepared: dict[str, Any],
    averaged: list[str],
    work: Path,
) -> None:
    """Score what fairseq-generate printed, and write scores.json."""
    source, target, subset = prepared["source_lang"], prepared["target_lang"], args.subset
    expected = len(lines_of(args.data / "text" / f"{subset}.{target}"))
    results: list[dict[str, Any]] = []
    for lenpen in args.lenpen:
        printed = lines_of(work / f"generate.lenpen{lenpen}.txt")
        sentences = arrange(tagged(printed, "H"), expected, "hypotheses")
        if args.replace_unk:
            words = lines_of(args.data / "text" / f"{subset}.{source}")
            alignments = arrange(tagged(printed, "A"), expected, "alignments")
            sentences = replace_unknown(sentences, alignments, words)
        detok = detokenised(sentences, prepared)
        write_lines(work / f"hypotheses.lenpen{lenpen}.{target}", sentences)
        write_lines(work / f"hypotheses.lenpen{lenpen}.detok.{target}", detok)
        figures = both_ways(sentences, detok, prepared, args.data / "reference", subset)
        results.append({"lenpen": float(lenpen), "figures": [asdict(f) for f in figures]})
    best = max(results, key=lambda result: result["figures"][0]["score"])
    record = {
        **best,
        "subset": subset,
        "sentences": expected,
        "checkpoint": args.model,
        "averaged": averaged,
        "beam": args.beam,
        "replace_unk": args.replace_unk,
        "generate_options": shlex.join(options),
        "note": _note(options),
        "data": {name: prepared[name] for name in NEEDED},
        "tried": results,
        "versions": versions("fairseq", "fairseq-fixed", "torch", "sacrebleu", "sacremoses"),
    }
    (work / SCORES).write_text(json.dumps(record, indent=2) + "\n")
    _show(results, best, args, record["note"])


def _note(options: list[str]) -> str | None:
    """What a reader of the scores must know about them, if anything."""
    size = value_of(options, "--prefix-size") or "0"
    if size == "0":
        return None
    return f"the first {size} units of each translation are those of its reference (--prefix-size)"


def _show(
    results: list[dict[str, Any]], best: dict[str, Any], args: argparse.Namespace, note: str | None
) -> None:
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
    if note:
        print(f"note: {note}")


def _move(work: Path, out: Path) -> None:
    """Let new results take the place of what an earlier run left, and of nothing else.

    The old scores.json, which marks the folder, stays until the new one takes its place.
    """
    out.mkdir(exist_ok=True)
    new = {path.name for path in work.iterdir()}
    for pattern in OURS:
        for old in out.glob(pattern):
            if old.name not in new:
                old.unlink()
    for name in sorted(new, key=lambda name: name == SCORES):
        shutil.move(work / name, out / name)
