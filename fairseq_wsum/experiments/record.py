"""What the folder of a run says about it.

It has, beside what the recipe leaves there: `study.json`, the record; `study.log`, all that the
recipe printed; `.study.lock`, which the process that works on the run holds.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ..files import whole
from .files import lock
from .plan import Plan, Run

RECORD, LOG, LOCK = "study.json", "study.log", ".study.lock"
OWNER = ".study-file"  # the path of the file of the study
VALID_SCORES, TEST_SCORES = "score-valid/scores.json", "score-test/scores.json"
PERPLEXITIES = "perplexity.json"
SCORES = (VALID_SCORES, TEST_SCORES, PERPLEXITIES)
# options that do not change the model; --skip-damaged continues from an earlier checkpoint
WITHOUT_EFFECT = {"--skip-damaged", "--num-workers", "--log-format", "--log-interval"}
# what torchrun prints when a process has failed, after all that the process printed
TORCHRUN = re.compile(r"^.*torch/distributed/elastic/\S+\] failed \(exitcode", re.MULTILINE)
VALID = re.compile(
    r"\| epoch 0*(\d+) \| valid on '(.*?)' subset .*?\| ppl ([0-9.]+(?:e[+-]?\d+)?|inf|nan)"
)
EPOCHS = re.compile(r"'max_epoch': (\d+)")


@dataclass
class Record:
    """How a run went. Its `state` is running, failed or finished."""

    command: list[str]
    paths: Mapping[str, str] = field(default_factory=dict)  # `Task.written`
    state: str = "running"
    started: str = ""  # of the last attempt, as ISO 8601
    began: str = ""  # of the first
    seconds: float = 0  # of all attempts
    machine: str = ""  # processor or GPU, and version of torch; "A, then B" if it went on elsewhere
    version: str = ""  # of this package, with the commit of a checkout
    scores: Sequence[str] = ()  # the files of SCORES that the recipe left

    def is_finished(self, folder: Path) -> bool:
        """Whether the run in this folder is done: scores that were removed are to be made again."""
        return self.state == "finished" and all((folder / name).is_file() for name in self.scores)

    def settings(self) -> dict[str, str]:
        """The recipe and its options; the paths as they are written in the study's file."""
        settings = dict(option.partition("=")[::2] for option in self.command[1:])
        left_out = WITHOUT_EFFECT | {"--out", "--run", "--data"}
        return {k: v for k, v in settings.items() if k not in left_out} | dict(self.paths)

    def write(self, folder: Path) -> None:
        """Write it to the folder of its run."""
        with whole(folder / RECORD) as partial:
            partial.write_text(json.dumps(asdict(self), indent=2) + "\n")


def read_record(folder: Path) -> Record | None:
    """The record of a run, or None if it never started.

    Raises:
        ValueError: it is damaged.
    """
    path = folder / RECORD
    known = {one.name for one in fields(Record)}  # those of another version may have more
    try:
        found = json.loads(path.read_text())
        return Record(**{name: found[name] for name in found.keys() & known})
    except FileNotFoundError:
        return None
    except (AttributeError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); to repeat the run, remove the folder {folder}, which "
            "loses its training"
        ) from error


def checked_record(run: Run) -> Record | None:
    """The record of a run, or None if it never started.

    Raises:
        ValueError: the run has finished, or has validated an epoch, with other options.
    """
    record = read_record(run.folder)
    if record is None or record.settings() == Record(run.command(), run.task.written).settings():
        return record
    if record.state == "finished" or validations(read_log(run.folder)):
        raise ValueError(
            f"{run.folder} was made with other options than those of the study's file now:\n"
            f"  {shlex.join(record.command)}\nnot\n  {shlex.join(run.command())}\n"
            "restore the file, give another --out, or remove the folder to begin again, which "
            "loses its training"
        )
    return None  # it failed before it had trained


def state(run: Run) -> str:
    """waiting, running, interrupted, failed or finished."""
    if not (run.folder / LOCK).exists() or read_record(run.folder) is None:
        return "waiting"
    try:
        os.close(lock(run.folder / LOCK, patience=0))
    except TimeoutError:
        return "running"
    record = read_record(run.folder)
    assert record is not None
    done = record.state == "failed" or record.is_finished(run.folder)
    return record.state if done else "interrupted"


def check_owner(plan: Plan) -> None:
    """Let the default folder of a study belong to its file, as two files may have one name.

    Raises:
        ValueError: it belongs to another file.
    """
    path = plan.out / OWNER
    if path.is_file():
        owner = Path(path.read_text("utf-8").strip())
        if owner.is_file() and not owner.samefile(plan.file):
            raise ValueError(f"{plan.out} belongs to {owner}; give another folder with --out")
    if plan.out.is_dir():
        path.write_text(f"{plan.file}\n", "utf-8")


# The log


def read_log(folder: Path) -> str:
    """All that the recipe of a run printed."""
    try:
        return (folder / LOG).read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def validations(log: str) -> list[tuple[int, str]]:
    """The epochs of a run that were validated, with the perplexity, from its log.

    With several subsets, such as `--valid-subset valid,test`, it is that of the first.
    """
    found = VALID.findall(log)
    return sorted({int(epoch): ppl for epoch, name, ppl in found if name == found[0][1]}.items())


def last_lines(log: str) -> str:
    """The last 12 lines of the last attempt in a log, indented.

    What torchrun adds after a process has failed is left out: it would hide what the process said.
    """
    attempt = re.split(r"^(?=\$ .* --run=)", log, flags=re.MULTILINE)[-1]
    lines = TORCHRUN.split(attempt, maxsplit=1)[0].splitlines()
    return "".join(f"    {line}\n" for line in lines[-12:])


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Attributes:
        state: as of `state`.
        epoch: the last validated epoch.
        perplexity: on the validation set, after this epoch.
        last_epoch: the epoch after which the training ends; 0 if not known.
    """

    state: str
    epoch: int = 0
    perplexity: str = ""
    last_epoch: int = 0

    @property
    def done(self) -> float:
        """The share of the run that is done; a training counts by its epochs."""
        if self.state == "finished":
            return 1.0
        return self.epoch / (self.last_epoch + 1) if self.last_epoch else 0.0

    def __str__(self) -> str:
        if not self.epoch:
            return self.state
        of = f" of {self.last_epoch}" if self.last_epoch else ""
        return f"{self.state}, epoch {self.epoch}{of}, validation perplexity {self.perplexity}"


def standing(run: Run) -> Standing:
    """Read where a run stands."""
    log = read_log(run.folder)
    epochs, last = validations(log), EPOCHS.findall(log)
    epoch, perplexity = epochs[-1] if epochs else (0, "")
    # fairseq-generate, whose log a failure adds, says 0
    return Standing(state(run), epoch, perplexity, max(map(int, last), default=0))


def duration(seconds: float) -> str:
    """Such as "40 s", "12 min" or "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
