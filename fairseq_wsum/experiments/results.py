"""Read what the runs of a study have left: scores, learning curves and speed."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .plan import Model, Plan, Run, Task
from .record import (
    PERPLEXITIES,
    TEST_SCORES,
    VALID_SCORES,
    Record,
    checked_record,
    read_log,
    state,
    validations,
)

PARAMETERS = re.compile(r"num\. shared model params: ([\d,]+)")
SPEED = re.compile(r"\| epoch \d+: .*?\bwps=([\d.]+(?:e[+-]?\d+)?)")
PERPLEXITY = "perplexity"
SUBSETS = ("valid", "test")


@dataclass(frozen=True)
class Score:
    """A figure of merit; higher is better, but for a perplexity.

    Attributes:
        metric: BLEU, chrF2, ..., or perplexity.
        value: the figure; a perplexity may be infinite or NaN.
        way: what must be equal for two scores to be compared: sacrebleu's signature without its
            version, the form of the text and the name of the reference; or the number of tokens.
        task: fairseq's task that computed a perplexity, or empty if not known.
    """

    metric: str
    value: float
    way: tuple[str, ...] = ()
    task: str = ""


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        run, record: the run.
        parameters: the number of parameters, if the log has it.
        words_per_second: the median speed of the training in target words, if the log has it.
        curve: the validated epochs, from 1, and the perplexity after them.
        scores: by subset (`valid`, `test`) and metric.
        decoding: beam and length penalty of the translation of the test set.
        hypotheses: the translations of the test set that were scored, if the run has them.
        reference: the reference translations.
    """

    run: Run
    record: Record
    parameters: int | None
    words_per_second: float | None
    curve: tuple[tuple[int, float], ...]
    scores: Mapping[str, Mapping[str, Score]]
    decoding: str = ""
    hypotheses: Path | None = None
    reference: Path | None = None


@dataclass(frozen=True)
class Results:
    """The results of a study: its finished runs, and the state of every run by its name."""

    finished: tuple[Result, ...]
    states: Mapping[str, str]

    def of(self, task: Task, model: Model | None = None) -> list[Result]:
        """The finished runs of a task, or of a model of it."""
        return [
            result
            for result in self.finished
            if result.run.task is task and model in (None, result.run.model)
        ]


def metrics(runs: Iterable[Result]) -> list[str]:
    """The metrics of some runs, the main one first."""
    found = [metric for run in runs for of_set in run.scores.values() for metric in of_set]
    return list(dict.fromkeys(found))


def read_results(plan: Plan) -> Results:
    """Read the finished runs of a study.

    Raises:
        ValueError: a file is damaged, a run was made with other options, or the runs of a task
            were scored in different ways.
    """
    states = {run.name: state(run) for run in plan.runs}
    finished = tuple(read_result(run) for run in plan.runs if states[run.name] == "finished")
    results = Results(finished, states)
    for task in plan.tasks:
        _check_alike(results.of(task))
    return results


def read_result(run: Run) -> Result:
    """Read a finished run.

    Raises:
        ValueError: a file is damaged, or the run was made with other options.
    """
    record = checked_record(run)
    assert record is not None
    log = read_log(run.folder)
    parameters = PARAMETERS.findall(log)
    # fairseq prints 0 until it has measured a speed
    speeds = [float(speed) for speed in SPEED.findall(log) if float(speed) > 0]
    scores: dict[str, dict[str, Score]] = {subset: {} for subset in SUBSETS}
    details: dict[str, Any] = {}
    for name, read in (
        (PERPLEXITIES, _read_perplexities),
        (VALID_SCORES, _read_valid_scores),
        (TEST_SCORES, _read_test_scores),
    ):
        path = run.folder / name
        if not path.is_file():
            continue
        try:
            details |= read(run, json.loads(path.read_text("utf-8")), scores)
        except KeyError as error:
            raise ValueError(f"{path} has no key {error}: see docs/studies.md") from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is damaged ({error}); remove it: `fairseq-wsum study` then scores the "
                "model again"
            ) from error
    return Result(
        run,
        record,
        int(parameters[-1].replace(",", "")) if parameters else None,
        statistics.median(speeds) if speeds else None,
        tuple((epoch, float(perplexity)) for epoch, perplexity in validations(log)),
        scores,
        **details,
    )


Scores = dict[str, dict[str, Score]]


def _read_perplexities(run: Run, found: dict[str, Any], scores: Scores) -> dict[str, Any]:
    for subset in SUBSETS:
        if subset in found:
            tokens = found.get(f"{subset}_tokens")
            way = () if tokens is None else (f"{tokens} tokens",)
            score = Score(PERPLEXITY, float(found[subset]), way, found.get("task") or "")
            scores[subset][PERPLEXITY] = score
    return {}


def _read_valid_scores(run: Run, found: dict[str, Any], scores: Scores) -> dict[str, Any]:
    scores["valid"] |= _figures(found)
    return {}


def _read_test_scores(run: Run, found: dict[str, Any], scores: Scores) -> dict[str, Any]:
    scores["test"] |= _figures(found)
    lenpen, first = float(found["lenpen"]), found["figures"][0]
    beam = f"beam {found['beam']}, " if "beam" in found else ""
    reference = run.out / "data/reference" / first["reference"]
    hypotheses = _hypotheses(run.folder / "score-test", lenpen, ".raw." in first["reference"])
    return {
        "decoding": f"{beam}length penalty {lenpen:g}",
        "hypotheses": hypotheses if reference.is_file() else None,
        "reference": reference,
    }


def _figures(found: dict[str, Any]) -> dict[str, Score]:
    """The scores, by metric, of the form of the text that comes first."""
    first = found["figures"][0]
    scores: dict[str, Score] = {}
    for figure in found["figures"]:
        if (figure["text"], figure["reference"]) == (first["text"], first["reference"]):
            value = float(figure["score"])
            if not math.isfinite(value):
                raise ValueError(f"a score of {value}")
            parts = figure["signature"].split("|")
            signature = "|".join(part for part in parts if not part.startswith("version:"))
            way = (signature, figure["text"], figure["reference"])
            scores.setdefault(figure["metric"], Score(figure["metric"], value, way))
    return scores


def _hypotheses(folder: Path, lenpen: float, raw: bool) -> Path | None:
    """The translations with a length penalty, in the form in which they were scored."""
    for path in sorted(folder.glob("hypotheses.lenpen*.*")):
        found = re.fullmatch(r"hypotheses\.lenpen([-+\d.e]+?)\.\w+", path.name)
        if found and math.isclose(float(found[1]), lenpen):
            detokenised = path.with_suffix(f".detok{path.suffix}")
            return detokenised if raw and detokenised.is_file() else path
    return None


def _check_alike(results: list[Result]) -> None:
    """Check that the scores of a task can be compared.

    Models may differ in the task of fairseq that computes their perplexity, as not all can carry
    their state through the text; the runs of a model may not.
    """
    ways: dict[tuple[str, ...], tuple[tuple[str, ...], Path]] = {}
    for result in results:
        folder = result.run.folder
        for subset, scores in result.scores.items():
            for score in scores.values():
                of_model = (subset, score.metric, result.run.model.name)
                for key, way in (((subset, score.metric), score.way), (of_model, (score.task,))):
                    if not any(way):  # of a recipe that says no more
                        continue
                    other, where = ways.setdefault(key, (way, folder))
                    if way != other:
                        raise ValueError(
                            f"{folder} and {where} cannot be compared: their {subset} sets were "
                            f"scored as {', '.join(way)}, and as {', '.join(other)}; remove the "
                            "scores of one: `fairseq-wsum study` then scores that model again"
                        )
