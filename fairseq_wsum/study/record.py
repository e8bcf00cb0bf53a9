"""The record and the log in the folder of a run.

It has, beside what the recipe leaves there: `study.json`, the record; `study.log`, all that the
recipe printed.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from filecmp import cmp
from pathlib import Path

from ..files import whole
from .plan import Run

RECORD = "study.json"
LOG = "study.log"
VALID_SCORES, TEST_SCORES = "score-valid/scores.json", "score-test/scores.json"
PERPLEXITIES = "perplexity.json"
SCORES = (VALID_SCORES, TEST_SCORES, PERPLEXITIES)
PLACES = ("--out=", "--run=")  # options of a recipe that say where its files are
# options that do not change the model; --skip-damaged continues from an earlier checkpoint
WITHOUT_EFFECT = {"--skip-damaged", "--num-workers", "--log-format", "--log-interval"}
PATHS = {"recipe": "recipe", "--data": "data"}  # settings that are paths, by their keys in the file
ATTEMPT = re.compile(r"^\$ (.+)$", re.MULTILINE)  # the command line that starts one
# what torchrun prints when a process has failed, after all that the process printed
TORCHRUN = re.compile(r"^.*torch/distributed/elastic/\S+\] failed \(exitcode", re.MULTILINE)
VALID = re.compile(
    r"\| epoch 0*(\d+) \| valid on '(.*?)' subset .*?\| ppl ([0-9.]+(?:e[+-]?\d+)?|inf|nan)"
)


@dataclass
class Record:
    """How a run went. Its `state` is running, failed or finished."""

    command: list[str]
    state: str = "running"
    started: str = ""  # of the last attempt, as ISO 8601
    seconds: float = 0  # of all attempts
    status: int | None = None  # exit status of the recipe
    # Of the next three, "A, then B" if it went on with another.
    machine: str = ""  # its processor or GPU
    torch: str = ""  # version
    version: str = ""  # of this package, with the commit of a checkout
    paths: Mapping[str, str] = field(default_factory=dict)  # of the task
    scores: Sequence[str] = ()  # the files of SCORES that the recipe left
    began: str = ""  # the start of the first attempt, if there were several

    def follow(self, before: Record) -> None:
        """Add when the first attempt began, and what the attempts before this one ran on."""
        self.began = before.first_started
        for name in ("machine", "torch", "version"):
            earlier, now = getattr(before, name), getattr(self, name)
            if earlier and earlier.split(", then ")[-1] != now:
                earlier += f", then {now}"
            setattr(self, name, earlier or now)

    @property
    def first_started(self) -> str:
        """The start of the first attempt, as ISO 8601."""
        return self.began or self.started

    def is_finished(self, folder: Path) -> bool:
        """Whether the run in this folder is done: scores that were removed are to be made again."""
        return self.state == "finished" and all((folder / name).is_file() for name in self.scores)

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
    known = {one.name for one in fields(Record)}  # those of a later version may have more
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


def current_part(log: str, record: Record) -> str:
    """The log without the attempts before the last change of options.

    An attempt begins with its command line; those that had other options than the record's say
    nothing about the run as it is.
    """
    wanted = _settings(record.command)
    start, is_other = 0, False
    for begin, command in _attempts(log):
        if is_other:
            start = begin
        is_other = {**_settings(command), **_paths_of(wanted)} != wanted
    return log[start:]


def _attempts(log: str) -> Iterator[tuple[int, list[str]]]:
    """Where each attempt in a log begins, and its command line."""
    for line in ATTEMPT.finditer(log):
        try:
            command = shlex.split(line[1])
        except ValueError:
            continue
        if any(word.startswith("--run=") for word in command):  # others only look like one
            yield line.start(), command


def last_lines(text: str) -> str:
    """The last 12 lines of the last attempt in a log, indented.

    What torchrun adds after a process has failed is left out: it would hide what the process said.
    """
    begins = [0, *(begin for begin, _ in _attempts(text))]
    text = TORCHRUN.split(text[begins[-1] :], maxsplit=1)[0]
    return "".join(f"    {line}\n" for line in text.splitlines()[-12:])


def finished_record(run: Run) -> Record | None:
    """The record of a run, or None if it is not finished.

    Raises:
        ValueError: the run has finished, or has validated an epoch, with other options.
    """
    record = checked_record(run)
    return record if record is not None and record.is_finished(run.folder) else None


def checked_record(run: Run) -> Record | None:
    """The record of a run, or None if it never started.

    Raises:
        ValueError: the run has finished, or has validated an epoch, with other options.
    """
    record = read_record(run.folder)
    if (
        record is not None
        and (record.state == "finished" or validations(read_log(run.folder)))
        and has_other_options(record, run)
    ):
        made, wanted = _without_places(record.command), _without_places(run.command())
        raise ValueError(
            f"{run.folder} was made with other options than those of the study's file now:\n"
            f"  {shlex.join(made)}\nnot\n  {shlex.join(wanted)}\n"
            "restore the file, give another --out, or remove the folder to begin again, which "
            "loses its training"
        )
    return record


def has_other_options(record: Record, run: Run) -> bool:
    """Whether a run was started with other options than the study's file has now.

    In a study that was moved, the recipe and the data are those that are written the same. If the
    run is where it was, and the earlier place still exists, nothing was moved: then the path is of
    another study, or of a link that was changed, unless it leads to an equal file.
    """
    before = _settings(record.command)
    now = _settings(run.command())
    stayed = f"--run={run.folder}" in record.command
    for name in before.keys() & now.keys() & PATHS.keys():
        if stayed and _differ(Path(before[name]), Path(now[name])):
            continue
        if record.paths.get(PATHS[name]) == run.task.paths[PATHS[name]]:
            before[name] = now[name]
    return before != now


def _differ(before: Path, now: Path) -> bool:
    """Whether two paths lead to different things that both exist. Folders always differ."""
    if before == now or not (before.exists() and now.exists()):
        return False
    return not (before.is_file() and now.is_file() and cmp(before, now, shallow=False))


def _paths_of(settings: Mapping[str, str]) -> dict[str, str]:
    return {name: settings[name] for name in PATHS.keys() & settings.keys()}


def _without_places(command: list[str]) -> list[str]:
    return [part for part in command if not part.startswith(PLACES)]


def _settings(command: list[str]) -> dict[str, str]:
    """The recipe and its options, without those that do not change its results.

    Of an option that is given twice, the recipe takes the last.
    """
    recipe, *options = _without_places(command)
    settings = dict(option.partition("=")[::2] for option in options)
    return {"recipe": recipe, **{k: settings[k] for k in settings.keys() - WITHOUT_EFFECT}}
