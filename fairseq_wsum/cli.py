"""`fairseq-wsum`: show backends and options, train models, inspect their weights, compare them."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from . import kernels, products, recurrence
from .cells import CELLS
from .experiments.program import UserError, run, run_module
from .machine import machine, version
from .recurrence import BACKENDS
from .weights import command

DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp64": torch.float64,
}
# The programs of `experiments`, such as the scripts of a clone: the module, and the help.
PROGRAMS = {
    "prepare": ("corpora.prepare", "prepare a corpus, as scripts/prepare.sh does"),
    "train": ("train", "train a model, as scripts/train.sh does"),
    "score": ("score", "translate and score, as scripts/score.sh does"),
    "perplexity": ("perplexity", "score a language model, as scripts/perplexity.sh does"),
    "parse": ("parse", "write the dependency trees of sentences as CoNLL-U"),
    "answer": ("answer", "answer questions with spans of their contexts"),
    "negation": ("negation", 'show what "not" does to the memory of a sentiment classifier'),
    "distil": ("distil", "translate the training text, as scripts/distil.sh does"),
    "recipe": ("recipes", "prepare, train and score, as examples/*/NAME.sh does: recipe NAME"),
    "study": ("studies.study", "train and score every model of a YAML file with every seed"),
    "report": ("studies.report", "make tables, significance tests and pictures of a study"),
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line with `arguments`, by default those of the process."""
    name, *given = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name in PROGRAMS:
        # the commands of fairseq beside this one, whichever environment is active
        path = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
        os.environ["PATH"] = os.pathsep.join(path)
        run_module(f"fairseq_wsum.experiments.{PROGRAMS[name][0]}", given)
        return
    parser = argparse.ArgumentParser(prog="fairseq-wsum", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    help = "show the available backends, and which one `auto` selects"
    commands.add_parser("info", help=help, description=help).set_defaults(run=lambda args: _info())
    help = "show the help of every option of an architecture; `fairseq-train --help` omits it"
    options = commands.add_parser("options", help=help, description=help)
    options.add_argument("arch", metavar="ARCH", help="such as wsum_lstm or wsum_lstm_lm")
    options.set_defaults(run=lambda args: _options(args.arch))
    weights = commands.add_parser("weights", help=command.HELP, description=command.__doc__)
    command.add_arguments(weights)
    weights.set_defaults(run=command.run)
    for program, (_, help) in PROGRAMS.items():
        commands.add_parser(program, help=help)
    args = parser.parse_args(arguments)

    def checked() -> None:
        try:
            args.run(args)
        except (RuntimeError, ValueError) as error:
            raise UserError(str(error)) from error

    run(checked)


# info


def _info() -> None:
    """Print the versions, the libraries and the table of backends."""
    print(f"fairseq-wsum {version()}, {machine()}")
    missing = kernels.why_missing()
    print(f"C++ kernels: {missing or kernels.instruction_set()}")
    blas = "MKL" if torch.backends.mkl.is_available() else "torch's BLAS"
    libraries = [
        "oneDNN" if products.uses_onednn(p) else blas for p in ("product", "weight_gradient")
    ]
    print("products in fp32 on the CPU: {}; gradients of weights: {}".format(*libraries))
    if not products.has_fast_bfloat16():
        print("products in bf16 on the CPU: slow, as this processor has no instructions for them")
    for device in ("cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))):
        print(f"\nbackend=auto takes on {device}:\n")
        reasons: dict[str, None] = {}  # a set that keeps its order
        print(table([_choices(name, torch.device(device), reasons) for name in CELLS]))
        print("\nbecause\n")
        print("\n".join(f"- {reason}" for reason in reasons))


def _choices(name: str, device: torch.device, reasons: dict[str, None]) -> dict[str, str]:
    """The backends that `auto` selects for a cell, by dtype; adds why not others to `reasons`."""
    row = {"cell": name}
    for label, dtype in DTYPES.items():
        case = (CELLS[name], device, dtype)
        row[label] = recurrence.choose("auto", *case).name
        for backend in BACKENDS.values():
            if backend.name == row[label]:
                break
            why = backend.why_not(*case, False) or backend.why_not_auto(device, dtype)
            assert why is not None
            reasons[f"not {backend.name}: {why.partition(', not for')[0]}"] = None
    return row


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Format rows with the same keys as a Markdown table."""
    header = list(rows[0])
    lines = [header, ["---"] * len(header), *([row[key] for key in header] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# options


class _WithDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Adds an option's default, unless its help names one or other options decide."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def _options(arch: str) -> None:
    """Print the help of an architecture's options with the defaults of that architecture.

    Raises:
        ValueError: the architecture is unknown.
    """
    logging.basicConfig(level=logging.WARNING)  # before fairseq makes all libraries log everything
    from fairseq import models
    from fairseq.dataclass.utils import gen_parser_from_dataclass

    from . import plugin  # noqa: F401

    if arch not in models.ARCH_MODEL_REGISTRY:
        known = sorted(models.ARCH_MODEL_REGISTRY)
        ours = ", ".join(name for name in known if name.startswith("wsum_"))
        raise ValueError(f"no architecture {arch}: those of this package are {ours}")
    parser = argparse.ArgumentParser(
        prog=f"fairseq-train --arch {arch}",
        usage="%(prog)s ...",
        formatter_class=_WithDefaults,
        add_help=False,
    )
    dataclass = models.MODEL_DATACLASS_REGISTRY.get(models.ARCH_MODEL_NAME_REGISTRY[arch])
    if dataclass is not None:
        gen_parser_from_dataclass(parser, dataclass())
    else:
        models.ARCH_MODEL_REGISTRY[arch].add_args(parser)
    given = argparse.Namespace()
    models.ARCH_CONFIG_REGISTRY[arch](given)  # the values that this architecture changes
    parser.set_defaults(**vars(given))
    parser.print_help()


if __name__ == "__main__":
    main()
