"""What the folder of a run says about it.

It has, beside what the recipe leaves there: `study.json`, the record; `study.log`, all that the
recipe printed; `.study.lock`, which the process that works on the run holds.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...files import whole
from ..program import UserError, changes
from ..train import WITHOUT_EFFECT
from ..training_log import last_epoch, validations
from .plan import Run

RECORD, LOG, LOCK = "study.json", "study.log", ".study.lock"
PERPLEXITIES = "perplexity.json"
FIGURES = "figures.json"  # of other tasks
VALID_SCORES, TEST_SCORES = "score-valid/scores.json", "score-test/scores.json"
SCORES = (PERPLEXITIES, FIGURES, VALID_SCORES, TEST_SCORES)


@dataclass
class Record:
    """How a run went. Its `state` is running, failed or finished."""

    command: list[str]
    settings: dict[str, str | bool | None]  # see `settings`
    state: str
    started: str  # the last attempt, as ISO 8601
    began: str  # the first
    seconds: float  # of all attempts
    machine: str  # processor or GPU, and version of torch; "A, then B" if it went on elsewhere
    version: str  # of this package, with the commit of a checkout
    scores: Sequence[str] = ()  # the files of SCORES that the recipe left

    def is_finished(self, folder: Path) -> bool:
        """Whether the run in this folder is done: scores that were removed are to be made again."""
        return self.state == "finished" and all((folder / name).is_file() for name in self.scores)

    def write(self, folder: Path) -> None:
        """Write it to the folder of its run."""
        with whole(folder / RECORD) as partial:
            partial.write_text(json.dumps(asdict(self), indent=2) + "\n")


def settings(run: Run) -> dict[str, str | bool | None]:
    """What decides the results of a run; paths as in the study's file, which may move."""
    options = {k: v for k, v in run.options.items() if f"--{k}" not in WITHOUT_EFFECT}
    paths = {"recipe": run.task.recipe, "data": run.task.data}
    return {**paths, **options, "seed": str(run.seed)}


def read_record(run: Run) -> Record | None:
    """The record of a run, or None if it never started, or failed before it had trained.

    A run that has finished, or validated an epoch, with other options is an error.
    """
    path = run.folder / RECORD
    if not path.is_file():
        return None
    record = Record(**json.loads(path.read_text()))
    changed = changes(record.settings, settings(run))
    if not changed:
        return record
    if record.state == "finished" or validations(read_log(run.folder)):
        raise UserError(
            f"{run.folder} was made with other options than those of the study's file: {changed}. "
            "Restore the file, give another --out, or remove the folder to begin again, which "
            "loses its training"
        )
    return None


def state(run: Run) -> str:
    """waiting, running, interrupted, failed or finished."""
    path = run.folder / LOCK
    if not path.exists():
        return "waiting"
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "running"
        except OSError:  # a file system without locks
            pass
        record = read_record(run)
    if record is None:
        return "waiting"
    done = record.state == "failed" or record.is_finished(run.folder)
    return record.state if done else "interrupted"


# The log


def read_log(folder: Path) -> str:
    """All that the recipe of a run printed."""
    path = folder / LOG
    return path.read_text("utf-8", errors="replace") if path.is_file() else ""


def last_lines(log: str) -> str:
    """The last 12 lines of the last attempt in a log, indented."""
    attempt = re.split(r"^(?=\$ .*--run=)", log, flags=re.MULTILINE)[-1]
    return "".join(f"    {line}\n" for line in attempt.splitlines()[-12:])


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Attributes:
        state: as of `state`.
        epoch: the last validated epoch.
        perplexity: on the validation set, after this epoch; empty if the task has none.
        last_epoch: the epoch after which the training ends; 0 if not known.
    """

    state: str
    epoch: int
    perplexity: str
    last_epoch: int

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
        perplexity = f", validation perplexity {self.perplexity}" if self.perplexity else ""
        return f"{self.state}, epoch {self.epoch}{of}{perplexity}"


def standing(run: Run) -> Standing:
    """Read where a run stands."""
    log = read_log(run.folder)
    epoch, perplexity = (validations(log) or [(0, "")])[-1]
    return Standing(state(run), epoch, perplexity, last_epoch(log))


def duration(seconds: float) -> str:
    """Such as "40 s", "12 min" or "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
