"""The report of a study: its page, its tables and the files of its runs."""
# ruff: noqa: RUF001  (the dash of an empty cell)

import csv
import json
import math
import shutil
import statistics
from types import SimpleNamespace

import pytest
from study_runs import LM, TRANSLATION, Folder, language_models, training, translations

from fairseq_wsum import cli
from fairseq_wsum.experiments.program import UserError
from fairseq_wsum.experiments.studies import pictures, report
from fairseq_wsum.experiments.studies.report import latex, markdown, text_rows
from fairseq_wsum.experiments.studies.results import read_results
from fairseq_wsum.experiments.studies.runs_file import read_runs
from fairseq_wsum.experiments.studies.table import Table, spread


@pytest.fixture(autouse=True)
def _same_day(monkeypatch) -> None:
    monkeypatch.setattr(report, "date", SimpleNamespace(today=lambda: "2026-01-02"))


@pytest.fixture
def lm(tmp_path) -> Folder:
    return language_models(tmp_path)


@pytest.fixture
def captions(tmp_path) -> Folder:
    return translations(tmp_path)


def rows(study: Folder) -> list[list[str]]:
    return text_rows(study.table())


# The page and the table


def test_the_report_has_all_parts(lm) -> None:
    page = lm.report()
    parts = [
        "# Study study\n",
        "3 of 6 runs are finished, 1 failed.",
        "Recipe `ptb.sh` `--max-epoch=3`.",
        "- no\\_gates \\& 50%: `--cell=no-gates --lr=0.1`\n",
        markdown(lm.table()).rstrip(),
        "Published test figures: Levy et al. (2018).",
        "Runs: EPYC, 0.1.0 (3). 2026-08-07 to 2026-08-07, 60 s to 60 s a run.",
        "![Test scores",
        "![Validation perplexity by epoch",
        "`difference`: the test score minus",
        "- `ptb/no-gates-50/seed-1`: failed",
        "\n      line 19\n",
        "\n      line 30\n",
        "- `ptb/gru/seed-1`: waiting\n",
    ]
    places = [page.find(part) for part in parts]
    assert -1 not in places and sorted(places[:-5]) == places[:-5]
    assert "line 18\n" not in page
    names = {"report.md", "runs.json", "ptb.tex", "ptb.csv", "ptb-bars.svg", "ptb-curves.svg"}
    assert {path.name for path in lm.folder.iterdir()} == names
    before = {path: path.read_bytes() for path in lm.folder.iterdir()}
    lm.report()
    assert {path: path.read_bytes() for path in lm.folder.iterdir()} == before


def test_a_study_without_a_finished_run_has_a_report(tmp_path) -> None:
    study = Folder(tmp_path, LM)
    study.out.mkdir()
    page = study.report()
    assert "0 of 6 runs are finished." in page and "- `ptb/gru/seed-1`: waiting" in page
    assert not list(study.folder.glob("*.svg"))


def test_the_table_is_the_one_worked_out_by_hand(lm) -> None:
    # lstm: mean of 100 and 104, deviation 2 * sqrt(2); speed, the median of 100, 300 and 1200.
    # gru: 99 with seed 2, where lstm has 104.
    assert rows(lm) == [
        ["model", "parameters", "seeds", "valid perplexity", "test perplexity", "difference",
         "published", "words/s"],
        ["lstm", "1,234", "2", "121.0 ± 0.7", "102.0 ± 2.8", "baseline", "114.5", "300"],
        ["gru", "1,234", "1 of 2", "–", "99.0", "-5.0", "–", "2,000"],
        ["no_gates & 50%", "–", "0 of 2, failed", "–", "–", "–", "160", "–"],
    ]  # fmt: skip
    assert r"no\_gates \& 50% |" in markdown(lm.table())
    assert r"no\_gates \& 50\%" in latex(lm.table())


def test_a_table_has_every_metric_of_the_translations_and_no_empty_column(captions) -> None:
    header, lstm, *_ = rows(captions)
    tests = ["difference", "p (Holm)"]
    assert header == ["model", "seeds", "test BLEU", *tests, "test chrF2", *tests]
    results = read_results(captions.plan)
    scores = [results[k].scores["test", "chrF2"].value for k in (0, 3)]
    shown = f"{statistics.fmean(scores):.2f} ± {statistics.stdev(scores):.2f}"
    assert lstm[header.index("test chrF2")] == shown
    assert "beam 5, length penalty 1" in captions.report()


def test_figures_of_a_recipe_are_read_with_the_way_they_were_scored(tmp_path) -> None:
    study = Folder(tmp_path, LM)
    for model, score in (("lstm", 81.5), ("gru", 81.0)):
        figures = {"way": "CoNLL 2018", "valid": {"LAS": 80}, "test": {"LAS": score, "UAS": 90}}
        file = study.end(model, 1).folder / "figures.json"
        file.write_text(json.dumps(figures))
    header, lstm, gru, *_ = rows(study)
    assert "test LAS" in header and "80.00" in lstm and "81.50" in lstm and "81.00" in gru
    file.write_text(json.dumps({**figures, "way": "another"}))
    with pytest.raises(UserError, match="their valid sets were scored as another, and as CoNLL 20"):
        study.report()


def test_csv_files_have_full_precision(lm) -> None:
    lm.language_model("gru", 1, test=90)
    lm.report()
    lstm, gru, failed = csv.DictReader((lm.folder / "ptb.csv").open(newline=""))
    assert float(lstm["test_stdev"]) == statistics.stdev([100, 104])
    assert lstm["seeds"] == "1 2" and lstm["published"] == "114.5" and lstm["difference"] == ""
    assert float(gru["difference"]) == -7.5 and gru["test"] == "t-test"
    assert float(gru["p"]) == float(gru["p_corrected"]) < 0.5
    assert failed["test_mean"] == "" and failed["parameters"] == ""


def test_the_file_of_the_runs_makes_the_same_report(captions, tmp_path) -> None:
    captions.report()
    before = {path.name: path.read_bytes() for path in captions.folder.iterdir()}
    runs = shutil.move(captions.folder / "runs.json", tmp_path)
    shutil.rmtree(captions.out)
    cli.main(["report", str(captions.file), "--out", str(captions.out), "--runs", str(runs)])
    assert {path.name: path.read_bytes() for path in captions.folder.iterdir()} == before


def test_runs_whose_folders_are_gone_are_kept(captions, capsys) -> None:
    captions.report()
    before = (captions.folder / "runs.json").read_bytes()
    captions.report()
    shutil.rmtree(captions.out / "captions")
    captions.report()
    first, last = sorted(captions.folder.glob("runs*.json"))
    assert first.read_bytes() == before and json.loads(last.read_text()) == []
    assert f"runs that this report lacks: it is now {first.name}" in capsys.readouterr().err


def test_other_results_of_the_same_runs_are_kept(captions, tmp_path) -> None:
    captions.report()
    own = (captions.folder / "runs.json").read_bytes()
    rows = json.loads(own)
    rows[0]["machine"] = "another"
    for row in rows:
        row["seconds"] = None  # as of runs whose time is not known
    (published := tmp_path / "published.json").write_text(json.dumps(rows))
    given = ["--out", str(captions.out), "--runs", str(published)]
    cli.main(["report", str(captions.file), *given])
    first, last = sorted(captions.folder.glob("runs*.json"))
    assert first.read_bytes() == own and json.loads(last.read_text()) == rows
    assert " a run." not in (captions.folder / "report.md").read_text()


def test_runs_of_several_files_are_put_together(lm) -> None:
    lm.report()
    rows = json.loads((lm.folder / "runs.json").read_text())
    files = [lm.file.with_name(f"{seed}.json") for seed in (1, 2)]
    for seed, file in enumerate(files, 1):
        file.write_text(json.dumps([row for row in rows if row["seed"] == seed]))
    plan = lm.plan
    assert (
        text_rows(Table(plan.tasks[0], read_runs(plan, files)))[:-1] == text_rows(lm.table())[:-1]
    )
    for row in rows:
        for score in row["scores"]:
            score["way"] = [f"scored as {row['model']}"]
    files[0].write_text(json.dumps(rows))
    with pytest.raises(UserError, match="cannot be compared: their test sets were scored as"):
        read_runs(plan, files[:1])


def test_speeds_of_different_machines_are_not_compared(lm) -> None:
    lm.report()
    path = lm.folder / "runs.json"
    runs = json.loads(path.read_text())
    for run in runs:
        run["machine"] = {"lstm": "EPYC", "gru": "H100"}[run["model"]]
    path.write_text(json.dumps(runs))
    plan = lm.plan
    _, lstm, gru, _ = text_rows(Table(plan.tasks[0], read_runs(plan, [path])))
    assert (lstm[-1], gru[-1]) == ("300", "–")


def test_a_file_of_runs_that_diverged_is_json(lm) -> None:
    lm.language_model("gru", 1, training(math.inf, math.nan), test="inf")
    lm.report()
    text = (lm.folder / "runs.json").read_text()
    json.loads(text, parse_constant=pytest.fail)  # Infinity and NaN are not JSON
    gru = read_runs(lm.plan, [lm.folder / "runs.json"])[1]
    assert gru.scores["test", "perplexity"].value == gru.curve[1] == math.inf


def test_runs_that_are_not_of_the_study_are_named(lm, capsys) -> None:
    lm.report()
    lm.file.write_text(LM.replace("[lstm, gru]", "[lstm]"))
    read_runs(lm.plan, [lm.folder / "runs.json"])
    assert "study.yaml has no such runs: ptb/gru/2" in capsys.readouterr().err


def test_published_runs_have_no_path_and_may_be_of_other_data_and_gpus(lm) -> None:
    lm.report()
    runs = lm.folder / "runs.json"
    assert str(lm.out) not in runs.read_text()
    moved = LM.replace(
        "options: {max-epoch: 3}",
        "data: elsewhere\n    options: {max-epoch: 3, gpus: 2, user-dir: .}",
    )
    lm.file.write_text(moved)
    assert read_runs(lm.plan, [runs])[0].state == "finished"
    lm.file.write_text(LM.replace("max-epoch: 3", "max-epoch: 4"))
    message = r"ptb/lstm/seed-1 was made with other options .* max-epoch is 3 there, 4 now"
    with pytest.raises(UserError, match=message):
        read_runs(lm.plan, [runs])


@pytest.mark.parametrize("text", ["", "[1]", '[{"task": "x"}]'])
def test_a_file_that_has_no_runs_is_named(lm, text) -> None:
    path = lm.file.with_name("other.json")
    path.write_text(text)
    with pytest.raises(SystemExit, match=r"other\.json is not a runs\.json"):
        cli.main(["report", str(lm.file), "--runs", str(path), "--out", str(lm.out)])


def test_a_table_has_the_chosen_metrics(captions) -> None:
    options = ["--out", str(captions.out), "--metrics"]
    cli.main(["report", str(captions.file), *options, "chrF2"])
    header = (captions.folder / "captions.csv").read_text().splitlines()[1:]
    assert header and all(row.split(",")[1] == "chrF2" for row in header)
    with pytest.raises(SystemExit, match="TER: no task has it; they have 'BLEU', 'chrF2'"):
        cli.main(["report", str(captions.file), *options, "TER"])


def test_published_figures_are_of_the_main_metric(captions) -> None:
    text = TRANSLATION.replace("captions.sh", "captions.sh, published: {values: {lstm: 80}}")
    captions.file.write_text(text)
    plan = captions.plan
    tables = [Table(plan.tasks[0], read_results(plan), chosen) for chosen in ([], ["chrF2"])]
    assert [table.published for table in tables] == [{"lstm": 80}, {}]
    assert ["published" in text_rows(table)[0] for table in tables] == [True, False]
    assert [pictures.bars(table).axes[0].get_legend() is None for table in tables] == [False, True]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([120, 125], "122.5 ± 3.5"),
        ([9999], "9999.0"),
        ([10_000], "1.0e4"),
        ([120, 1.2e16], "6.0e15 ± 8.5e15"),
        ([1.2e16], "1.2e16"),
        ([120, math.inf], "inf"),
        ([math.nan], "nan"),
    ],
)
def test_models_that_diverged_have_a_readable_perplexity(values, shown) -> None:
    assert spread(values, 1) == shown


def test_a_p_value_is_below_the_level_only_if_the_exact_one_is() -> None:
    shown = {0.0496: "<0.05", 0.0504: "0.050", 0.0004: "<0.001", 0.5: "0.500", None: "–"}
    assert {p: report._p_value(p) for p in shown} == shown


# What a report refuses


@pytest.mark.parametrize("text", ["", "[]", '{"figures": []}', '{"figures": [[]]}'])
def test_damaged_scores_are_named_with_the_cure(captions, text) -> None:
    path = captions.run("gru", 1).folder / "score-test/scores.json"
    path.write_text(text)
    with pytest.raises(SystemExit, match=r"scores\.json is damaged .* scores the model again"):
        cli.main(["report", str(captions.file), "--out", str(captions.out)])


@pytest.mark.parametrize(
    "values", [{"signature": "nrefs:1|case:lc"}, {"text": "x"}, {"reference": "x.de"}], ids=list
)
def test_scores_of_different_kinds_are_not_compared(captions, values) -> None:
    path = captions.run("gru", 1).folder / "score-test/scores.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"figures": [found["figures"][0] | values]}))
    with pytest.raises(UserError, match="cannot be compared: their test sets were scored as"):
        captions.report()


def test_perplexities_of_other_texts_are_not_compared(lm) -> None:
    for model, seed, tokens in (("lstm", 1, 7), ("gru", 2, 8)):
        path = lm.run(model, seed).folder / "perplexity.json"
        path.write_text(json.dumps({"test": 100, "test_tokens": tokens}))
    with pytest.raises(UserError, match="scored as 8 tokens, and as 7 tokens"):
        lm.report()
