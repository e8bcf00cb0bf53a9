"""The report of a study: its page, tables, tests of significance and pictures."""
# ruff: noqa: RUF001  (the dash of an empty cell)

import json
import math
import shutil
import statistics
import subprocess
import sys
from types import SimpleNamespace

import pytest
from study_runs import LM, TRANSLATION, Folder, language_models, training, translations

from fairseq_wsum import cli
from fairseq_wsum.experiments.program import UserError
from fairseq_wsum.experiments.studies import pictures, report
from fairseq_wsum.experiments.studies.report import latex, markdown, text_rows
from fairseq_wsum.experiments.studies.results import read_results
from fairseq_wsum.experiments.studies.runs_file import read_runs
from fairseq_wsum.experiments.studies.significance import bootstrap, holm, t_test
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


def test_a_table_has_every_metric_of_the_translations(captions) -> None:
    header, lstm, *_ = rows(captions)
    assert header[3:5] == ["valid BLEU", "test BLEU"]
    assert header[7:9] == ["valid chrF2", "test chrF2"]
    results = read_results(captions.plan)
    scores = [results[k].scores["test", "chrF2"].value for k in (0, 3)]
    assert lstm[8] == f"{statistics.fmean(scores):.2f} ± {statistics.stdev(scores):.2f}"
    assert "beam 5, length penalty 1" in captions.report()


def test_csv_files_have_full_precision(lm) -> None:
    lm.language_model("gru", 1, test=90)
    lm.report()
    lstm, gru, failed = lm.csv("ptb.csv")
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
    (published := tmp_path / "published.json").write_text(json.dumps(rows))
    given = ["--out", str(captions.out), "--runs", str(published)]
    cli.main(["report", str(captions.file), *given])
    first, last = sorted(captions.folder.glob("runs*.json"))
    assert first.read_bytes() == own and json.loads(last.read_text()) == rows


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


def test_the_difference_over_three_seeds_has_an_interval(tmp_path) -> None:
    study = Folder(tmp_path, LM.replace("[1, 2]", "[1, 2, 3]"))
    for seed, away in ((1, 1), (2, 2), (3, 3)):
        study.language_model("lstm", seed, test=100)
        study.language_model("gru", seed, test=100 + away)
    gru = study.compare("perplexity")["gru"]
    # mean 2, standard error 1 / sqrt(3); t with 2 degrees of freedom: 4.303
    assert gru["difference_low"] == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-4)
    assert gru["difference_high"] == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-4)


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


def test_models_of_different_tasks_are_not_tested(lm) -> None:
    """One task of fairseq's may show a model more of the text before a word."""
    lm.end("gru", 1)
    for seed in (1, 2):
        for model, score, prefix in (("gru", 90 + seed, ""), ("lstm", 100, "wsum_")):
            path = lm.run(model, seed).folder / "perplexity.json"
            path.write_text(json.dumps({"test": score, "task": f"{prefix}language_modeling"}))
    gru = lm.compare("perplexity")["gru"]
    assert gru["difference"] == -8.5 and "p" not in gru


# Significance


def test_bootstrap_p_values_are_twice_those_of_sacrebleus_command_line(tmp_path) -> None:
    study = translations(tmp_path)
    study.file.write_text(TRANSLATION.replace("[1, 2]", "[2]"))
    runs = [study.run(model, 2) for model in ("lstm", "gru", "no-srnn")]
    files = [str(run.folder / "score-test/hypotheses.lenpen1.0.de") for run in runs]
    reference = runs[0].out / "data/reference/test.lc.norm.tok.de"
    options = ["--paired-bs", "--tokenize", "none", "--force", "--format", "json"]
    command = [sys.executable, "-m", "sacrebleu", str(reference), "-i", *files, *options]
    command += ["--metrics", "bleu", "--width", "6"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, gru, no_srnn = json.loads(done.stdout)
    found = study.compare("BLEU")
    for name, theirs in (("gru", gru), ("no-srnn", no_srnn)):
        p = min(2 * theirs["BLEU"]["p_value"], 1)
        assert found[name]["p"] == pytest.approx(p, rel=1e-9)
        assert found[name]["test"] == "bootstrap"
    assert found["gru"]["p"] < 0.02 < found["no-srnn"]["p"]
    # of two models, the smaller p-value is doubled
    assert found["gru"]["p_corrected"] == 2 * found["gru"]["p"]
    assert study.compare("chrF2")["gru"]["p"] < 0.02


def test_with_two_seeds_bleu_is_compared_by_a_t_test(captions) -> None:
    scores = [r.scores["test", "BLEU"].value for r in read_results(captions.plan)]
    found = captions.compare("BLEU")["gru"]
    assert found["test"] == "t-test"
    assert found["p"] == t_test([a - b for a, b in zip(scores[1::3], scores[::3], strict=True)])


def test_equal_translations_do_not_differ(captions) -> None:
    run, *_ = read_results(captions.plan)
    assert bootstrap(run, run, "BLEU") == 1


def test_models_without_translations_are_not_tested(captions) -> None:
    captions.file.write_text(TRANSLATION.replace("[1, 2]", "[1]"))
    (captions.run("gru", 1).folder / "score-test/hypotheses.lenpen1.0.de").unlink()
    found = captions.compare("BLEU")
    assert "p" not in found["gru"] and "p" in found["no-srnn"]


def test_holms_correction_by_hand() -> None:
    # b: 3 * 0.01; c: 2 * 0.03; a: 1 * 0.04, but at least as much as c
    found = holm({"a": 0.04, "b": 0.01, "c": 0.03})
    assert found == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert holm({"a": 0.5, "b": 0.9}) == {"a": 1, "b": 1}
    assert holm({}) == {}


def test_a_t_test_of_two_seeds_by_hand() -> None:
    # differences 0.1 and 0.3: mean 0.2, standard error 0.1, t = 2 with one degree of freedom,
    # of which the distribution function is 1/2 + arctan(t) / pi
    assert t_test([0.1, 0.3]) == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert t_test([0.0, 0.0]) is None
    assert t_test([math.inf, 0.1]) is None
    assert t_test([0.1] * 3) is None  # say, of a recipe that ignores --seed


def test_t_tests_of_perplexities_by_hand(tmp_path) -> None:
    """With 3 seeds there are 2 degrees of freedom, and the p-value is 1 - |t| / sqrt(2 + t^2)."""
    file = "tasks: {ptb: {recipe: ptb.sh}}\ncells: [lstm, gru, no-srnn]\nseeds: [1, 2, 3]\n"
    study = Folder(tmp_path, file)
    # log differences with a standard error of 0.01, and thus t = -7 and t = 1
    means = {"gru": -0.07, "no-srnn": 0.01}
    for seed, perplexity, away in ((1, 100, -0.01), (2, 120, 0.0), (3, 110, 0.01)):
        study.language_model("lstm", seed, test=perplexity)
        for name, mean in means.items():
            log = math.log(perplexity) + mean + away * math.sqrt(3)
            study.language_model(name, seed, test=math.exp(log))
    found = study.compare("perplexity")
    raw = {"gru": 1 - 7 / math.sqrt(51), "no-srnn": 1 - 1 / math.sqrt(3)}  # 0.0198 and 0.4226
    for name, times in (("gru", 2), ("no-srnn", 1)):
        assert found[name]["p"] == pytest.approx(raw[name])
        assert found[name]["p_corrected"] == pytest.approx(times * raw[name])
    assert "0.040" in rows(study)[2]


# Pictures


def test_a_curve_is_the_mean_over_the_seeds_with_their_range(lm) -> None:
    (axes,) = pictures.curves(lm.table()).axes
    lstm, gru = axes.lines  # the third model has no finished run
    assert lstm.get_label() == "lstm" and gru.get_label() == "gru"
    assert lstm.get_xydata().tolist() == [[1, 55], [2, 35]]  # seed 2 has no third epoch
    assert gru.get_xydata().tolist() == [[1, 10]]
    band, _ = axes.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert corners >= {(1, 50), (1, 60), (2, 30), (2, 40)}
    assert axes.get_yscale() == "log"


def test_the_curve_of_a_model_ends_where_a_seed_diverges(lm) -> None:
    lm.language_model("gru", 1, training(12, math.inf, 8), test=90)
    (lm.run("gru", 2).folder / "study.log").write_text(training(10, 9, 8))
    (axes,) = pictures.curves(lm.table()).axes
    assert axes.lines[1].get_xydata().tolist() == [[1, 11]]


def test_bars_show_mean_deviation_seeds_and_published_figures(lm) -> None:
    (axes,) = pictures.bars(lm.table()).axes
    assert [bar.get_width() for bar in axes.patches] == [102, 99]
    points = {tuple(xy) for line in axes.lines for xy in line.get_xydata().tolist()}
    assert {x for x, _ in points} >= {100, 104, 99, 114.5, 160}
    assert {text.get_text() for text in axes.texts} == {"102.0 ± 2.8", "99.0", " failed"}


def test_models_that_diverged_leave_the_others_readable(lm) -> None:
    for seed in (1, 2):
        if seed == 1:
            lm.end("gru", 1)
        (lm.run("gru", seed).folder / "study.log").write_text(training(1e6))
        (lm.run("gru", seed).folder / "perplexity.json").write_text('{"test": 1e16}')
    table = lm.table()
    (axes,) = pictures.curves(table).axes
    assert axes.get_ylim()[1] < 100
    assert "gru\n(off the scale)" in [line.get_label() for line in axes.lines]
    (axes,) = pictures.bars(table).axes
    assert [bar.get_width() for bar in axes.patches] == [102]
    assert " off the scale" in [text.get_text() for text in axes.texts]


def test_a_study_without_a_finished_run_has_a_report(tmp_path) -> None:
    study = Folder(tmp_path, LM)
    study.out.mkdir()
    page = study.report()
    assert "0 of 6 runs are finished." in page and "- `ptb/gru/seed-1`: waiting" in page
    assert not list(study.folder.glob("*.svg"))


def test_names_of_any_kind_are_drawn(tmp_path) -> None:
    names = ["$x$ & y", "门", "a long name " * 9]
    models = "".join(f"  {json.dumps(name)}: {{cell: gru}}\n" for name in names)
    study = Folder(tmp_path, f"tasks: {{ptb: {{recipe: ptb.sh}}}}\nmodels:\n{models}")
    for name in names:
        study.language_model(name, 1, training(20, 10), test=100)
    study.report()
    assert "$x$ &amp; y" in (study.folder / "ptb-curves.svg").read_text()
