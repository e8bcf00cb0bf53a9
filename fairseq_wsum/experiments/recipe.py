"""What recipes share: options, preparation, a training in a folder of its own, and scoring."""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..cells import CELLS
from ..files import whole
from .files import PACKAGE, UserError, folder, hold, say
from .record import WITHOUT_EFFECT
from .train import check_machine, has, read_options

ROOT = PACKAGE.parent
SCRIPTS = ROOT / "scripts"
OPTIONS = "options"  # of the training in a folder
FINISHED = "finished"  # marks a training that has ended
LOCK = ".recipe.lock"
# of scripts/prepare_*.sh
OF_DATA = ["data", "cache", "bpe-size", "character-coverage", "max-words", "nwords"]
OF_DATA += ["text", "source-lang", "target-lang"]
REFUSED = {
    "--save-dir": "a recipe sets it to its --run; give that, or --out",
    "--restore-file": "give --finetune-from-model FILE, which starts from FILE once, so that the "
    "same command can continue",
}
EPILOG = """\
Options of the script that prepares the data, such as --cache, --bpe-size or --nwords, are passed to
it, and all others to scripts/train.sh. The same command continues where it stopped.

examples:
"""


class Recipe:
    """A recipe, and the options that it was started with.

    Attributes:
        settings: the content of its YAML file.
        args: its options.
        options: those for scripts/train.sh.
    """

    def __init__(self, name: str) -> None:
        path = Path(__file__).with_name("recipes") / f"{name}.yaml"
        self.settings: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
        self.args = argparse.Namespace()
        self.options: list[str] = []

    # What recipes differ in

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of this recipe alone."""

    def check(self) -> None:
        """Check these options."""

    def prepare_options(self) -> list[str]:
        """The options of the script that prepares the data, beside the user's."""
        return words(self.settings.get("prepare", {}))

    def text(self) -> str:
        """What the training reads: the data folder, or several in turn, separated by ':'."""
        return str(self.data)

    def model(self) -> Mapping[str, Any]:
        """The options of the model."""
        chosen = self.settings["peer"] if self.is_peer else self.settings
        found: Mapping[str, Any] = chosen["model"]
        return found

    def training(self) -> dict[str, Any]:
        """The other options of the training."""
        return {**self.settings["training"]}

    def score(self) -> None:
        """Score the trained model."""
        raise NotImplementedError

    # What they share

    @property
    def is_peer(self) -> bool:
        """Whether fairseq's own model was asked for."""
        return "peer" in self.settings and getattr(self.args, "peer", False)

    @property
    def cell(self) -> str:
        """The cell, or the name of fairseq's own model: the name of a folder."""
        name: str = self.settings["peer"]["name"] if self.is_peer else self.args.cell
        return name

    @property
    def out(self) -> Path:
        """The folder for data and results."""
        return Path(self.args.out or ROOT / "runs" / self.settings["out"])

    @property
    def data(self) -> Path:
        """The prepared data."""
        return self.out / "data"

    @property
    def run(self) -> Path:
        """The folder of the training."""
        return Path(self.args.run or self.default_run())

    def default_run(self) -> Path:
        """The folder of the training, unless it is given."""
        return self.out / self.cell

    def main(self, given: Sequence[str]) -> None:
        """Run the recipe with a command line."""
        self.read(given)
        if not self.has("--dry-run"):
            self.prepare()
        if self.args.prepare_only:
            return
        command = self.command()
        if self.has("--dry-run"):
            self.call("train.sh", self.text(), "--save-dir", self.run, *command)
            return
        self.train(command)
        self.score()

    def read(self, given: Sequence[str]) -> None:
        """Read and check the command line, before the data is made."""
        if not SCRIPTS.is_dir():
            raise UserError(f"no folder {SCRIPTS}: recipes call the scripts of a clone")
        script = self.settings["script"]
        parser = argparse.ArgumentParser(
            prog=script,
            usage=f"{script} [options] [any option of scripts/train.sh]",
            description=textwrap.fill(self.settings["about"], 100),
            epilog=EPILOG + "\n".join(f"  {script} {words}" for words in self.settings["examples"]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add = parser.add_argument
        add("--cell", metavar="NAME", help=f"the cell (default {self.settings['cell']})")
        if "peer" in self.settings:
            peer = self.settings["peer"]
            add(f"--{peer['name']}", dest="peer", action="store_true", help=peer["help"])
        self.add_options(parser)
        default = f"runs/{self.settings['out']}"
        help = "a folder with the files of the corpus (default: download them)"
        add("--data", metavar="PATH", help=help)
        help = "PATH has text of your own: see scripts/prepare_translation.sh and prepare_text.sh"
        add("--own-corpus", action="store_true", help=help)
        help = f"folder for data and results (default {default})"
        add("--out", type=folder, metavar="DIR", help=help)
        help = "folder for this training and its scores (default: a folder within --out)"
        add("--run", type=folder, metavar="DIR", help=help)
        add("--prepare-only", action="store_true", help="prepare the data and stop")
        for name in ("user-dir", "gpus", "cpu-processes", *OF_DATA[1:]):
            add(f"--{name}", help=argparse.SUPPRESS)
        self.args, self.options = parser.parse_known_args(given)
        self.check_options()
        self.check()

    def check_options(self) -> None:
        """Check the options that all recipes have."""
        args = self.args
        for option in self.options:
            if (name := option.partition("=")[0]) in REFUSED:
                raise UserError(f"{name}: {REFUSED[name]}")
        for variable in ("SLURM_STEP_NUM_TASKS", "WORLD_SIZE"):
            if os.environ.get(variable, "1") != "1":
                raise UserError(
                    f"{variable} is {os.environ[variable]}, but a recipe runs in one process, and "
                    "starts those of the training: give it one task, and --gpus N or "
                    "--cpu-processes N"
                )
        if self.is_peer and args.cell is not None:
            name = f"--{self.settings['peer']['name']}"
            raise UserError(
                f"{name} trains a model of fairseq's, which has no other cells; leave out {name} "
                f"or --cell {args.cell}"
            )
        args.cell = self.settings["cell"] if args.cell is None else args.cell
        if args.user_dir is None and args.cell not in CELLS:  # own code may have cells of its own
            raise UserError(f"--cell {args.cell}: choose one of {', '.join(CELLS)}")
        for name in ("user_dir", "gpus", "cpu_processes"):
            if getattr(args, name) is not None:
                self.options += [f"--{name.replace('_', '-')}", getattr(args, name)]
        train, _ = read_options(["data", "--save-dir", "x", *self.options])
        train.dry_run = train.dry_run or args.prepare_only  # which may be for another machine
        check_machine(train)

    def has(self, *names: str) -> bool:
        """Whether options for scripts/train.sh are given."""
        return has(self.options, *names)

    def prepare(self) -> None:
        """Prepare the data, unless it is ready. Text of one's own has scripts of its own."""
        corpus = self.corpus()
        if self.args.own_corpus:
            corpus = "translation" if corpus == "multi30k" else "text"
        given = {name: getattr(self.args, name.replace("-", "_")) for name in OF_DATA}
        user = words({name: value for name, value in given.items() if value is not None})
        self.call(f"prepare_{corpus}.sh", "--out", self.data, *self.prepare_options(), *user)

    def corpus(self) -> str:
        """The name of the corpus: scripts/prepare_NAME.sh prepares it."""
        name: str = self.settings["corpus"]
        return name

    def command(self) -> list[str]:
        """The options of the training."""
        model = self.model()
        arch = {"arch": model["arch"]} if "arch" in model else {}
        cell = {} if self.is_peer else {"cell": self.args.cell}
        chosen = words({**arch, **cell, **model, **self.training()})
        if "updates" in self.settings and not self.has("--total-num-update"):
            chosen += ["--total-num-update", str(self.updates(chosen))]
        return [*chosen, *self.options]

    def updates(self, chosen: list[str]) -> int:
        """The updates of the training, over which the learning rate falls to zero."""
        if self.has("--dry-run") and not self.data.is_dir():
            number: int = self.settings["updates"]  # on the recipe's own corpus
            return number
        from .updates import count_updates

        words = [self.text(), "--save-dir", str(self.run), *chosen, *self.options]
        return count_updates([*words, "--total-num-update", "1"])

    def train(self, command: list[str]) -> None:
        """Train, unless the training is finished; fairseq continues an interrupted one.

        A folder belongs to one set of options: otherwise one model's checkpoints could be scored as
        another's.
        """
        path = self.run
        path.mkdir(parents=True, exist_ok=True)
        if not (path / LOCK).exists():
            for name in (OPTIONS, FINISHED):
                if (path / name).exists():
                    raise UserError(
                        f"{path} has files of yours, {OPTIONS} or {FINISHED}, which a recipe would "
                        "take as its own; give a new folder with --out, or with --run if you gave "
                        "one"
                    )
        lock = hold(path, LOCK, "--run")
        made = shlex.join([*command, *self.text_options()])
        self.check_folder(made)
        with whole(path / OPTIONS) as partial:  # a full disk must not cost the old one
            partial.write_text(f"{made}\n")
        if (path / FINISHED).exists():
            say(f"already trained: {path}")
            os.close(lock)
            return
        words = [str(SCRIPTS / "train.sh"), self.text(), "--save-dir", str(path), *command]
        with (path / "train.log").open("ab") as log:
            status = job(words, log, lock)
        if status != 0:
            sys.exit(status)
        os.close(lock)
        if self.has("--stop-time-hours"):  # fairseq's exit status is 0 when time is up
            say(
                "if the time was up, the scores are of the model so far; to continue, run this "
                "again without --stop-time-hours or with more, because it counts from the first "
                "start"
            )
        else:
            (path / FINISHED).touch()

    def text_options(self) -> list[str]:
        """Options that choose another text of the same data; they belong to the training, too."""
        return []

    def check_folder(self, made: str) -> None:
        """Check that the checkpoints in the folder were trained with the same options."""
        path = self.run
        if not any(path.glob("checkpoint*.pt")) and not (path / FINISHED).exists():
            return
        if not (path / OPTIONS).exists():
            raise UserError(
                f"{path} has checkpoints of a training that is not this recipe's; give a new "
                "folder with --out, or with --run if you gave one"
            )
        there = (path / OPTIONS).read_text()
        changed = changed_options(there, made) if there.strip() else ""
        if found := re.fullmatch(r"--total-num-update (\d+) there,[^;]*", changed):
            # the number follows from that of the GPUs, which may have changed
            raise UserError(
                f"{path} was trained for {found[1]} updates: {changed}. To continue, use as many "
                f"GPUs or processes as before, or give --total-num-update {found[1]}. Otherwise "
                "give a new folder with --out or --run"
            )
        if changed:
            raise UserError(
                f"{path} was trained with other options: {changed}. Give a new folder with --out, "
                "or with --run if you gave one"
            )

    def results(self, name: str, ending: str = "") -> Path:
        """Where scores go. Those of a training that is not finished are not its results."""
        done = (self.run / FINISHED).exists()
        return self.run / f"{name}{'' if done else '-so-far'}{ending}"

    def score_options(self) -> list[str]:
        """The options that scoring shares with the training."""
        on_cpu = self.args.gpus == "0" or self.args.cpu_processes or self.has("--cpu")
        own = self.args.user_dir
        return [*(["--cpu"] if on_cpu else []), *(["--user-dir", own] if own else [])]

    def epochs_saved(self, most: int) -> int:
        """The number of checkpoints to average: at most those of the epochs that are saved."""
        saved = [path for path in self.run.glob("checkpoint*.pt") if path.stem[10:].isdecimal()]
        return min(len(saved), most)

    def call(self, script: str, *options: object) -> None:
        """Run a script, with whose failure the recipe ends."""
        if (status := job([str(SCRIPTS / script), *map(str, options)])) != 0:
            sys.exit(status)

    def call_on_data(self, script: str, *options: object) -> None:
        """Run a script that scores a model on the data."""
        self.call(script, self.data, *options, *self.score_options())


def words(options: Mapping[str, Any]) -> list[str]:
    """Options as words of a command line; True stands for an option without a value."""
    found = []
    for name, value in options.items():
        found += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return found


def changed_options(there: str, now: str) -> str:
    """How the options of two trainings differ; empty if they train the same model.

    Their order does not matter, nor do those that do not change a model. If an option occurs twice,
    fairseq uses the last value.
    """

    def read(text: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for word in shlex.split(text):
            if re.match("--?[a-z]", word):
                name, equals, value = word.partition("=")
                found[name] = [value] if equals else []
            elif found:
                found[name].append(word)
        left_out = WITHOUT_EFFECT | {"--stop-time-hours"}
        return {name: value for name, value in found.items() if name not in left_out}

    def shown(found: dict[str, list[str]], name: str) -> str:
        return shlex.join([name, *found[name]]) if name in found else f"no {name}"

    one, other = read(there), read(now)
    names = [name for name in one | other if one.get(name) != other.get(name)]
    return "; ".join(f"{shown(one, name)} there, {shown(other, name)} now" for name in names)


def job(command: list[str], log: Any = None, inherited: int | None = None) -> int:
    """Run a command, and return its exit status. It ends with this process.

    Args:
        command: the command line.
        log: a file that gets what it prints, too.
        inherited: a file that it keeps open.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE if log else None,
        stderr=subprocess.STDOUT if log else None,
        pass_fds=[] if inherited is None else [inherited],
    )
    try:
        if process.stdout is not None:
            while part := process.stdout.read1(65536):  # type: ignore[attr-defined]
                sys.stdout.buffer.write(part)
                sys.stdout.buffer.flush()
                try:
                    log.write(part)
                    log.flush()
                except OSError as error:  # a full disk must not end a training
                    say(f"{log.name}: {error.strerror}; the rest of the output is not logged")
                    log = io.BytesIO()
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
