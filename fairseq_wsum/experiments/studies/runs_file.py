"""The file of the finished runs of a study, small enough to be published with its results.

A report that is made from this file needs neither the checkpoints nor the logs of the runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from ...files import whole
from ..program import UserError, changes, few, say
from .plan import Plan, Run
from .record import Record, settings
from .results import Result, Score, check_ways

OF_THE_MACHINE = ("data", "gpus", "user-dir")  # settings that are not written
OF_THE_RECORD = ("began", "seconds", "machine", "version")


def write_runs(path: Path, results: Iterable[Result]) -> None:
    """Write the finished runs as a JSON array with one line for each of them.

    A file that has others, whose folders may be gone, is kept under another name.
    """
    finished = [_as_json(result) for result in results if result.state == "finished"]
    rows = [json.dumps(row) for row in finished]
    if path.is_file() and not {json.dumps(row) for row in _rows(path).values()} <= {*rows}:
        written = datetime.fromtimestamp(path.stat().st_mtime)
        kept = path.rename(path.with_stem(f"{path.stem}-{written:%Y%m%d-%H%M%S}"))
        say(f"{path} had runs that this report lacks: it is now {kept.name}")
    with whole(path) as partial:
        partial.write_text("[\n" + ",\n".join(rows) + "\n]\n")


def _key(run: Run) -> tuple[str, str, int]:
    return run.task.name, run.model.name, run.seed


def _rows(path: Path) -> dict[tuple[str, str, int], Mapping[str, Any]]:
    """The runs in such a file."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return {(row["task"], row["model"], row["seed"]): row for row in found}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a runs.json of `fairseq-wsum report`") from error


def _as_json(result: Result) -> dict[str, Any]:
    run, record = result.run, result.record
    assert record is not None
    return {
        **{"task": run.task.name, "model": run.model.name, "seed": run.seed},
        "settings": _settings(run),
        "scores": [
            {"subset": subset, "metric": metric, **asdict(score), "value": _number(score.value)}
            for (subset, metric), score in result.scores.items()
        ],
        "decoding": result.decoding,
        "parameters": result.parameters,
        "words_per_second": result.words_per_second,
        "curve": {epoch: _number(perplexity) for epoch, perplexity in result.curve.items()},
        **{name: getattr(record, name) for name in OF_THE_RECORD},
    }


def _number(value: float) -> float | str:
    """JSON has neither infinity nor NaN."""
    return value if math.isfinite(value) else str(value)


def _settings(run: Run) -> dict[str, str | bool | None]:
    return {name: value for name, value in settings(run).items() if name not in OF_THE_MACHINE}


def read_runs(plan: Plan, paths: Sequence[Path]) -> list[Result]:
    """Read the runs of a study from such files; a run that is in none of them is "waiting"."""
    rows = {key: (path, row) for path in paths for key, row in _rows(path).items()}
    if others := sorted("/".join(map(str, key)) for key in rows.keys() - {*map(_key, plan.runs)}):
        say(f"left out, as {plan.file} has no such runs: {few(others)}")
    results = []
    for run in plan.runs:
        if _key(run) not in rows:
            results.append(Result(run, "waiting"))
            continue
        path, row = rows[_key(run)]
        if changed := changes(row["settings"], _settings(run)):
            raise UserError(
                f"{path}: {run.name} was made with other options than those of {plan.file}: "
                f"{changed}"
            )
        results.append(_result(run, row))
    check_ways(results, "leave out the rows of one in the files of --runs")
    return results


def _result(run: Run, row: Mapping[str, Any]) -> Result:
    of_record = {name: row[name] for name in OF_THE_RECORD}
    record = Record([], row["settings"], "finished", started=row["began"], **of_record)
    scores = {}
    for one in row["scores"]:
        score = Score(float(one["value"]), tuple(one["way"]), one["task"])
        scores[one["subset"], one["metric"]] = score
    return Result(
        run,
        "finished",
        record,
        row["parameters"],
        row["words_per_second"],
        {int(epoch): float(perplexity) for epoch, perplexity in row["curve"].items()},
        scores,
        row["decoding"],
    )
