"""Compare whole programs with those of fairseq's own model of the same sizes.

Any further options are passed to fairseq-train, or by `decode` to fairseq-generate alone. Each run
is its own process, as for a user.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import profiles
import report
import torch
from profiles import Profile
from systems import (
    CTRANSLATE2,
    FAST_PEER,
    ONEDNN_PEER,
    PEER,
    TRANSLATION,
    System,
    add_sizes,
    language_models,
    read_sizes,
)

from fairseq_wsum import CELLS


@dataclass
class Measured:
    """The rates from fairseq's log, and the profiles if requested, by the system's name."""

    rates: dict[str, float]
    profiles: dict[str, Profile]


def train(
    data: str,
    compared: Sequence[System],
    updates: int,
    rounds: int,
    options: Sequence[str],
    profile: bool = False,
) -> Measured:
    """Words per second of `fairseq-train`, the median over all updates but the first few.

    Args:
        data: a folder of `fairseq-preprocess`.
        compared: the systems to measure.
        updates: the number of updates per run.
        rounds: the number of runs of each system; the systems take turns.
        options: further options of `fairseq-train`.
        profile: run each system once more under torch's profiler.
    """
    skipped = max(2, updates // 5)  # these warm up the caches and the allocator

    def read(log: str) -> list[float]:
        lines = re.findall(r"train_inner \| (\{.*\})", log)
        rates = [float(json.loads(line)["wps"]) for line in lines][skipped:]
        if not rates:
            raise RuntimeError(
                f"no updates after the first {skipped} in fairseq's log:\n{log[-2000:]}"
            )
        return rates

    # a new folder, as fairseq would continue a training that it finds in ./checkpoints
    with tempfile.TemporaryDirectory() as folder:

        def command(system: System) -> list[str]:
            command = ["train", data, *system.options, "--max-update", str(updates)]
            command += ["--optimizer", "sgd", "--lr", "0.1", "--sentence-avg", "--no-save"]
            command += ["--clip-norm", "5"]  # without clipping the training would diverge
            command += ["--disable-validation", "--log-format", "json", "--log-interval", "1"]
            return [*command, "--save-dir", folder, "--seed", "1", *options]

        return _measure(compared, rounds, command, read, profile)


def decode(
    data: str,
    compared: Sequence[System],
    length: int,
    rounds: int,
    common: Sequence[str],
    options: Sequence[str],
    profile: bool = False,
) -> Measured:
    """Sentences per second of `fairseq-generate`, beam 5, on the test set.

    The models are trained for one update. Every translation has `length` tokens, so that all
    systems take the same number of steps.

    Args:
        data: a folder of `fairseq-preprocess`.
        compared: the systems to measure.
        length: the number of tokens in each translation.
        rounds: the number of runs of each system; the systems take turns.
        common: options of both `fairseq-train` and `fairseq-generate`.
        options: further options of `fairseq-generate`.
        profile: run each system once more under torch's profiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = {}
        for place, system in enumerate(compared):
            if system.compute_type:
                continue
            save_dir = Path(folder) / str(place)
            begin = ["train", data, *system.options, "--max-update", "1", "--lr", "0.1"]
            begin += ["--optimizer", "sgd", "--save-dir", str(save_dir), "--disable-validation"]
            _run([*begin, "--no-epoch-checkpoints", *common], system)
            checkpoints[system.name] = save_dir / "checkpoint_last.pt"

        def command(system: System) -> list[str]:
            if system.compute_type:
                size = common[common.index("--batch-size") + 1]
                command = ["ctranslate2_peer.py", data, str(checkpoints[PEER])]
                command += ["--compute-type", system.compute_type, "--batch-size", size]
                return [*command, "--length", str(length)]
            command = ["generate", data, "--path", str(checkpoints[system.name]), "--beam", "5"]
            command += ["--max-len-a", "0", "--max-len-b", str(length), "--min-len", str(length)]
            return [*command, *common, *system.decoding, *options]

        def read(log: str) -> list[float]:
            found = re.search(r"Translated .*\(([\d.]+) sentences/s", log)
            if not found:
                raise RuntimeError(f"fairseq-generate printed no speed:\n{log[-2000:]}")
            return [float(found[1])]

        return _measure(compared, rounds, command, read, profile)


def _measure(
    compared: Sequence[System],
    rounds: int,
    command: Callable[[System], list[str]],
    read: Callable[[str], list[float]],
    profile: bool,
) -> Measured:
    rates: dict[str, list[float]] = {system.name: [] for system in compared}
    for number in range(rounds):
        for system in compared:
            _say(f"round {number + 1} of {rounds}: {system.name}")
            rates[system.name] += read(_run(command(system), system))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    if profile:  # which may fail
        _say(f"medians: {medians}")
    profiles = {}
    for system in compared if profile else ():
        if system.compute_type:  # no operations of torch
            continue
        _say(f"profile: {system.name}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "profile.json"
            log = _run(command(system), system, path)
            words = re.findall(r"dictionary: (\d+) types", log)
            profiles[system.name] = Profile.read(path, int(words[-1]))
    return Measured(medians, profiles)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _run(arguments: Sequence[str], system: System, profile: Path | None = None) -> str:
    """Run `fairseq-...` with the package's models, or a peer's file; return its output."""
    folder = Path(__file__).parent
    program, *rest = arguments
    command = [sys.executable, "-P"]
    if system.compute_type:
        command += [str(folder / program), *rest]
    else:
        command.append(str(folder / "child.py"))
        command += ["--onednn"] if system.onednn else []
        command += ["--profile", str(profile)] if profile else []
        command += [f"fairseq_cli.{program}", *rest]
        command += ["--user-dir", str(folder.parent / "fairseq_wsum")]
        command += ["--required-batch-size-multiple", "1"]
    environment = os.environ | {"FAIRSEQ_WSUM_SEARCH": "fairseq" if system.own_search else ""}
    output = subprocess.PIPE
    done = subprocess.run(
        command, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"{program} failed:\n{done.stdout[-3000:]}")
    return done.stdout


def rows(rates: Mapping[str, float], unit: str) -> list[dict[str, str]]:
    """The rows of a table."""
    peers = {PEER: "times as fast", ONEDNN_PEER: "with fairseq through oneDNN"}
    return [
        {"model": name, unit: f"{rate:,.1f}"}
        | {title: f"{rate / rates[peer]:.2f}" for peer, title in peers.items() if peer in rates}
        for name, rate in rates.items()
    ]


# The command line


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, with `arguments` or those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    for name, run, help, models, batch in (
        ("train", _bench_train, "words per second of fairseq-train, translation", TRANSLATION, 64),
        ("decode", _bench_decode, "sentences per second of fairseq-generate", TRANSLATION, 64),
        ("lm", _bench_lm, "tokens per second of fairseq-train, language model", ["lstm_lm"], 20),
    ):
        command = commands.add_parser(name, help=help, description=help)
        command.set_defaults(run=run)
        add = command.add_argument
        add("data", help="a folder of fairseq-preprocess")
        if models is TRANSLATION:
            help = "compare the package's model with this one of fairseq (default lstm)"
            add("--model", choices=models, default="lstm", help=help)
        add("--cells", nargs="+", choices=CELLS, default=["lstm", "no-srnn-hidden"])
        add_sizes(command, *models)
        add("--batch-size", type=report.positive, default=batch, help=f"(default {batch})")
        add("--rounds", type=report.positive, default=3, help="runs of each model (default 3)")
        add("--onednn-peer", action="store_true", help="also run fairseq's model with oneDNN")
        add("--profile", action="store_true", help="run each model once more with a profiler")
        add(
            "--json", type=report.output_file, metavar="FILE", help="also write all results to FILE"
        )
        if name == "decode":
            help = "tokens per translation (default 15)"
            add("--length", type=report.positive, default=15, help=help)
            help = "also CTranslate2 (pip install ctranslate2), with --model transformer"
            add("--ctranslate2", action="store_true", help=help)
            help = "decode with this package's models in bf16, too"
            add("--bf16", action="store_true", help=help)
        else:
            add("--updates", type=report.positive, default=20, help="updates per run (default 20)")
        if name == "lm":
            help = "time steps per sample (default 20)"
            add("--tokens-per-sample", type=report.positive, default=20, help=help)
    args, rest = parser.parse_known_args(arguments)
    args.rest = rest
    args.run(args)


def _begin(args: argparse.Namespace, sizes: str) -> tuple[str, list[str]]:
    """Print the title of the benchmark; return it, and options for fairseq."""
    if not Path(args.data.partition(":")[0]).is_dir():
        raise ValueError(f"no data folder {args.data}; make it with fairseq-preprocess")
    if args.profile and torch.cuda.is_available():
        raise ValueError(
            "--profile needs programs on the CPU: hide the GPUs with "
            "CUDA_VISIBLE_DEVICES= in the environment"
        )
    options = ["--batch-size", str(args.batch_size)]
    if not torch.cuda.is_available():
        options.append("--cpu")
    title = f"{sizes}, batches of {args.batch_size}, {args.data}, {report.machine()}"
    print(title, flush=True)
    return title, options


def _bench_train(args: argparse.Namespace) -> None:
    sizes = read_sizes(args, args.model)
    title, options = _begin(args, sizes.describe(sides=2))
    compared = TRANSLATION[args.model](args.cells, sizes, args.onednn_peer)
    _train(args, title, compared, options, "target words a second")


def _bench_decode(args: argparse.Namespace) -> None:
    sizes = read_sizes(args, args.model)
    title, options = _begin(args, sizes.describe(sides=2))
    compared = TRANSLATION[args.model](args.cells, sizes, args.onednn_peer)
    if args.bf16:
        for system in compared[-len(args.cells) :]:
            half = dataclasses.replace(system, name=f"{system.name}, bf16", decoding=("--bf16",))
            compared.append(half)
    compared.insert(1, dataclasses.replace(compared[0], name=FAST_PEER, own_search=False))
    if args.ctranslate2:
        if args.model != "transformer":
            raise ValueError("--ctranslate2 needs --model transformer, which it can convert")
        compared += CTRANSLATE2
    measured = decode(
        *(args.data, compared, args.length, args.rounds, options, args.rest), profile=args.profile
    )
    _report(args, title, measured, "sentences a second")


def _bench_lm(args: argparse.Namespace) -> None:
    sizes = read_sizes(args, "lstm_lm")
    title, options = _begin(args, sizes.describe(sides=1))
    compared = language_models(args.cells, sizes, args.tokens_per_sample, args.onednn_peer)
    _train(args, title, compared, options, "tokens a second")


def _train(
    args: argparse.Namespace,
    title: str,
    compared: list[System],
    options: list[str],
    unit: str,
) -> None:
    options = [*options, *args.rest]
    measured = train(args.data, compared, args.updates, args.rounds, options, profile=args.profile)
    _report(args, title, measured, unit)


def _report(args: argparse.Namespace, title: str, measured: Measured, unit: str) -> None:
    print(report.table(rows(measured.rates, unit)))
    record: dict[str, object] = {"title": title, unit: measured.rates}
    if measured.profiles:
        print("", report.table(profiles.rows(measured.profiles)), sep="\n")
        record["profiles"] = {k: dataclasses.asdict(p) for k, p in measured.profiles.items()}
    if args.json:
        report.write_json(args.json, record)


if __name__ == "__main__":
    report.end_with_errors(main)
