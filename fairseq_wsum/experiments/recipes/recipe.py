"""What recipes share: options, preparation, a training in a folder of its own, and scoring."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import yaml

from ...cells import CELLS
from ...files import whole
from ..corpora import prepare
from ..corpora.folder import RECORD as PREPARED
from ..corpora.folder import read_record
from ..locks import hold, lock
from ..program import (
    PACKAGE,
    UserError,
    changes,
    command_line,
    folder,
    import_fairseq,
    say,
    script_parser,
)
from ..text_files import sha256
from ..train import AGAIN, RESETS, WITHOUT_EFFECT, check_machine, has, read_options

# the clone of the script that was called; the environment may have another copy of the package
ROOT = Path(os.environ.get("FAIRSEQ_WSUM_CLONE", PACKAGE.parent))
OPTIONS = ".recipe.options"  # of the training in a folder
FINISHED = "finished"  # marks a training that has ended
LOCK = ".recipe.lock"
TRAIN = [sys.executable, "-P", "-c", AGAIN]
LENGTH = ("--total-num-update", "--lr-scheduler")  # another scheduler may not have the first
# what prepares a corpus of one's own
OWN = {"multi30k": "translation", "ewt": "treebank", "squad": "questions", "sst": "sentiment"}
ONCE = "give --finetune-from-model FILE, which starts from FILE once, so that the same command can "
ONCE += "continue"
STOP = "end the recipe with Ctrl-C or kill; the same command continues"
REFUSED = dict.fromkeys(("--restore-file", *RESETS), ONCE) | {"--stop-time-hours": STOP}
EPILOG = """\
Options of `fairseq-wsum prepare`, such as --cache, --bpe-size or --nwords, are passed to it, and
all others to scripts/train.sh. The same command continues where it stopped.

examples:
"""


class Recipe:
    """A recipe that was started with a command line.

    Attributes:
        settings: the content of its YAML file, with the variant that was chosen.
        args: its options.
        corpus, prepared: the name of the data, and the options with which it is prepared.
        options: those for scripts/train.sh.
        train: what scripts/train.sh reads of them.
        cell: the cell, or the name of fairseq's own model: the name of a folder.
        model, training: the options of the model, and the others of the training.
        out, data, run: the folders for data and results, of the data, and of the training.
    """

    def __init__(self, name: str, given: Sequence[str]) -> None:
        """Read and check the command line, before the data is made."""
        path = Path(__file__).with_name(f"{name}.yaml")
        self.settings: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
        self.args, given = self._parser().parse_known_args(given)
        self.choose()
        # by default below the folder of a clone
        clone = ROOT if (ROOT / "examples/quickstart").is_dir() else Path()
        self.out = Path(self.args.out or clone / "runs" / self.settings["out"])
        self.data = self.out / self.settings.get("data", "data")
        self.corpus: str = self.settings["corpus"]
        if self.args.own_corpus:
            self.corpus = OWN.get(self.corpus, "text")
        prepared = command_line(self.settings.get("prepare", {}))
        data = ["--data", self.args.data] if self.args.data else []
        for_data = ["--out", str(self.data), *data, *prepared, *given]
        self.prepared, self.options = prepare.read(self.corpus, for_data)
        for option in self.options:
            if (option := option.partition("=")[0]) in REFUSED:
                raise UserError(f"{option}: {REFUSED[option]}")
        self.train, _ = read_options(["data", "--save-dir", "x", *self.options])
        if self.train.user_dir != str(PACKAGE):  # which may have cells of its own
            from fairseq.utils import import_user_module

            import_user_module(self.train)
        if self.args.cell not in CELLS:
            raise UserError(
                f"--cell {self.args.cell}: choose one of {', '.join(CELLS)}, or give the folder "
                "that defines this cell with --user-dir"
            )
        if self.args.peer:
            self.cell: str = self.settings["peer"]["name"]
            self.model: dict[str, Any] = self.settings["peer"]["model"]
        else:
            self.cell = self.args.cell
            self.model = {"cell": self.cell, **self.settings["model"]}
        self.training: dict[str, Any] = self.settings["training"]
        self.run = Path(self.args.run or self.out / self.default_run())
        if not self.args.prepare_only:  # which may be for another machine
            check_machine(self.train)

    def _parser(self) -> argparse.ArgumentParser:
        script, peer = self.settings["script"], self.settings.get("peer")
        about = textwrap.fill(self.settings["about"], 100)
        examples = "\n".join(f"  {script} {words}" for words in self.settings["examples"])
        epilog = EPILOG + examples
        usage = "[options] [any option of scripts/train.sh]"
        parser = script_parser(script, about, epilog, usage)
        parser.set_defaults(peer=False)
        models = parser.add_mutually_exclusive_group()
        cell = self.settings["cell"]
        models.add_argument(
            "--cell", metavar="NAME", default=cell, help=f"the cell (default {cell})"
        )
        if peer is not None:
            name = f"--{peer['name']}"
            models.add_argument(name, dest="peer", action="store_true", help=peer["help"])
        self.add_options(parser)
        add = parser.add_argument
        help = "a folder with the files of the corpus (default: download them)"
        add("--data", metavar="PATH", help=help)
        help = "PATH has files of your own (see `fairseq-wsum prepare`)"
        add("--own-corpus", action="store_true", help=help)
        help = f"folder for data and results (default runs/{self.settings['out']})"
        add("--out", type=folder, metavar="DIR", help=help)
        help = "folder for this training run and its scores (default: a folder in --out)"
        add("--run", "--save-dir", type=folder, metavar="DIR", help=help)
        add("--prepare-only", action="store_true", help="prepare the data and stop")
        return parser

    # What recipes differ in

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of this recipe alone."""

    def choose(self) -> None:
        """Check these options, and change the settings to what they choose."""

    def default_run(self) -> str:
        """The folder of the training within `out`, unless it is given."""
        return self.cell

    def prepare(self) -> None:
        """Prepare the data, unless it is ready."""
        prepare.prepare(self.corpus, self.prepared)

    def text(self) -> str:
        """What the training reads: the data folder, or several in turn, separated by ':'."""
        return str(self.data)

    def score(self) -> None:
        """Score the trained model."""
        raise NotImplementedError

    # What they share

    def main(self) -> None:
        """Run the recipe."""
        if not self.train.dry_run:
            self.prepare_once()
        if self.args.prepare_only:
            return
        command = self.command()
        if self.train.dry_run:
            shown = [*TRAIN, self.text(), "--save-dir", str(self.run), *command]
            sys.exit(subprocess.run(shown).returncode)
        self.train_model(command)
        self.score()

    def prepare_once(self) -> None:
        """Prepare the data, or wait for another process that does; then it is ready."""
        if (self.data / PREPARED).is_file():  # perhaps in a folder that is read-only
            self.prepare()
            return
        self.out.mkdir(parents=True, exist_ok=True)
        waiting = f"waiting for another run to prepare {self.data}"
        with lock(self.out / ".prepare.lock", waiting=waiting):
            self.prepare()

    def command(self) -> list[str]:
        """The options of the training."""
        chosen = command_line({**self.model, **self.training})
        if self.settings.get("falls-to-zero") and not has(self.options, *LENGTH):
            chosen += self.length(chosen)
        return [*chosen, *self.options]

    def length(self, chosen: Sequence[str]) -> list[str]:
        """The option for the number of updates, over which the learning rate falls to zero."""
        if self.train.dry_run and not self.data.is_dir():
            say("--total-num-update is missing: the recipe counts the updates when it has the data")
            return []
        import_fairseq()
        from .updates import count_updates

        given = [self.text(), "--save-dir", str(self.run), *chosen, *self.options]
        return ["--total-num-update", str(count_updates([*given, "--total-num-update", "1"]))]

    def train_model(self, command: list[str]) -> None:
        """Train, unless the training is finished; fairseq continues an interrupted one.

        A folder belongs to one set of options: otherwise one model's checkpoints could be scored as
        another's.
        """
        path = self.run
        path.mkdir(parents=True, exist_ok=True)
        made = [*command, "--data-checksum", data_checksum(self.text())]
        with hold(path, LOCK, "--run") as held:
            check_folder(path, made)
            with whole(path / OPTIONS) as partial:
                partial.write_text(f"{shlex.join(made)}\n")
            if (path / FINISHED).exists():
                say(f"already trained: {path}")
                return
            training = [*TRAIN, self.text(), "--save-dir", str(path), *command]
            with (path / "train.log").open("ab") as log:
                job(training, log, held, self.show)
            (path / FINISHED).touch()

    def show(self, line: bytes) -> None:
        """Show a line that the training prints."""
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    def score_options(self) -> list[str]:
        """The options that scoring shares with the training."""
        return [*(["--cpu"] if self.train.on_cpu else []), "--user-dir", self.train.user_dir]

    def average(self, most: int) -> list[str]:
        """The option --average for at most the last `most` epochs; none if none is complete."""
        saved = [path for path in self.run.glob("checkpoint*.pt") if path.stem[10:].isdecimal()]
        number = min(len(saved), most)
        return ["--average", str(number)] if number else []


def data_checksum(folders: str) -> str:
    """A checksum of the data in folders that are separated by ':'."""
    paths = map(Path, folders.split(":"))
    # shards have none
    records = [read_record(path) for path in paths if (path / PREPARED).is_file()]
    parts = [(one.get("sha256"), one.get("made")) for one in records]
    return sha256(json.dumps(parts).encode())[:12]


def check_folder(path: Path, made: Sequence[str]) -> None:
    """Check that the checkpoints in a folder were trained with these options, on this data."""
    if not any(path.glob("checkpoint*.pt")) and not (path / FINISHED).exists():
        return
    if not (path / OPTIONS).exists():
        raise UserError(
            f"{path} has checkpoints of a training that is not this recipe's; give a new folder "
            "with --out or --run"
        )
    there = shlex.split((path / OPTIONS).read_text())
    if changed := changed_options(there, made):
        also = "; --total-num-update also depends on the number of GPUs"
        raise UserError(
            f"{path} was trained with other options or data: {changed}"
            f"{also if '--total-num-update' in changed else ''}. Give the former ones to continue, "
            "or a new folder with --out or --run"
        )


def changed_options(there: Sequence[str], now: Sequence[str]) -> str:
    """How the options of two trainings differ; empty if they train the same model.

    Their order does not matter, nor do those that do not change a model. If an option occurs twice,
    fairseq uses the last value.
    """

    def read(given: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for word in given:
            if re.match("--?[a-z]", word):
                name, _, value = word.partition("=")
                found[name] = value
            elif found:
                found[name] = f"{found[name]} {word}".strip()
        return {
            name: value or "given" for name, value in found.items() if name not in WITHOUT_EFFECT
        }

    return changes(read(there), read(now))


def job(
    command: Sequence[str], log: IO[bytes], inherited: IO[str], show: Callable[[bytes], None]
) -> None:
    """Run a command, with whose failure this process ends.

    The command ends with this process, except by SIGKILL. It keeps the file `inherited` open. What
    it prints goes to the log, and line by line to `show`.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[inherited.fileno()]
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                show(line)
            status = process.wait()
        finally:
            process.terminate()  # does nothing to a process that has ended
    if status < 0:  # such as SIGKILL, if the memory is exhausted
        raise UserError(f"the training was ended by {signal.Signals(-status).name}")
    if status > 0:
        sys.exit(status)
