"""Read what the runs of a study have left: scores, learning curves and speed."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..program import UserError
from ..training_log import validations
from .plan import Plan, Run
from .record import (
    FIGURES,
    PERPLEXITIES,
    SCORES,
    TEST_SCORES,
    Record,
    read_log,
    read_record,
    state,
)

PARAMETERS = re.compile(r"num\. shared model params: ([\d,]+)")
SPEED = re.compile(r"\| epoch \d+: .*?\bwps=([\d.]+(?:e[+-]?\d+)?)")
PERPLEXITY = "perplexity"
SUBSETS = ("valid", "test")


@dataclass(frozen=True)
class Score:
    """A figure of merit; higher is better, but for a perplexity.

    Attributes:
        value: the figure; a perplexity may be infinite or NaN.
        way: what must be equal for two scores to be compared: sacrebleu's signature without its
            version, the form of the text and the name of the reference; or the number of tokens.
        task: fairseq's task that computed a perplexity, or empty if not known.
    """

    value: float
    way: tuple[str, ...] = ()
    task: str = ""


Scores = dict[tuple[str, str], Score]  # by subset and metric


@dataclass(frozen=True)
class Result:
    """A run, and what it left if it is finished.

    Attributes:
        run, record: the run.
        state: as of `record.state`.
        parameters: the number of parameters, if the log has it.
        words_per_second: the median speed of the training in target words, if the log has it.
        curve: the perplexity by validated epoch, from 1.
        scores: by subset (`valid`, `test`) and metric (BLEU, chrF2, ..., or perplexity).
        decoding: beam and length penalty of the translation of the test set.
        hypotheses: the translations of the test set that were scored, if the run has them.
        reference: the reference translations.
    """

    run: Run
    state: str
    record: Record | None = None
    parameters: int | None = None
    words_per_second: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    scores: Mapping[tuple[str, str], Score] = field(default_factory=dict)
    decoding: str = ""
    hypotheses: Path | None = None
    reference: Path = Path()


def metrics(results: Iterable[Result]) -> list[str]:
    """The metrics of some runs, the main one first."""
    return list(dict.fromkeys(metric for result in results for _, metric in result.scores))


def read_results(plan: Plan) -> list[Result]:
    """Read the runs of a study, which must be scored in one way for each task."""
    results = [read_result(run) for run in plan.runs]
    check_ways(results, "remove the scores of one: `fairseq-wsum study` then scores it again")
    return results


def check_ways(results: Iterable[Result], cure: str) -> None:
    """Check that the runs of each task were scored alike; `cure` says what to do otherwise."""
    ways: dict[tuple[str, ...], tuple[tuple[str, ...], str]] = {}
    for result in results:
        name = result.run.name
        for (subset, metric), score in result.scores.items():
            if not score.way:  # of a recipe that says no more
                continue
            key = (result.run.task.name, subset, metric)
            way, other = ways.setdefault(key, (score.way, name))
            if way != score.way:
                raise UserError(
                    f"{name} and {other} cannot be compared: their {subset} sets were scored as "
                    f"{', '.join(score.way)}, and as {', '.join(way)}; {cure}"
                )


def read_result(run: Run) -> Result:
    """Read a run."""
    if (how := state(run)) != "finished":
        return Result(run, how)
    log = read_log(run.folder)
    parameters = PARAMETERS.findall(log)
    # fairseq prints 0 until it has measured a speed
    speeds = [float(speed) for speed in SPEED.findall(log) if float(speed) > 0]
    scores: Scores = {}
    translations: dict[str, Any] = {}
    for name in SCORES:
        path = run.folder / name
        try:
            found = json.loads(path.read_text("utf-8")) if path.is_file() else None
            if found is not None and name == PERPLEXITIES:
                scores |= _perplexities(found)
            elif found is not None and name == FIGURES:
                scores |= {
                    (subset, metric): Score(float(figure), (found["way"],))
                    for subset in SUBSETS
                    for metric, figure in found.get(subset, {}).items()
                }
            elif found is not None:
                scores |= _figures(found, "test" if name == TEST_SCORES else "valid")
                translations = _translations(run, found) if name == TEST_SCORES else {}
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is damaged ({error!r}; see docs/studies.md); remove it: `fairseq-wsum "
                "study` then scores the model again"
            ) from error
    return Result(
        run,
        how,
        read_record(run),
        int(parameters[-1].replace(",", "")) if parameters else None,
        statistics.median(speeds) if speeds else None,
        {epoch: float(perplexity) for epoch, perplexity in validations(log) if perplexity},
        scores,
        **translations,
    )


def _perplexities(found: dict[str, Any]) -> Scores:
    scores = {}
    for subset in SUBSETS:
        if subset in found:
            tokens = found.get(f"{subset}_tokens")
            way = () if tokens is None else (f"{tokens} tokens",)
            score = Score(float(found[subset]), way, found.get("task") or "")
            scores[subset, PERPLEXITY] = score
    return scores


def _figures(found: dict[str, Any], subset: str) -> Scores:
    """The scores of the form of the text that comes first."""
    first = found["figures"][0]
    scores: Scores = {}
    for figure in found["figures"]:
        form = (figure["text"], figure["reference"])
        if form == (first["text"], first["reference"]):
            parts = figure["signature"].split("|")
            signature = "|".join(part for part in parts if not part.startswith("version:"))
            score = Score(float(figure["score"]), (signature, *form))
            scores.setdefault((subset, figure["metric"]), score)
    return scores


def _translations(run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """How the test set was translated, and where the translations and references are."""
    beam = f"beam {found['beam']}, " if "beam" in found else ""
    number = len(found.get("averaged", ()))
    mean = f", average of {number} checkpoints" if number else ""
    hypotheses = run.folder / "score-test" / found.get("hypotheses", "none")
    reference = run.out / "data/reference" / found["figures"][0]["reference"]
    return {
        "decoding": f"{beam}length penalty {float(found['lenpen']):g}{mean}",
        "hypotheses": hypotheses if hypotheses.is_file() and reference.is_file() else None,
        "reference": reference,
    }
