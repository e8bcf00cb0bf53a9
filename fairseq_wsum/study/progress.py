"""Report what the runs of a study do, from the files in their folders."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .plan import Plan, Run
from .run import LOG, read_record, state

VALID = re.compile(r"\| epoch 0*(\d+) \| valid on .*?\| ppl ([0-9.]+(?:e[+-]?\d+)?|inf|nan)")
LAST_EPOCH = re.compile(r"'max_epoch': (\d+)")


@dataclass(frozen=True)
class Standing:
    """Where a run stands: its state, the last validated epoch, and its last epoch if known."""

    state: str
    epoch: int = 0
    perplexity: str = ""
    last_epoch: int = 0
    seconds: float = 0

    def __str__(self) -> str:
        if not self.epoch:
            return self.state
        of = f" of {self.last_epoch}" if self.last_epoch else ""
        return f"{self.state}, epoch {self.epoch}{of}, validation perplexity {self.perplexity}"


def standing(run: Run) -> Standing:
    """Read where a run stands."""
    record = read_record(run.folder)
    if record is None:
        return Standing("waiting")
    epochs = validations(run.folder)
    last = re.findall(LAST_EPOCH, _text(run.folder / LOG))
    return Standing(
        state(run),
        *(epochs[-1] if epochs else (0, "")),
        last_epoch=int(last[-1]) if last else 0,
        seconds=record.seconds,
    )


def validations(folder: Path) -> list[tuple[int, str]]:
    """The epochs of a run that were validated, with the perplexity, from fairseq's log."""
    found = {int(epoch): perplexity for epoch, perplexity in VALID.findall(_text(folder / LOG))}
    return sorted(found.items())


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


class Watch:
    """Prints a line whenever a run starts, has validated an epoch, or ends, in a thread.

    Args:
        plan: the study.
        jobs: number of runs at a time, for the time left.
        show: prints a line.
        interval: seconds between two looks at the folders.
    """

    def __init__(
        self, plan: Plan, jobs: int, show: Callable[[str], None], interval: float = 2
    ) -> None:
        self.plan, self.jobs, self.show, self.interval = plan, jobs, show, interval
        self.begun = time.monotonic()
        self.seen = {run.name: standing(run) for run in plan.runs}
        # What is done by now tells nothing about the speed from now on.
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
        if gained > 0.1:
            ended = states["finished"] + states["failed"]
            rate = gained / (time.monotonic() - self.begun)
            parts.append(f"about {duration((len(self.seen) - max(done, ended)) / rate)} left")
        return ", ".join(parts)

    def _done(self) -> float:
        """The number of runs that are done; a training counts by its epochs."""
        done = 0.0
        for now in self.seen.values():
            if now.state in ("finished", "failed"):
                done += 1
            elif now.last_epoch:
                done += now.epoch / (now.last_epoch + 1)
        return done

    def _watch(self) -> None:
        while not self.end.wait(self.interval):
            self.look()


def duration(seconds: float) -> str:
    """Such as "40 s", "12 min" or "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
