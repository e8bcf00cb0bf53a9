"""Report what the runs of a study do, from the files in their folders."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .plan import Plan, Run
from .record import read_log, read_record, validations
from .run import state

LAST_EPOCH = re.compile(r"'max_epoch': (\d+)")


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Attributes:
        state: as of `run.state`.
        epoch: the last validated epoch.
        perplexity: on the validation set, after this epoch.
        last_epoch: the epoch after which the training ends, if known.
        started: when the last attempt began.
    """

    state: str
    epoch: int = 0
    perplexity: str = ""
    last_epoch: int = 0
    started: str = ""

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
    epochs, last = validations(log), LAST_EPOCH.findall(log)
    record = read_record(run.folder)
    return Standing(
        state(run),
        *(epochs[-1] if epochs else (0, "")),
        last_epoch=int(last[-1]) if last else 0,
        started="" if record is None else record.started,
    )


class Watch:
    """Prints a line whenever a run starts, has validated an epoch, or ends, in a thread.

    Args:
        plan: the study.
        show: prints a line.
        interval: seconds between two looks at the folders.
    """

    def __init__(self, plan: Plan, show: Callable[[str], None], interval: float = 2) -> None:
        self.plan, self.show, self.interval = plan, show, interval
        self.begun = time.monotonic()
        self.before = {run.name: standing(run) for run in plan.runs}
        self.seen = dict(self.before)
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.thread.join()
        self._look_again()

    def look(self) -> None:
        """Print what has changed since the last look."""
        for run in self.plan.runs:
            before = self.seen[run.name]
            if before.state == "finished":
                continue
            now = standing(run)
            self.seen[run.name] = now
            if (now.state, now.epoch, now.started) != (before.state, before.epoch, before.started):
                self.show(f"{time.strftime('%H:%M:%S')}  {run.name}: {now}  [{self.summary()}]")

    def summary(self) -> str:
        """Such as "2 of 6 runs finished, 1 failed, about 12 min left"."""
        states = Counter(now.state for now in self.seen.values())
        parts = [f"{states['finished']} of {len(self.seen)} runs finished"]
        if states["failed"]:
            parts.append(f"{states['failed']} failed")
        # Work done before this start says nothing about the current speed.
        gained = sum(now.done - self.before[name].done for name, now in self.seen.items())
        left = sum(1 - now.done for name, now in self.seen.items() if not self._has_failed(name))
        if gained > 0.1 and left > 0:
            rate = gained / (time.monotonic() - self.begun)
            parts.append(f"about {duration(left / rate)} left")
        return ", ".join(parts)

    def _has_failed(self, name: str) -> bool:
        """Whether a run has failed since this start; one that failed before it runs again."""
        now = self.seen[name]
        return now.state == "failed" and now.started != self.before[name].started

    def _watch(self) -> None:
        while not self.end.wait(self.interval):
            self._look_again()

    def _look_again(self) -> None:
        with suppress(OSError):  # a file that another node replaces just now
            self.look()


def duration(seconds: float) -> str:
    """Such as "40 s", "12 min" or "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
