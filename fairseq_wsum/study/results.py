"""Read what the runs of a study have left: scores, learning curves, speed, and how they ended."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .plan import Model, Plan, Run, Task
from .record import (
    PERPLEXITIES,
    TEST_SCORES,
    VALID_SCORES,
    Record,
    current_part,
    finished_record,
    has_other_options,
    read_log,
    read_record,
    validations,
)
from .run import state

PARAMETERS = re.compile(r"num\. shared model params: ([\d,]+)")
SPEED = re.compile(r"\| epoch \d+: .*?\bwps=([\d.]+(?:e[+-]?\d+)?)")
PERPLEXITY = "perplexity"


@dataclass(frozen=True)
class Score:
    """A figure of merit.

    Attributes:
        metric: BLEU, chrF2 or perplexity.
        value: the figure; a perplexity may be infinite or NaN.
        signature: how sacrebleu computed it; empty for a perplexity.
        text: the form of the text, such as "lower-cased tokens"; of a perplexity the number of
            tokens, or empty if not known.
        reference: the name of the file with the reference translations.
        task: fairseq's task that computed a perplexity, or empty if not known.
    """

    metric: str
    value: float
    signature: str = ""
    text: str = ""
    reference: str = ""
    task: str = ""


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        run: the run.
        record: its record.
        parameters: the number of parameters, if the log has it.
        words_per_second: the median speed of the training in target words, if the log has it.
        curve: the validated epochs, from 1, and the perplexity after them.
        valid: scores on the validation set, the main one first; empty if there are none.
        test: the same on the test set.
        decoding: beam and length penalty of the translation of the test set.
        hypotheses: the translations that the main score of the test set is about.
        reference: the reference translations of that score.
    """

    run: Run
    record: Record
    parameters: int | None = None
    words_per_second: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    valid: tuple[Score, ...] = ()
    test: tuple[Score, ...] = ()
    decoding: str = ""
    hypotheses: Path | None = None
    reference: Path | None = None

    def main(self, subset: str) -> Score | None:
        """The score on `valid` or `test` that stands in the tables, if there is any."""
        scores = {"valid": self.valid, "test": self.test}[subset]
        return scores[0] if scores else None


@dataclass(frozen=True)
class Results:
    """The results of a study.

    Attributes:
        finished: its finished runs.
        states: the state of every run by its name.
        outdated: the names of the others that began with other options than the file has now.
    """

    finished: tuple[Result, ...]
    states: Mapping[str, str]
    outdated: Set[str]

    def of(self, task: Task, model: Model | None = None) -> list[Result]:
        """The finished runs of a task, or of a model of it, in the order of the seeds."""
        found = [
            result
            for result in self.finished
            if result.run.task.name == task.name
            and (model is None or result.run.model.name == model.name)
        ]
        return sorted(found, key=lambda result: task.seeds.index(result.run.seed))


def read_results(plan: Plan) -> Results:
    """Read the finished runs of a study.

    Raises:
        ValueError: a file is damaged, a run was made with other options, or the runs of a task
            were scored in different ways.
    """
    states = {run.name: state(run) for run in plan.runs}
    ended = tuple(read_result(run) for run in plan.runs if states[run.name] == "finished")
    others = [run for run in plan.runs if states[run.name] != "finished"]
    results = Results(ended, states, {run.name for run in others if _is_outdated(run)})
    for task in plan.tasks:
        _check_metric(results.of(task))
        for subset in ("valid", "test"):
            _check_alike(results.of(task), subset)
    return results


def _is_outdated(run: Run) -> bool:
    record = read_record(run.folder)
    return record is not None and has_other_options(record, run)


def read_result(run: Run) -> Result:
    """Read a finished run.

    Raises:
        ValueError: a file is damaged, or the run was made with other options.
    """
    record = finished_record(run)
    assert record is not None
    log = current_part(read_log(run.folder), record)
    parameters = PARAMETERS.findall(log)
    # fairseq prints 0 until it has measured a speed
    speeds = [float(speed) for speed in SPEED.findall(log) if float(speed) > 0]
    valid, test = _read_perplexities(run.folder / PERPLEXITIES)
    if found := _read_scores(run.folder / VALID_SCORES):
        valid = found[0]
    decoding, hypotheses, reference = "", None, None
    if found := _read_scores(run.folder / TEST_SCORES):
        test, scores = found
        beam = f"beam {scores['beam']}, " if "beam" in scores else ""
        decoding = f"{beam}length penalty {scores['lenpen']:g}"
        hypotheses = _hypotheses(run.folder / "score-test", scores["lenpen"], test[0])
        reference = run.out / "data/reference" / test[0].reference
    if valid and test and valid[0].metric != test[0].metric:
        raise ValueError(
            f"{run.folder} has {valid[0].metric} of the validation set and {test[0].metric} of the "
            "test set, and a table shows one kind of score: let the recipe leave the same for both"
        )
    return Result(
        run,
        record,
        parameters=int(parameters[-1].replace(",", "")) if parameters else None,
        words_per_second=statistics.median(speeds) if speeds else None,
        curve=tuple((epoch, float(perplexity)) for epoch, perplexity in validations(log)),
        valid=valid,
        test=test,
        decoding=decoding,
        hypotheses=hypotheses,
        reference=reference if reference is not None and reference.is_file() else None,
    )


def without_version(signature: str) -> str:
    """A signature of sacrebleu without the version of sacrebleu."""
    return "|".join(part for part in signature.split("|") if not part.startswith("version:"))


# Files with scores


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(found, dict):
        raise _damaged(path, "it has no object")
    return found


def _damaged(path: Path, why: object) -> ValueError:
    folder = next(parent for parent in path.parents if parent.name.startswith("seed-"))
    what = "it" if path.parent == folder else path.parent  # score.sh replaces whole folders only
    return ValueError(
        f"{path} is damaged ({why}); remove {what}: `fairseq-wsum study` then scores the model "
        "again"
    )


def _read_perplexities(path: Path) -> tuple[tuple[Score, ...], tuple[Score, ...]]:
    """The perplexities of the validation and the test set, as far as the file has them."""
    figures = _read_json(path) or {}
    found: list[tuple[Score, ...]] = []
    for subset in ("valid", "test"):
        try:
            value = float(figures[subset])
        except KeyError:
            found.append(())
            continue
        except (TypeError, ValueError) as error:
            raise _damaged(path, error) from error
        if value < 1:
            raise _damaged(path, f"a perplexity of {value:g}")
        tokens = figures.get(f"{subset}_tokens")
        text = "" if tokens is None else f"{tokens} tokens"
        found.append((Score(PERPLEXITY, value, text=text, task=figures.get("task") or ""),))
    return found[0], found[1]


def _read_scores(path: Path) -> tuple[tuple[Score, ...], dict[str, Any]] | None:
    """The scores of the main form of the text, and all of the file."""
    found = _read_json(path)
    if found is None:
        return None
    try:
        scores = [_score(figure) for figure in found["figures"]]
        found["lenpen"] = float(found["lenpen"])
        first = scores[0]
    except KeyError as error:
        raise ValueError(
            f"{path} has no key {error}; a recipe must write figures and lenpen, and in each "
            "of the figures metric, score, signature, text and reference: see docs/studies.md"
        ) from error
    except (IndexError, TypeError, ValueError) as error:
        raise _damaged(path, repr(error)) from error
    if first.metric != "BLEU":
        raise ValueError(
            f"{path}: the first of the figures is {first.metric}, and studies compare BLEU or "
            "perplexity: put BLEU first"
        )
    main = [s for s in scores if (s.text, s.reference) == (first.text, first.reference)]
    return tuple(main), found


def _score(figure: Mapping[str, Any]) -> Score:
    """One of the figures of a file."""
    texts = [figure[name] for name in ("metric", "signature", "text", "reference")]
    value = float(figure["score"])
    if not all(isinstance(text, str) for text in texts) or not math.isfinite(value):
        raise ValueError("a score must be a number, and what describes it must be text")
    metric, *others = texts
    return Score(metric, value, *others)


def _hypotheses(folder: Path, lenpen: float, score: Score) -> Path | None:
    """The translations with a length penalty, in the form in which they were scored."""
    for path in sorted(folder.glob("hypotheses.lenpen*.*")):
        try:
            found = float(path.stem.removeprefix("hypotheses.lenpen"))
        except ValueError:  # a detokenised file
            continue
        if math.isclose(found, lenpen):
            detokenised = path.with_suffix(f".detok{path.suffix}")
            raw = ".raw." in score.reference and detokenised.is_file()
            return detokenised if raw else path
    return None


def _check_alike(results: list[Result], subset: str) -> None:
    """Check that the main scores of a task can be compared.

    Models may differ in the task of fairseq that computes their perplexity, as not all can carry
    their state through the text; the runs of a model may not.
    """
    first = None
    of_model: dict[str, _Scored] = {}
    for result in results:
        score = result.main(subset)
        if score is None:
            continue
        way = (score.metric, without_version(score.signature), score.text, score.reference)
        found = _Scored(way, result.run.folder)
        # a perplexity without its text is of an earlier version, or of a recipe that says no more
        if score.metric != PERPLEXITY or score.text:
            first = first or found
            _check_same(found, first, subset)
        if score.task:
            found = _Scored((score.metric, score.task), result.run.folder)
            _check_same(found, of_model.setdefault(result.run.model.name, found), subset)


class _Scored(NamedTuple):
    """How the run in a folder was scored."""

    way: tuple[str, ...]
    folder: Path


def _check_same(one: _Scored, other: _Scored, subset: str) -> None:
    (way, folder), (other_way, other_folder) = one, other
    if way != other_way:
        raise ValueError(
            f"{folder} and {other_folder} cannot be compared: their {subset} sets were scored as "
            f"{', '.join(filter(None, way))}, and as {', '.join(filter(None, other_way))}; in one "
            "of the folders, remove the scores (score-valid, score-test, perplexity.json): "
            "`fairseq-wsum study` then scores that model again"
        )


def _check_metric(results: list[Result]) -> None:
    """Check that a task has one kind of score, as its table has one."""
    found = {
        score.metric: result.run.folder
        for result in results
        for subset in ("valid", "test")
        if (score := result.main(subset)) is not None
    }
    if len(found) > 1:
        (one, first), (other, second), *_ = found.items()
        raise ValueError(
            f"{first} has {one} and {second} has {other}, and a table shows one kind of score: let "
            "the recipe leave the same for all models"
        )
