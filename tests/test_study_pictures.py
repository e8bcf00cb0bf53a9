"""The pictures of a report: learning curves and bars."""

import json
import math

import pytest
from study_runs import Folder, language_models, training

from fairseq_wsum.experiments.studies import pictures


@pytest.fixture
def lm(tmp_path) -> Folder:
    return language_models(tmp_path)


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


def test_names_of_any_kind_are_drawn(tmp_path) -> None:
    names = ["$x$ & y", "门", "a long name " * 9]
    models = "".join(f"  {json.dumps(name)}: {{cell: gru}}\n" for name in names)
    study = Folder(tmp_path, f"tasks: {{ptb: {{recipe: ptb.sh}}}}\nmodels:\n{models}")
    for name in names:
        study.language_model(name, 1, training(20, 10), test=100)
    study.report()
    assert "$x$ &amp; y" in (study.folder / "ptb-curves.svg").read_text()
