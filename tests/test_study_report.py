"""The report of a study: tables, tests and pictures, of run folders that are made by hand."""
# ruff: noqa: RUF001  (the dash of an empty cell)

import csv
import json
import math
import random
import statistics
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from fairseq_wsum import cli
from fairseq_wsum.study import pictures, tables
from fairseq_wsum.study.plan import Plan, Run, read_plan
from fairseq_wsum.study.report import write_report
from fairseq_wsum.study.results import read_results
from fairseq_wsum.study.run import Record
from fairseq_wsum.study.significance import P, bootstrap, compare, holm, t_test

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

    def end(self, model: str, seed: int, state: str = "finished", log: str = "", **record) -> Run:
        """Write the record and the log of a run."""
        run = self.run(model, seed)
        run.folder.mkdir(parents=True)
        made = Record(run.command(), state, "2026-08-07T10:00:00", 60, 0, "EPYC", "2.13.0")
        (run.folder / "study.json").write_text(json.dumps(asdict(replace(made, **record))))
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
        figures = [figure, figure | {"metric": "chrF2", "score": 60.5}, other]
        record = {"lenpen": 1.0, "beam": 5, "figures": figures}
        (scores / "scores.json").write_text(json.dumps(record))
        write(scores / "hypotheses.lenpen1.0.de", lines)
        write(scores / "hypotheses.lenpen1.0.detok.de", ["another form"] * len(lines))
        write(scores / "hypotheses.lenpen1.4.de", ["another penalty"] * len(lines))
        (run.out / "data/reference").mkdir(parents=True, exist_ok=True)
        write(run.out / "data/reference/test.lc.norm.tok.de", reference)
        return run

    def table(self) -> tables.Table:
        plan = self.plan
        results, task = read_results(plan), plan.tasks[0]
        return tables.make_table(task, results, compare(task, results))

    def report(self) -> str:
        return write_report(self.plan, self.folder).read_text()

    def csv(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(newline="") as file:
            return list(csv.DictReader(file))


def write(path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


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


@pytest.fixture
def lm(tmp_path) -> Folder:
    """lstm with two seeds, gru with one; the third model failed and waits."""
    study = Folder(tmp_path, LM)
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


@pytest.fixture
def captions(tmp_path) -> Folder:
    """lstm, a gru that is worse, and a no-srnn that is about as good, each with two seeds."""
    study = Folder(tmp_path, TRANSLATION)
    random_ = random.Random(5)
    right = [" ".join(random_.choices(WORDS, k=9)) for _ in range(60)]
    for seed in (1, 2):
        for model, kept in (("lstm", 0.8), ("gru", 0.55), ("no-srnn", 0.78)):
            study.translation(model, seed, sentences(random_, right, kept), right)
    return study


# Tables


def test_the_table_is_the_one_worked_out_by_hand(lm) -> None:
    # lstm: mean of 100 and 104, deviation 2 * sqrt(2); speed, the median of 100, 300 and 1200.
    # gru: 99 with seed 2, where lstm has 104.
    assert tables.markdown(lm.table()) == (
        "| model | parameters | seeds | valid perplexity ↓ | test perplexity ↓ | difference "
        "| p (Holm) | published | words/s |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| lstm | 1,234 | 2 | 121.0 ± 0.7 | 102.0 ± 2.8 | baseline | – | 114.5 | 300 |\n"
        "| gru | 1,234 | 1 of 2 | – | 99.0 | -5.0 | – | – | 2,000 |\n"
        "| no\\_gates \\& 50% | – | 0 of 2 | not run | not run | – | – | 160 | – |\n"
    )


def test_the_tabular_of_latex_has_the_same_cells_with_escapes(lm) -> None:
    assert tables.latex(lm.table()).splitlines() == [
        r"\begin{tabular}{lrrrrrrrr}",
        r"\hline",
        r"model & parameters & seeds & valid perplexity $\downarrow$ & test perplexity "
        r"$\downarrow$ & difference & p (Holm) & published & words/s \\",
        r"\hline",
        r"lstm & 1,234 & 2 & 121.0 $\pm$ 0.7 & 102.0 $\pm$ 2.8 & baseline & -- & 114.5 & 300 \\",
        r"gru & 1,234 & 1 of 2 & -- & 99.0 & $-$5.0 & -- & -- & 2,000 \\",
        r"no\_gates \& 50\% & -- & 0 of 2 & not run & not run & -- & -- & 160 & -- \\",
        r"\hline",
        r"\multicolumn{9}{l}{Published: Levy et al. (2018)} \\",
        r"\end{tabular}",
    ]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 50% #1 $x {y}", r"a\_b \& 50\% \#1 \$x \{y\}"),
        (r"\cell~^", r"\textbackslash{}cell\textasciitilde{}\textasciicircum{}"),
        ("--a---b", "-{}-a-{}-{}-b"),
        ('<1 |> "', "$<$1 $|$$>$ ''"),
        ("no-srnn [x] ]", "no-srnn [x] ]"),
    ],
)
def test_latex_shows_special_characters_as_they_are(text, escaped) -> None:
    assert tables.escape_latex(text) == escaped


def test_a_row_of_latex_never_begins_with_an_argument_of_the_row_before(lm) -> None:
    lm.file.write_text(LM.replace("no_gates", "'[x]'").replace("'[x]' & 50%", "'[x]'"))
    assert "\n{}[x] & " in tables.latex(lm.table())


def test_csv_has_full_precision_and_empty_cells(lm) -> None:
    lm.report()
    lstm, gru, missing = lm.csv("ptb.csv")
    assert float(lstm["test_stdev"]) == statistics.stdev([100, 104])
    assert (lstm["test_mean"], lstm["seeds"], lstm["words_per_second"]) == ("102.0", "1 2", "300.0")
    assert (gru["valid_mean"], gru["test_mean"], gru["test_stdev"]) == ("", "99.0", "")
    assert (gru["difference"], gru["p"], gru["different"]) == ("-5.0", "", "")
    assert (missing["model"], missing["test_mean"]) == ("no_gates & 50%", "")
    runs = lm.csv("runs.csv")
    assert [(run["model"], run["seed"], run["state"]) for run in runs] == [
        ("lstm", "1", "finished"),
        ("gru", "1", "waiting"),
        ("no_gates & 50%", "1", "failed"),
        ("lstm", "2", "finished"),
        ("gru", "2", "finished"),
        ("no_gates & 50%", "2", "waiting"),
    ]
    assert [run["test_perplexity"] for run in runs] == ["100.0", "", "", "104.0", "99.0", ""]
    assert [run["machine"] for run in runs] == ["EPYC", "", "", "EPYC", "EPYC", ""]


def test_an_infinite_perplexity_has_no_deviation(lm) -> None:
    path = lm.run("lstm", 1).folder / "perplexity.json"
    path.write_text('{"test": "inf"}')
    row = lm.table().rows[0]
    assert tables.spread(row.scores("test"), 1) == "inf"
    assert "| inf |" in lm.report()


def test_small_perplexities_have_two_decimals(lm) -> None:
    lm.run("gru", 2).folder.joinpath("perplexity.json").write_text('{"test": 3.456}')
    assert tables.cells(lm.table())[2][4] == "3.46"


# Significance


def test_bootstrap_p_values_are_those_of_sacrebleus_command_line(captions) -> None:
    plan = captions.plan
    comparisons = compare(plan.tasks[0], read_results(plan))
    for seed in (1, 2):
        runs = [captions.run(model, seed) for model in ("lstm", "gru", "no-srnn")]
        files = [str(run.folder / "score-test/hypotheses.lenpen1.0.de") for run in runs]
        reference = runs[0].out / "data/reference/test.lc.norm.tok.de"
        options = ["--paired-bs", "--tokenize", "none", "--force", "--format", "json"]
        command = [sys.executable, "-m", "sacrebleu", str(reference), "-i", *files, *options]
        command += ["--metrics", "bleu", "--width", "6"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        _, gru, no_srnn = json.loads(done.stdout)
        p = {name: comparisons[name].by_seed[seed].raw for name in ("gru", "no-srnn")}
        assert p["gru"] == pytest.approx(gru["BLEU"]["p_value"], rel=1e-9)
        assert p["no-srnn"] == pytest.approx(no_srnn["BLEU"]["p_value"], rel=1e-9)
        assert p["gru"] < 0.01 < p["no-srnn"]


def test_the_corrected_p_of_bleu_is_the_largest_over_the_seeds(captions) -> None:
    plan = captions.plan
    comparisons = compare(plan.tasks[0], read_results(plan))
    raw = {name: [p.raw for p in found.by_seed.values()] for name, found in comparisons.items()}
    # of two models, the smaller p-value is doubled
    assert all(gru < 0.05 and gru < other for gru, other in zip(*raw.values(), strict=True))
    assert comparisons["gru"].p.corrected == 2 * max(raw["gru"])
    assert comparisons["gru"].different
    largest = max(max(2 * gru, other) for gru, other in zip(*raw.values(), strict=True))
    assert comparisons["no-srnn"].p.corrected == largest
    assert not comparisons["no-srnn"].different


def test_models_that_are_better_with_one_seed_and_worse_with_another_do_not_differ(
    captions,
) -> None:
    plan = captions.plan
    found = compare(plan.tasks[0], read_results(plan))["gru"]
    assert found.different
    assert not replace(found, differences={1: 2.0, 2: -2.0}).different
    assert not replace(found, untested=(2,)).different


def test_equal_translations_do_not_differ(captions) -> None:
    for seed in (1, 2):
        equal = (captions.run("lstm", seed).folder / "score-test").iterdir()
        for path in equal:
            copy = captions.run("gru", seed).folder / "score-test" / path.name
            copy.write_bytes(path.read_bytes())
    plan = captions.plan
    found = compare(plan.tasks[0], read_results(plan))["gru"]
    assert found.differences == {1: 0, 2: 0}
    assert found.p.raw == 1 and not found.different


def test_the_one_tail_of_sacrebleus_test_counts_twice(captions) -> None:
    plan = captions.plan
    found = compare(plan.tasks[0], read_results(plan))["gru"]
    assert replace(found, p=P(0.02, 0.024)).different
    assert not replace(found, p=P(0.02, 0.026)).different


def test_only_common_seeds_are_tested(captions) -> None:
    run = captions.run("gru", 1)
    (run.folder / "study.json").unlink()
    plan = captions.plan
    comparisons = compare(plan.tasks[0], read_results(plan))
    assert list(comparisons["gru"].by_seed) == [2]
    assert list(comparisons["no-srnn"].by_seed) == [1, 2]
    # with seed 1, no-srnn is the only model
    p = comparisons["no-srnn"].by_seed[1]
    assert p.corrected == p.raw


def test_a_seed_that_the_baseline_lacks_counts_for_the_mean_alone(lm) -> None:
    lm.language_model("gru", 1, test=90)
    (lm.run("lstm", 1).folder / "study.json").unlink()
    _, gru, _ = lm.table().rows
    assert gru.scores("test") == [90, 99]
    assert gru.comparison.differences == {2: -5}
    assert gru.comparison.p is None


def test_missing_translations_are_named_and_not_tested(captions) -> None:
    (captions.run("gru", 2).folder / "score-test/hypotheses.lenpen1.0.de").unlink()
    report = captions.report()
    assert "Not tested: gru (no translations or no reference text with seed 2)." in report
    assert captions.csv("captions.csv")[1]["different"] == "False"


def test_translations_must_have_the_recorded_score(captions) -> None:
    path = captions.run("gru", 2).folder / "score-test/hypotheses.lenpen1.0.de"
    lines = path.read_text().splitlines()
    write(path, ["etwas anderes", *lines[1:]])
    with pytest.raises(ValueError, match=r"hypotheses\.lenpen1\.0\.de has .* BLEU, but"):
        captions.report()
    write(path, lines[1:])
    with pytest.raises(ValueError, match="has 59 lines for 60"):
        captions.report()


def test_holms_correction_by_hand() -> None:
    corrected = {k: p.corrected for k, p in holm({"a": 0.04, "b": 0.01, "c": 0.03}).items()}
    # b: 3 * 0.01; c: 2 * 0.03; a: 1 * 0.04, but at least as much as c
    assert corrected == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert holm({"a": 0.5, "b": 0.9})["a"].corrected == 1
    assert holm({}) == {}


def test_a_t_test_of_two_seeds_by_hand() -> None:
    # log differences 0.1 and 0.3: mean 0.2, standard error 0.1, t = 2 with one degree of freedom,
    # of which the distribution function is 1/2 + arctan(t) / pi
    ours = [math.exp(5.1), math.exp(4.3)]
    p = t_test(ours, [math.exp(5.0), math.exp(4.0)])
    assert p == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert t_test([5.0], [4.0]) is None
    assert t_test([5.0, 4.0], [5.0, 4.0]) is None
    assert t_test([math.inf, 4.0], [5.0, 4.1]) is None
    assert t_test([100.0] * 3, [110.0] * 3) is None  # say, of a recipe that ignores --seed


def test_perplexities_are_compared_over_the_common_seeds(lm) -> None:
    lm.language_model("gru", 1, test=90)
    found = compare(lm.plan.tasks[0], read_results(lm.plan))["gru"]
    assert found.differences == {1: -10, 2: -5}
    assert found.difference == -7.5
    assert found.p.raw == found.p.corrected == t_test([90, 99], [100, 104])
    assert "With 2 seeds this test is weak" in lm.report()
    assert "12.7 times its standard error" in lm.report()


def test_raw_text_is_scored_on_detokenised_translations(captions) -> None:
    """Of a system of word tokens whose main score is on the raw text."""
    plan = captions.plan
    for run in plan.runs:
        scores = run.folder / "score-test"
        data = json.loads((scores / "scores.json").read_text())
        for figure in data["figures"]:
            figure["reference"] = "test.raw.de"
        (scores / "scores.json").write_text(json.dumps(data))
        good = (scores / "hypotheses.lenpen1.0.de").rename(scores / "x.de")
        good.replace(scores / "hypotheses.lenpen1.0.detok.de")
        write(scores / "hypotheses.lenpen1.0.de", ["tokens"] * 60)
    reference = captions.out / "captions/data/reference"
    (reference / "test.lc.norm.tok.de").rename(reference / "test.raw.de")
    base, gru = read_results(plan).of(plan.tasks[0])[:2]
    assert gru.hypotheses.name == "hypotheses.lenpen1.0.detok.de"
    assert 0 < bootstrap(base, {"gru": gru}, samples=20)["gru"] < 0.1


# The page


def test_the_report_has_all_parts(lm) -> None:
    page = lm.report()
    parts = [
        "# Study study\n",
        "3 of 6 runs are finished, 1 failed.",
        "Recipe `ptb.sh` with `--max-epoch=3`.",
        "- no\\_gates \\& 50%: `--cell=no-gates` `--lr=0.1`\n",
        tables.markdown(lm.table()),
        "Published test figures: Levy et al. (2018).",
        "Not tested: gru (a t-test needs two seeds).",
        "Hardware: EPYC, torch 2.13.0 (3 runs). Started 2026-08-07; 3 min in all",
        "![ptb: test scores](ptb-bars.svg)",
        "![ptb: validation perplexity by epoch](ptb-curves.svg)",
        "`ptb/no-gates-50/seed-1`",
        "\n    line 19\n",
        "\n    line 30\n",
        "- `ptb/gru/seed-1`: waiting\n",
    ]
    places = [page.find(part) for part in parts]
    assert -1 not in places and places == sorted(places)
    assert "line 18\n" not in page
    names = {"report.md", "runs.csv", "ptb.tex", "ptb.csv", "ptb-bars.svg", "ptb-curves.svg"}
    assert {path.name for path in lm.folder.iterdir()} == names | {".files"}


def test_the_report_on_translations_has_signature_and_decoding(captions) -> None:
    page = captions.report()
    scores = captions.run("lstm", 1).folder / "score-test/scores.json"
    signature = json.loads(scores.read_text())["figures"][0]["signature"]
    assert f"Scores: BLEU on lower-cased tokens, `{signature}`." in page
    assert "Test set decoded with beam 5, length penalty 1." in page
    assert "Different from lstm: gru." in page
    assert "Holm's method" in page
    assert "captions-curves.svg" not in page  # the logs have no epochs
    assert captions.csv("runs.csv")[0]["test_chrF2"] == "60.5"


def test_a_study_without_a_finished_run_has_a_report(tmp_path) -> None:
    study = Folder(tmp_path, LM)
    page = study.report()
    assert "0 of 6 runs are finished." in page
    assert "| lstm | – | 0 of 2 | not run | not run | baseline | – | 114.5 | – |" in page
    assert "Nothing was tested" in page
    assert len(study.csv("ptb.csv")) == 3 and len(study.csv("runs.csv")) == 6
    assert not list(study.folder.glob("*.svg"))


def test_a_finished_run_without_scores_is_not_called_not_run(tmp_path) -> None:
    study = Folder(tmp_path, LM)
    study.end("lstm", 1)
    assert tables.cells(study.table())[1][:5] == ["lstm", "–", "1 of 2", "–", "–"]
    study.report()


def test_without_matplotlib_the_report_says_so(lm, monkeypatch) -> None:
    lm.report()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "matplotlib is not installed" in lm.report()
    assert not list(lm.folder.glob("*.svg"))  # those of the report before


def test_the_command_prints_the_tables_and_the_folder(lm, capsys) -> None:
    cli.main(["report", str(lm.file), "--out", str(lm.out)])
    out, err = capsys.readouterr()
    assert out == f"ptb\n\n{tables.markdown(lm.table())}\n"
    assert err == f"{lm.folder}\n"


def test_files_of_others_are_not_replaced(lm) -> None:
    lm.folder.mkdir(parents=True)
    (lm.folder / "notes.txt").write_text("mine")
    (lm.folder / "ptb.tex").write_text("mine")
    with pytest.raises(ValueError, match=r"ptb\.tex is not from an earlier report"):
        lm.report()
    assert (lm.folder / "ptb.tex").read_text() == "mine"
    assert {path.name for path in lm.folder.iterdir()} == {"notes.txt", "ptb.tex"}
    (lm.folder / "ptb.tex").unlink()
    lm.report()
    (lm.folder / "report.md").write_text("old")
    lm.file.write_text(LM.replace("  ptb:", "  wikitext:"))
    assert "wikitext" in lm.report()
    assert not (lm.folder / "ptb.tex").exists()
    assert (lm.folder / "notes.txt").read_text() == "mine"


# Damage


@pytest.mark.parametrize("text", ["{", "[1]", '{"test": "many"}', '{"test": 0.5}', '{"test": []}'])
def test_a_damaged_perplexity_file_is_named_with_the_cure(lm, text) -> None:
    path = lm.run("gru", 2).folder / "perplexity.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"gru/seed-2/perplexity\.json is damaged .*; remove it"):
        lm.report()


@pytest.mark.parametrize("text", ["", '{"figures": []}', '{"figures": [{"metric": "BLEU"}]}'])
def test_a_damaged_score_file_is_named_with_the_cure(captions, text) -> None:
    path = captions.run("gru", 2).folder / "score-test/scores.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"gru/seed-2/score-test/scores\.json is damaged") as error:
        captions.report()
    assert f"remove {path.parent} and " in str(error.value)  # score.sh refuses to complete it


def test_scores_of_different_kinds_are_not_compared(captions) -> None:
    path = captions.run("gru", 2).folder / "score-test/scores.json"
    path.write_text(path.read_text().replace("tok:none", "tok:13a"))
    with pytest.raises(ValueError, match=r"(?s)gru/seed-2 and .* cannot be compared.*tok:13a"):
        captions.report()


def test_a_run_with_other_options_is_not_reported(lm) -> None:
    lm.file.write_text(LM.replace("max-epoch: 3", "max-epoch: 4"))
    with pytest.raises(ValueError, match="was made with other options"):
        lm.report()


# Pictures


def test_a_curve_is_the_mean_over_the_seeds_with_their_range(lm) -> None:
    pytest.importorskip("matplotlib")
    (axes,) = pictures.curves(lm.table()).axes
    lstm, gru = axes.lines  # the third model has no finished run
    assert lstm.get_label() == "lstm" and gru.get_label() == "gru"
    assert lstm.get_xydata().tolist() == [[1, 55], [2, 35]]  # seed 2 has no third epoch
    assert gru.get_xydata().tolist() == [[1, 10]]
    (band,) = axes.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert corners >= {(1, 50), (1, 60), (2, 30), (2, 40)}
    assert axes.get_yscale() == "log"


def test_bars_show_mean_deviation_seeds_and_published_figures(lm) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.collections import LineCollection

    (axes,) = pictures.bars(lm.table()).axes
    assert [bar.get_width() for bar in axes.patches] == [102, 99]
    (error,) = [part for part in axes.collections if isinstance(part, LineCollection)]
    ends = [x for x, _ in error.get_segments()[0]]
    assert ends == pytest.approx([102 - math.sqrt(8), 102 + math.sqrt(8)])
    points = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert points == [[100, 104], [99]]
    (published,) = [line for line in axes.lines if line.get_label() == "published"]
    assert list(published.get_xdata()) == [114.5, 160]
    assert [label.get_text() for label in axes.get_yticklabels()][2] == "no_gates & 50%"
    assert "not run" in [text.get_text().strip() for text in axes.texts]


def test_an_infinite_score_takes_the_bar_and_shows_in_the_number(lm) -> None:
    pytest.importorskip("matplotlib")
    lm.language_model("gru", 1, test="inf")
    (axes,) = pictures.bars(lm.table()).axes
    assert [bar.get_width() for bar in axes.patches] == [102]
    points = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert points == [[100, 104], [99]]
    assert "inf" in [text.get_text() for text in axes.texts]


def test_a_model_without_a_test_score_is_not_called_not_run(lm) -> None:
    pytest.importorskip("matplotlib")
    (lm.run("gru", 2).folder / "perplexity.json").write_text('{"valid": 3}')
    (axes,) = pictures.bars(lm.table()).axes
    shown = [text.get_text().strip() for text in axes.texts]
    assert shown[1:] == ["no test score", "not run"]


def test_a_name_that_begins_with_an_underscore_is_in_the_legend(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    study = Folder(tmp_path, LM.replace("no_gates & 50%", "_mine"))
    study.language_model("_mine", 1, training(50, 30), test=100)
    (axes,) = pictures.curves(study.table()).axes
    assert [text.get_text().strip() for text in axes.get_legend().get_texts()] == ["_mine"]


def test_scores_of_two_kinds_in_one_run_are_named(captions) -> None:
    run = captions.run("gru", 2)
    (run.folder / "perplexity.json").write_text('{"valid": 5.2}')
    with pytest.raises(ValueError, match="has perplexity of the validation set and BLEU of the"):
        captions.report()


def test_equal_reports_have_equal_files(lm) -> None:
    pytest.importorskip("matplotlib")
    lm.report()
    before = {path.name: path.read_bytes() for path in lm.folder.iterdir()}
    lm.report()
    assert before == {path.name: path.read_bytes() for path in lm.folder.iterdir()}
