"""The tables of a report."""
# ruff: noqa: RUF001  (the dash of an empty cell)

import statistics
from dataclasses import replace

import pytest
from study_runs import (
    LM,
    Folder,
    language_models,
    translations,
)

from fairseq_wsum.study import tables
from fairseq_wsum.study.significance import Comparison, PValue


@pytest.fixture
def lm(tmp_path) -> Folder:
    return language_models(tmp_path)


def test_the_table_is_the_one_worked_out_by_hand(lm) -> None:
    # lstm: mean of 100 and 104, deviation 2 * sqrt(2); speed, the median of 100, 300 and 1200.
    # gru: 99 with seed 2, where lstm has 104.
    assert tables.markdown(lm.table()) == (
        "| model | parameters | seeds | valid perplexity ↓ | test perplexity ↓ | difference "
        "| p (Holm) | published | words/s |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| lstm | 1,234 | 2 | 121.0 ± 0.7 | 102.0 ± 2.8 | baseline | – | 114.5 | 300 |\n"
        "| gru | 1,234 | 1 of 2 | – | 99.0 | -5.0 | – | – | 2,000 |\n"
        "| no\\_gates \\& 50% | – | 0 of 2 | failed | failed | – | – | 160 | – |\n"
    )


def test_a_mean_over_fewer_scores_than_runs_says_so(lm) -> None:
    (lm.run("lstm", 2).folder / "perplexity.json").write_text('{"test": 104}')
    _, lstm, *_ = tables.text_rows(lm.table())
    assert lstm[2:5] == ["2", "120.5 (1 of 2 seeds)", "102.0 ± 2.8"]


def test_the_tabular_of_latex_has_the_same_cells_with_escapes(lm) -> None:
    assert tables.latex(lm.table()).splitlines() == [
        r"\begin{tabular}{lrrrrrrrr}",
        r"\hline",
        r"model & parameters & seeds & valid perplexity $\downarrow$ & test perplexity "
        r"$\downarrow$ & difference & p (Holm) & published & words/s \\",
        r"\hline",
        r"lstm & 1,234 & 2 & 121.0 $\pm$ 0.7 & 102.0 $\pm$ 2.8 & baseline & -- & 114.5 & 300 \\",
        r"gru & 1,234 & 1 of 2 & -- & 99.0 & $-$5.0 & -- & -- & 2,000 \\",
        r"no\_gates \& 50\% & -- & 0 of 2 & failed & failed & -- & -- & 160 & -- \\",
        r"\hline",
        r"\multicolumn{9}{l}{Published: Levy et al. (2018)} \\",
        r"\end{tabular}",
    ]


def test_a_model_that_diverged_leaves_the_decimals_of_the_others(lm) -> None:
    for model, seed in (("gru", 2), ("lstm", 1)):  # after and before the others
        (lm.run(model, seed).folder / "perplexity.json").write_text('{"test": NaN}')
        assert lm.table().digits == 1


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 50% #1 $x {y}", r"a\_b \& 50\% \#1 \$x \{y\}"),
        (r"\cell~^", r"\textbackslash{}cell\textasciitilde{}\textasciicircum{}"),
        ("``x`", r"\textasciigrave{}\textasciigrave{}x\textasciigrave{}"),
        ("--a---b", "-{}-a-{}-{}-b"),
        ('<1 |> "', "$<$1 $|$$>$ ''"),
        ("no-srnn [x] ]", "no-srnn [x] ]"),
    ],
)
def test_latex_shows_special_characters_as_they_are(text, escaped) -> None:
    assert tables.escape_latex(text) == escaped


def test_markdown_shows_special_characters_as_they_are() -> None:
    assert tables.escape_markdown("~~a~~ `b` [c] *_|<&$\\") == (
        r"\~\~a\~\~ \`b\` \[c\] \*\_\|\<\&\$\\"
    )


def test_a_row_of_latex_never_begins_with_an_argument_of_the_row_before(lm) -> None:
    lm.file.write_text(LM.replace("no_gates", "'[x]'").replace("'[x]' & 50%", "'[x]'"))
    assert "\n{}[x] & " in tables.latex(lm.table())


def test_csv_has_full_precision_and_empty_cells(lm) -> None:
    lm.report()
    lstm, gru, missing = lm.csv("ptb.csv")
    assert float(lstm["test_stdev"]) == statistics.stdev([100, 104])
    assert (lstm["test_mean"], lstm["seeds"], lstm["words_per_second"]) == ("102.0", "1 2", "300.0")
    assert (lstm["valid_seeds"], lstm["test_seeds"], gru["valid_seeds"]) == ("1 2", "1 2", "")
    assert (gru["valid_mean"], gru["test_mean"], gru["test_stdev"]) == ("", "99.0", "")
    assert (gru["difference"], gru["p"], gru["different"]) == ("-5.0", "", "")
    assert (missing["model"], missing["test_mean"]) == ("no_gates & 50%", "")
    runs = lm.csv("runs.csv")
    assert runs[0]["started"]
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


def test_infinite_perplexities_of_two_models_have_no_difference(lm) -> None:
    lm.language_model("gru", 1, test="inf")
    (lm.run("lstm", 2).folder / "perplexity.json").write_text('{"test": "inf"}')
    assert tables.text_rows(lm.table())[2][5] == "–"


@pytest.mark.parametrize(
    ("metric", "p", "shown"),
    [
        ("BLEU", 0.02498, "<0.025"),
        ("BLEU", 0.02502, "0.025"),
        ("BLEU", 0.0244, "0.024"),
        ("BLEU", 0.0496, "0.050"),
        ("perplexity", 0.0496, "<0.05"),
        ("perplexity", 0.05, "0.050"),
        ("perplexity", 0.0004, "<0.001"),
    ],
)
def test_a_p_value_never_rounds_across_the_level(lm, metric, p, shown) -> None:
    table = lm.table()
    row = replace(table.rows[1], comparison=Comparison({2: -5.0}, PValue(p, p)))
    assert tables.text_rows(replace(table, metric=metric, rows=(row,)))[1][6] == shown


@pytest.mark.parametrize(
    ("difference", "shown"), [(-0.04, "0.0"), (0.04, "0.0"), (0.06, "+0.1"), (-0.06, "-0.1")]
)
def test_a_difference_that_rounds_to_zero_has_no_sign(lm, difference, shown) -> None:
    table = lm.table()
    row = replace(table.rows[1], comparison=Comparison({2: difference}))
    assert tables.text_rows(replace(table, rows=(row,)))[1][5] == shown


def test_small_perplexities_have_two_decimals(lm) -> None:
    lm.run("gru", 2).folder.joinpath("perplexity.json").write_text('{"test": 3.456}')
    assert tables.text_rows(lm.table())[2][4] == "3.46"


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1.3e8, 3.7e16, 1e11], "1.3e8 to 3.7e16"),
        ([126.0, 1261.0], "126.0 to 1261.0"),
        ([126.0, 1260.0], "693.0 ± 801.9"),
        ([12345.0, 13345.0], "1.3e4 ± 707.1"),
        ([3.7e16], "3.7e16"),
    ],
)
def test_a_diverged_model_has_a_readable_perplexity(values, shown) -> None:
    assert tables.spread(values, 1) == shown


def test_the_difference_of_a_diverged_model_is_short(lm) -> None:
    lm.run("gru", 2).folder.joinpath("perplexity.json").write_text('{"test": 3.7e16}')
    assert tables.text_rows(lm.table())[2][4:6] == ["3.7e16", "+3.7e16"]


def test_a_model_is_failed_only_if_no_other_run_of_it_was_started(lm) -> None:
    assert tables.text_rows(lm.table())[3][3] == "failed"
    lm.end("no_gates & 50%", 2, "interrupted")
    assert tables.text_rows(lm.table())[3][3] == "not finished"


def test_the_csv_files_name_the_level_of_a_p_value(lm, tmp_path_factory) -> None:
    captions = translations(tmp_path_factory.mktemp("captions"))
    captions.report()
    assert [row["level"] for row in captions.csv("captions.csv")] == ["", "0.025", "0.025"]
    assert captions.csv("runs.csv")[1]["level"] == "0.025"
    lm.language_model("gru", 1, test=98)
    lm.report()
    assert [row["level"] for row in lm.csv("ptb.csv")] == ["", "0.05", ""]


def test_the_difference_over_three_seeds_has_an_interval(lm) -> None:
    lm.file.write_text(LM.replace("[1, 2]", "[1, 2, 3]"))
    for model, seed, test in (("gru", 1, 99), ("lstm", 3, 100), ("gru", 3, 97)):
        lm.language_model(model, seed, test=test)
    lm.report()
    gru = lm.csv("ptb.csv")[1]  # differences -1, -5, -3: mean -3, standard error 2 / sqrt(3)
    ends = [float(gru["difference_low"]), float(gru["difference_high"])]
    assert ends == pytest.approx([-3 - 4.302653 * 2 / 3**0.5, -3 + 4.302653 * 2 / 3**0.5])
