"""Studies whose run folders are made by hand, for the tests of the report."""

import json
import random

import pytest

from fairseq_wsum.experiments.studies.plan import Plan, Run, read_plan
from fairseq_wsum.experiments.studies.record import LOCK, Record, settings
from fairseq_wsum.experiments.studies.report import write_report
from fairseq_wsum.experiments.studies.results import read_results
from fairseq_wsum.experiments.studies.significance import compare
from fairseq_wsum.experiments.studies.table import Table
from fairseq_wsum.experiments.text_files import write_lines

pytest.importorskip("scipy")
metrics = pytest.importorskip("sacrebleu.metrics")

LM = """
tasks:
  ptb:
    recipe: ptb.sh
    options: {max-epoch: 3}
    published: {source: Levy et al. (2018), values: {lstm: 114.5, no_gates & 50%: 160}}
cells: [lstm, gru]
models: {no_gates & 50%: {cell: no-gates, lr: 0.1}}
seeds: [1, 2]
"""
TRANSLATION = """
tasks: {captions: {recipe: captions.sh}}
cells: [lstm, gru, no-srnn]
seeds: [1, 2]
"""
WORDS = ["ein", "Hund", "läuft", "durch", "Wasser", "und", "zwei", "Männer", "sehen", "zu"]


class Folder:
    """A study in a folder, and the files that its runs leave."""

    def __init__(self, path, text: str) -> None:
        (path / "study.yaml").write_text(text)
        for recipe in ("ptb.sh", "captions.sh"):
            (path / recipe).touch(0o755)
        self.file, self.out = path / "study.yaml", path / "out"
        self.folder = self.out / "report"

    @property
    def plan(self) -> Plan:
        return read_plan(self.file, self.out)

    def run(self, model: str, seed: int) -> Run:
        return next(r for r in self.plan.runs if (r.model.name, r.seed) == (model, seed))

    def end(self, model: str, seed: int, state: str = "finished", log: str = "") -> Run:
        """Write the record and the log of a run."""
        run = self.run(model, seed)
        run.folder.mkdir(parents=True)
        (run.folder / LOCK).touch()
        when = "2026-08-07T10:00:00"
        run_settings = settings(run)
        made = Record(run.command(), run_settings, state, when, when, 60, "EPYC", "0.1.0")
        made.write(run.folder)
        (run.folder / "study.log").write_text(log)
        return run

    def language_model(self, model: str, seed: int, log: str = "", **perplexities) -> Run:
        run = self.end(model, seed, log=log)
        (run.folder / "perplexity.json").write_text(json.dumps(perplexities))
        return run

    def translation(self, model: str, seed: int, lines: list[str], reference: list[str]) -> Run:
        """A run that translated the test set only, with two length penalties."""
        run = self.end(model, seed)
        scores = run.folder / "score-test"
        scores.mkdir()
        metric = metrics.BLEU(tokenize="none", force=True)
        found = metric.corpus_score(lines, [reference])
        figure = {
            "text": "lower-cased tokens",
            "metric": "BLEU",
            "score": found.score,
            "signature": str(metric.get_signature()),
            "reference": "test.lc.norm.tok.de",
        }
        other = figure | {"text": "detokenised, cased", "score": 7.0, "reference": "test.raw.de"}
        chrf = metrics.CHRF()
        more = {"metric": "chrF2", "score": chrf.corpus_score(lines, [reference]).score}
        figures = [figure, figure | more | {"signature": str(chrf.get_signature())}, other]
        record = {"lenpen": 1.0, "hypotheses": "hypotheses.lenpen1.0.de", "beam": 5}
        record["figures"] = figures
        (scores / "scores.json").write_text(json.dumps(record))
        write_lines(scores / "hypotheses.lenpen1.0.de", lines)
        write_lines(scores / "hypotheses.lenpen1.0.detok.de", ["another form"] * len(lines))
        write_lines(scores / "hypotheses.lenpen1.4.de", ["another penalty"] * len(lines))
        (run.out / "data/reference").mkdir(parents=True, exist_ok=True)
        write_lines(run.out / "data/reference/test.lc.norm.tok.de", reference)
        return run

    def table(self) -> Table:
        plan = self.plan
        return Table(plan.tasks[0], read_results(plan))

    def compare(self, metric: str) -> dict[str, dict]:
        return compare(self.table().runs, self.plan.tasks[0].baseline, metric)

    def report(self) -> str:
        plan = self.plan
        write_report(plan, read_results(plan))
        return (self.folder / "report.md").read_text()


def training(*epochs: float, speeds: tuple[str, ...] = ()) -> str:
    """A log as fairseq writes it, with the validation perplexity after each epoch."""
    lines = ["num. shared model params: 1,234 (num. trained: 1,234)"]
    lines += [
        f"epoch 001:  {k} / 9 loss=4.9, ppl=12.49, wps={s}, ups=2" for k, s in enumerate(speeds)
    ]
    for epoch, ppl in enumerate(epochs, 1):
        lines.append(
            f"valid | epoch {epoch:03} | valid on 'valid' subset | loss 4 | ppl {ppl} | wps 9"
        )
    return "".join(f"2026-08-07 10:00:00 | INFO | train_inner | {line}\n" for line in lines)


def language_models(path) -> Folder:
    """lstm with two seeds, gru with one; the third model failed and waits."""
    study = Folder(path, LM)
    logs = (training(50, 30, 20, speeds=("0", "100", "1.2e+03", "300")), training(60, 40))
    study.language_model("lstm", 1, logs[0], valid=120.5, test=100)
    study.language_model("lstm", 2, logs[1], valid=121.5, test="104.0")
    study.language_model("gru", 2, training(10, speeds=("2000",)), test=99)
    study.end("no_gates & 50%", 1, "failed", "".join(f"line {k}\n" for k in range(1, 31)))
    return study


def sentences(random_: random.Random, right: list[str], kept: float) -> list[str]:
    """Sentences of which a share of the words is right."""
    return [
        " ".join(
            word if random_.random() < kept else random_.choice(WORDS) for word in line.split()
        )
        for line in right
    ]


def translations(path) -> Folder:
    """lstm, a gru that is worse, and a no-srnn that is about as good, each with two seeds."""
    study = Folder(path, TRANSLATION)
    random_ = random.Random(5)
    right = [" ".join(random_.choices(WORDS, k=9)) for _ in range(60)]
    for seed in (1, 2):
        for model, kept in (("lstm", 0.8), ("gru", 0.55), ("no-srnn", 0.78)):
            study.translation(model, seed, sentences(random_, right, kept), right)
    return study
