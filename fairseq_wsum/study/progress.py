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
from .record import read_log, validations
from .run import state

LAST_EPOCH = re.compile(r"'max_epoch': (\d+)")


@dataclass(frozen=True)
class Standing:
    """Where a run stands: its state, the last validated epoch, and its last epoch if known."""

    state: str
    epoch: int = 0
    perplexity: str = ""
    last_epoch: int = 0

    def __str__(self) -> str:
        if not self.epoch:
            return self.state
        of = f" of {self.last_epoch}" if self.last_epoch else ""
        return f"{self.state}, epoch {self.epoch}{of}, validation perplexity {self.perplexity}"


def standing(run: Run) -> Standing:
    """Read where a run stands."""
    log = read_log(run.folder)
    epochs, last = validations(log), LAST_EPOCH.findall(log)
    return Standing(
        state(run),
        *(epochs[-1] if epochs else (0, "")),
        last_epoch=int(last[-1]) if last else 0,
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
        self.seen = {run.name: standing(run) for run in plan.runs}
        # These run again.
        self.failed_before = {name for name, now in self.seen.items() if now.state == "failed"}
        # Work done before this start says nothing about the current speed.
        self.done_before = self._done()
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.thread.join()
        self.look()

    def look(self) -> None:
        """Print what has changed since the last look."""
        for run in self.plan.runs:
            before = self.seen[run.name]
            if before.state == "finished":
                continue
            now = standing(run)
            self.seen[run.name] = now
            if now.state != "failed":
                self.failed_before.discard(run.name)
            if (now.state, now.epoch) != (before.state, before.epoch):
                self.show(f"{time.strftime('%H:%M:%S')}  {run.name}: {now}  [{self.summary()}]")

    def summary(self) -> str:
        """Such as "2 of 6 runs finished, 1 failed, about 12 min left"."""
        states = Counter(now.state for now in self.seen.values())
        parts = [f"{states['finished']} of {len(self.seen)} runs finished"]
        if states["failed"]:
            parts.append(f"{states['failed']} failed")
        done = self._done()
        gained = done - self.done_before
        if gained > 0.1 and done < len(self.seen):
            rate = gained / (time.monotonic() - self.begun)
            parts.append(f"about {duration((len(self.seen) - done) / rate)} left")
        return ", ".join(parts)

    def _done(self) -> float:
        """The number of runs that are done; a training counts by its epochs."""
        done = 0.0
        for name, now in self.seen.items():
            failed = now.state == "failed" and name not in self.failed_before
            if now.state == "finished" or failed:
                done += 1
            elif now.last_epoch:
                done += now.epoch / (now.last_epoch + 1)
        return done

    def _watch(self) -> None:
        while not self.end.wait(self.interval):
            with suppress(OSError):  # a file that another node replaces just now: look again later
                self.look()


def duration(seconds: float) -> str:
    """Such as "40 s", "12 min" or "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
