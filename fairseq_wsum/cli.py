"""`fairseq-wsum`: show the backends available on this machine and the options of a model."""

from __future__ import annotations

import argparse
import sys

from .info import info


def main(arguments: list[str] | None = None) -> None:
    """Run the command line with `arguments`, by default those of the process."""
    parser = argparse.ArgumentParser(prog="fairseq-wsum", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    help = "show the available backends, and which one `auto` selects"
    commands.add_parser("info", help=help, description=help).set_defaults(run=lambda args: info())
    help = "show the help of every option of an architecture; `fairseq-train --help` omits it"
    options = commands.add_parser("options", help=help, description=help)
    options.add_argument("arch", metavar="ARCH", help="such as wsum_lstm or wsum_lstm_lm")
    options.set_defaults(run=lambda args: _options(args.arch))
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")


class _WithDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Adds an option's default, unless its help names one or other options decide."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def _options(arch: str) -> None:
    """Print the help of an architecture's options with the defaults of that architecture.

    Raises:
        RuntimeError: fairseq cannot be imported.
        ValueError: the architecture is unknown.
    """
    try:
        from fairseq import models
        from fairseq.dataclass.utils import gen_parser_from_dataclass

        from . import plugin  # noqa: F401
    except ImportError as error:
        raise RuntimeError(f"the models need fairseq, and {error}") from error
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
