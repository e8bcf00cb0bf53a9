"""Compare whole programs with those of fairseq's own model of the same sizes.

Any further options are passed to fairseq-train, or by `decode` to fairseq-generate alone. Each run
is its own process, as for a user, and the systems take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from systems import PEER, TRANSLATION, System, language_models

from fairseq_wsum import CELLS
from fairseq_wsum.argument_types import positive
from fairseq_wsum.cli import table
from fairseq_wsum.machine import machine

HERE = Path(__file__).resolve().parent
Rates = dict[str, float]  # the median of each system


def train(
    data: str, compared: Sequence[System], updates: int, rounds: int, options: Sequence[str]
) -> Rates:
    """Words per second of `fairseq-train`, the median over all updates but the first few."""
    skipped = max(2, updates // 5)  # these warm up the caches and the allocator

    def read(log: str) -> list[float]:
        lines = re.findall(r"train_inner \| (\{.*\})", log)
        return [float(json.loads(line)["wps"]) for line in lines][skipped:]

    # a new folder, as fairseq would continue a training that it finds in ./checkpoints
    with tempfile.TemporaryDirectory() as folder:

        def command(system: System) -> list[str]:
            command = ["train", data, *system.options, "--max-update", str(updates)]
            command += ["--optimizer", "sgd", "--lr", "0.1", "--sentence-avg", "--no-save"]
            command += ["--clip-norm", "5"]  # without clipping the training would diverge
            command += ["--disable-validation", "--log-format", "json", "--log-interval", "1"]
            return [*command, "--save-dir", folder, "--seed", "1", *options]

        return measure(compared, rounds, command, read)


def decode(
    data: str,
    compared: Sequence[System],
    length: int,
    rounds: int,
    batch_size: int,
    common: Sequence[str],
    options: Sequence[str],
) -> Rates:
    """Sentences per second of `fairseq-generate`, beam 5, on the test set.

    The models are trained for one update. Every translation has `length` tokens, so that all
    systems take the same number of steps. The options in `common` are for `fairseq-train`, too.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = {}
        for system in compared:
            if system.compute_type:
                continue
            save_dir = Path(folder, system.name)
            begin = ["train", data, *system.options, "--max-update", "1", "--lr", "0.1"]
            begin += ["--optimizer", "sgd", "--save-dir", str(save_dir), "--disable-validation"]
            log = run([*begin, "--no-epoch-checkpoints", *common], system)
            checkpoints[system.name] = save_dir / "checkpoint_last.pt"
            assert checkpoints[system.name].exists(), log

        def command(system: System) -> list[str]:
            if system.compute_type:
                command = ["ctranslate2_peer.py", data, str(checkpoints[PEER])]
                command += ["--compute-type", system.compute_type, "--length", str(length)]
                return [*command, "--batch-size", str(batch_size)]
            command = ["generate", data, "--path", str(checkpoints[system.name]), "--beam", "5"]
            command += ["--max-len-a", "0", "--max-len-b", str(length), "--min-len", str(length)]
            return [*command, *common, *system.decoding, *options]

        def read(log: str) -> list[float]:
            found = re.findall(r"Translated .*\(([\d.]+) sentences/s", log)
            return [float(rate) for rate in found]

        return measure(compared, rounds, command, read)


def measure(
    compared: Sequence[System],
    rounds: int,
    command: Callable[[System], list[str]],
    read: Callable[[str], list[float]],
) -> Rates:
    """Run all systems in turn; `read` returns the rates in the output of a run."""
    rates: dict[str, list[float]] = {system.name: [] for system in compared}
    for number in range(rounds):
        for system in compared:
            print(f"round {number + 1}: {system.name}", file=sys.stderr, flush=True)
            log = run(command(system), system)
            found = read(log)
            if not found:
                raise RuntimeError(f"no speed in the output:\n{log[-3000:]}")
            rates[system.name] += found
    return {name: statistics.median(values) for name, values in rates.items()}


def run(arguments: Sequence[str], system: System) -> str:
    """Run `fairseq-...` with the package's models, or a peer's file; return its output.

    The exit status is not checked: a thread of fairseq that reads ahead may abort the process while
    Python exits.
    """
    program, *rest = arguments
    if system.compute_type:
        command = [sys.executable, "-P", str(HERE / program), *rest]
    else:
        command = [sys.executable, "-P", "-m", f"fairseq_cli.{program}", *rest]
        command += ["--user-dir", str(HERE.parent / "fairseq_wsum")]
        command += ["--required-batch-size-multiple", "1"]
    environment = os.environ | {"FAIRSEQ_WSUM_SEARCH": "fairseq" if system.own_search else ""}
    output = subprocess.PIPE
    return subprocess.run(
        command, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
    ).stdout


def rows(rates: Rates, unit: str) -> list[dict[str, str]]:
    """The rows of a table."""
    return [
        {"model": name, unit: f"{rate:,.1f}", "times as fast": f"{rate / rates[PEER]:.2f}"}
        for name, rate in rates.items()
    ]


def for_training(args: argparse.Namespace) -> list[System]:
    """The systems of `train`: also fairseq's Transformer with fairseq's criterion."""
    found = TRANSLATION[args.model](args.cells)
    if args.model == "transformer":  # the latter of two options counts
        options = [*found[0].options, "--criterion", "label_smoothed_cross_entropy"]
        found.insert(1, System(f"{PEER} with fairseq's criterion", options))
    return found


def for_decoding(args: argparse.Namespace) -> list[System]:
    """The systems of `decode`."""
    peer, *ours = TRANSLATION[args.model](args.cells)
    found = [peer, replace(peer, name=f"{PEER} with the search of this package", own_search=False)]
    found += ours
    if args.bf16:
        found += [replace(s, name=f"{s.name}, bf16", decoding=("--bf16",)) for s in ours]
    if args.ctranslate2:
        kinds = ("float32", "int8")
        found += [System(f"CTranslate2, {kind}", compute_type=kind) for kind in kinds]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, with `arguments` or those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, help, batch in (
        ("train", "words per second of fairseq-train, translation", 64),
        ("decode", "sentences per second of fairseq-generate", 64),
        ("lm", "tokens per second of fairseq-train, language model", 20),
    ):
        command = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        add = command.add_argument
        add("data", help="a folder of fairseq-preprocess")
        add("--cells", nargs="+", choices=CELLS, default=["lstm", "no-srnn-hidden"])
        add("--batch-size", type=positive, default=batch, help=f"(default {batch})")
        add("--rounds", type=positive, default=3, help="runs of each model (default 3)")
        if name != "lm":
            help = "compare the package's model with this one of fairseq (default lstm)"
            add("--model", choices=TRANSLATION, default="lstm", help=help)
        if name == "decode":
            help = "tokens per translation (default 15)"
            add("--length", type=positive, default=15, help=help)
            help = "also CTranslate2 (pip install ctranslate2), with --model transformer"
            add("--ctranslate2", action="store_true", help=help)
            help = "decode with this package's models in bf16, too"
            add("--bf16", action="store_true", help=help)
        else:
            add("--updates", type=positive, default=20, help="updates per run (default 20)")
    args, rest = parser.parse_known_args(arguments)
    print(f"batches of {args.batch_size}, {args.data}, {machine()}", flush=True)
    common = ["--batch-size", str(args.batch_size)]
    if not torch.cuda.is_available():
        common.append("--cpu")
    if args.what == "decode":
        sizes = (args.length, args.rounds, args.batch_size)
        rates = decode(args.data, for_decoding(args), *sizes, common, rest)
        unit = "sentences a second"
    else:
        compared = language_models(args.cells) if args.what == "lm" else for_training(args)
        rates = train(args.data, compared, args.updates, args.rounds, [*common, *rest])
        unit = "tokens a second" if args.what == "lm" else "target words a second"
    print(table(rows(rates, unit)))


if __name__ == "__main__":
    main()
