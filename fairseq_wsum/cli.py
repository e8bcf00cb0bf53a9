"""`fairseq-wsum`: what is there on this machine, and how fast it is."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from . import __version__, backends, kernels, memory, products
from .ablation import ABLATIONS
from .backends import BACKEND_CHOICES, BACKENDS
from .bench import bandwidth, layers, profile, programs, report


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; `arguments` instead of the process's own."""
    parser = argparse.ArgumentParser(prog="fairseq-wsum", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "info", info, "which backends there are, and which one `auto` takes")
    bench = commands.add_parser("bench", help="speed beside torch's and fairseq's LSTM")
    kinds = bench.add_subparsers(required=True, metavar="WHAT")
    _add_layers(kinds)
    _add_bandwidth(kinds)
    _add_programs(kinds)
    args, rest = parser.parse_known_args(arguments)
    if rest and not getattr(args, "passes_on", False):
        parser.error(f"unknown options: {' '.join(rest)}")
    args.rest = rest
    try:
        args.run(args)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], None],
    help: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run)
    return parser


# info


def info(args: argparse.Namespace) -> None:
    """Print what is there."""
    print(f"fairseq-wsum {__version__}, {report.machine()}")
    missing = kernels.why_missing()
    print(f"C++ kernels: {missing or kernels.instruction_set()}")
    libraries = ["oneDNN" if products.uses_onednn(p) else "MKL" for p in ("product", "outer")]
    print("products in fp32 on the CPU: {}; gradients of weights: {}".format(*libraries))
    why_not = memory.why_not()
    print(f"memory of freed tensors: {f'given back ({why_not})' if why_not else 'kept'}")
    devices = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    print("\nbackend=auto takes, for `lstm` and `no-srnn-hidden`:\n")
    rows = []
    for device in devices:
        for name, dtype in {**layers.DTYPES, "fp64": torch.float64}.items():
            row = {"device": device, "type": name}
            for ablation in ("lstm", "no-srnn-hidden"):
                case = (ABLATIONS[ablation], torch.device(device), dtype)
                row[ablation] = backends.choose("auto", *case).name
                reasons = {
                    b.name: b.why_not(*case, False) or b.only_by_name for b in BACKENDS.values()
                }
            row["not"] = "; ".join(f"{name}: {why}" for name, why in reasons.items() if why) or "-"
            rows.append(row)
    print(report.table(rows))


# bench


def _shape(text: str) -> layers.Shape:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no T,B,H, such as 13,64,500")
    return int(parts[0]), int(parts[1]), int(parts[2])


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def _output(text: str) -> Path:
    """A file that can be written, found out before anything is measured for it."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder: name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path}: the folder cannot be written to")
    return path


def _add_measurement(
    add: Callable[..., object], ablations: list[str], shapes: Sequence[layers.Shape]
) -> None:
    """What is measured, how often, and where the figures go."""
    names = f"cells to measure (default: {' '.join(ablations)})"
    usual = " ".join(",".join(map(str, shape)) for shape in shapes)
    sizes = f"time steps, sequences and units (default: {usual})"
    add("--ablations", nargs="+", choices=ablations, default=ablations, metavar="NAME", help=names)
    add("--shapes", nargs="+", type=_shape, default=shapes, metavar="T,B,H", help=sizes)
    add("--dtype", choices=layers.DTYPES, default="fp32", help="(default fp32)")
    add("--device", default="cpu", help="cpu (default) or cuda")
    add("--rounds", type=_positive, default=15, help="timings of each (default 15)")
    add("--json", type=_output, metavar="FILE", help="write everything there too")


def _add_layers(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    help = "one layer against torch.nn.LSTM (no-gates: nn.RNN), and SRU where it is installed"
    add = _add(kinds, "layers", _bench_layers, help).add_argument
    _add_measurement(add, list(ABLATIONS), layers.SHAPES)
    add("--backend", choices=BACKEND_CHOICES, default="auto", help="of our layer (default auto)")
    add("--masks", action="store_true", help="also with a mask, against the same without")
    add("--growth", type=_output, metavar="FILE", help="draw how the time grows (.svg, .png)")


def _bench_layers(args: argparse.Namespace) -> None:
    options = dict(dtype=args.dtype, device=args.device, backend=args.backend, rounds=args.rounds)
    _check_device(args.device)
    if args.growth:
        layers.check_can_draw(args.growth)
    title = f"{args.dtype}, backend {args.backend}, medians of {args.rounds}; "
    title += report.machine(args.device)
    print(title, flush=True)
    results = []
    for shape in args.shapes:
        results += layers.compare(shape, args.ablations, masks=args.masks, **options)
    print(report.table([result.row() for result in results]))
    growth = {}
    if args.growth:
        growth = {
            what: [r for shape in shapes for r in layers.compare(shape, args.ablations, **options)]
            for what, shapes in layers.GROWTH.items()
        }
    if args.json:
        as_dicts = {k: [dataclasses.asdict(r) for r in v] for k, v in growth.items()}
        record = {"title": title, "results": [dataclasses.asdict(r) for r in results]}
        report.write_json(args.json, {**record, "growth": as_dicts})
    if args.growth:
        layers.draw_growth(args.growth, growth, title)


def _add_bandwidth(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    help = "bytes a second of the kernel of the cells without h_{t-1}, against a copy"
    add = _add(kinds, "bandwidth", _bench_bandwidth, help).add_argument
    _add_measurement(add, list(bandwidth.CELLS), bandwidth.SHAPES)


def _bench_bandwidth(args: argparse.Namespace) -> None:
    _check_device(args.device)
    title = f"{args.dtype}, medians of {args.rounds}; {report.machine(args.device)}"
    print(title, flush=True)
    results = []
    for shape in args.shapes:
        results += bandwidth.measure(shape, args.ablations, args.dtype, args.device, args.rounds)
    print(report.table([result.row() for result in results]))
    if args.json:
        record = {"title": title, "results": [dataclasses.asdict(r) for r in results]}
        report.write_json(args.json, record)


def _check_device(device: str) -> None:
    if device != "cpu" and not torch.cuda.is_available():
        raise RuntimeError(f"--device {device}: torch sees no GPU here")


def _add_programs(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, run, help, of, units, batch in (
        ("train", _bench_train, "words a second of fairseq-train", "translation", 500, 64),
        ("decode", _bench_decode, "sentences a second of fairseq-generate", "translation", 500, 64),
        ("lm", _bench_lm, "tokens a second of fairseq-train", "a language model", 200, 20),
    ):
        help += f" for {of}, against fairseq's own LSTM; further options go to fairseq"
        parser = _add(kinds, name, run, help)
        parser.set_defaults(passes_on=True)
        add = parser.add_argument
        add("data", help=f"a folder of fairseq-preprocess, for {of}")
        add("--ablations", nargs="+", choices=ABLATIONS, default=["lstm", "no-srnn-hidden"])
        add("--layers", type=_positive, default=2, help="of each side (default 2)")
        add("--units", type=_positive, default=units, help=f"and embeddings (default {units})")
        add("--batch-size", type=_positive, default=batch, help=f"(default {batch})")
        add("--rounds", type=_positive, default=3, help="runs of each (default 3)")
        add("--onednn-peer", action="store_true", help="also fairseq's own through oneDNN")
        add("--profile", action="store_true", help="one more run of each: where the time goes")
        add("--json", type=_output, metavar="FILE", help="write everything there too")
        if name == "decode":
            add("--length", type=_positive, default=15, help="of translations (default 15)")
        else:
            add("--updates", type=_positive, default=20, help="of each run (default 20)")
        if name == "lm":
            add("--tokens-per-sample", type=_positive, default=20, help="time steps (default 20)")


def _begin(args: argparse.Namespace, layers: str) -> tuple[str, list[str]]:
    """Say what is measured; that title, and options of fairseq."""
    if not Path(args.data.partition(":")[0]).is_dir():
        raise ValueError(f"no data folder {args.data}; make it with fairseq-preprocess")
    if args.profile and torch.cuda.is_available():
        raise ValueError(
            "--profile is for programs on the CPU: hide the GPUs with "
            "CUDA_VISIBLE_DEVICES= in the environment"
        )
    options = ["--batch-size", str(args.batch_size)]
    if not torch.cuda.is_available():
        options.append("--cpu")
    title = f"{layers} layers of {args.units}, batches of {args.batch_size}, "
    title += f"{args.data}, {report.machine()}"
    print(title, flush=True)
    return title, options


def _bench_train(args: argparse.Namespace) -> None:
    title, options = _begin(args, f"{args.layers}+{args.layers}")
    sizes = programs.Sizes(args.layers, args.units)
    compared = programs.systems(args.ablations, sizes, args.onednn_peer)
    _train(args, title, compared, options, "target words a second")


def _bench_decode(args: argparse.Namespace) -> None:
    title, options = _begin(args, f"{args.layers}+{args.layers}")
    sizes = programs.Sizes(args.layers, args.units)
    compared = programs.systems(args.ablations, sizes, args.onednn_peer)
    measured = programs.decode(
        *(args.data, compared, args.length, args.rounds, options, args.rest), profile=args.profile
    )
    _report(args, title, measured, "sentences a second")


def _bench_lm(args: argparse.Namespace) -> None:
    title, options = _begin(args, str(args.layers))
    sizes = programs.Sizes(args.layers, args.units, dropout=0.0)
    steps = args.tokens_per_sample
    compared = programs.language_models(args.ablations, sizes, steps, args.onednn_peer)
    _train(args, title, compared, options, "tokens a second")


def _train(
    args: argparse.Namespace,
    title: str,
    compared: list[programs.System],
    options: list[str],
    unit: str,
) -> None:
    options = [*options, *args.rest]
    measured = programs.train(
        args.data, compared, args.updates, args.rounds, options, profile=args.profile
    )
    _report(args, title, measured, unit)


def _report(args: argparse.Namespace, title: str, measured: programs.Measured, unit: str) -> None:
    print(report.table(programs.rows(measured.rates, unit)))
    record: dict[str, object] = {"title": title, unit: measured.rates}
    if measured.profiles:
        print("", report.table(profile.rows(measured.profiles)), sep="\n")
        record["profiles"] = {k: dataclasses.asdict(p) for k, p in measured.profiles.items()}
    if args.json:
        report.write_json(args.json, record)


if __name__ == "__main__":
    main()
