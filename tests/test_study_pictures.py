"""The pictures of a report."""

import math
import shutil
import warnings

import pytest
from study_runs import LM, Folder, language_models, training

from fairseq_wsum.study import pictures


@pytest.fixture
def lm(tmp_path) -> Folder:
    return language_models(tmp_path)


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


def test_the_curve_of_a_model_ends_where_a_seed_diverges(lm) -> None:
    pytest.importorskip("matplotlib")
    lm.language_model("gru", 1, training(12, math.inf, 8), test=90)
    log = lm.run("gru", 2).folder / "study.log"
    log.write_text(training(10, 9, 8))
    (axes,) = pictures.curves(lm.table()).axes
    assert axes.lines[1].get_xydata().tolist() == [[1, 11]]


def test_a_model_that_diverges_in_its_first_epoch_is_in_the_legend(lm) -> None:
    pytest.importorskip("matplotlib")
    lm.language_model("gru", 1, training(math.nan, 9), test=99)
    (axes,) = pictures.curves(lm.table()).axes
    assert "gru\n(not finite)" in [line.get_label() for line in axes.lines]


def test_names_without_a_glyph_in_the_font_draw_no_warning(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    study = Folder(
        tmp_path, LM.replace("gru]", "gru]\nbaseline: lstm").replace("no_gates & 50%", "门")
    )
    study.language_model("门", 1, training(9), test=90)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study.report()


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
    assert "failed" in [text.get_text().strip() for text in axes.texts]


def test_an_infinite_score_takes_the_bar_and_shows_in_the_number(lm) -> None:
    pytest.importorskip("matplotlib")
    lm.language_model("gru", 1, test="inf")
    (axes,) = pictures.bars(lm.table()).axes
    assert [bar.get_width() for bar in axes.patches] == [102]
    points = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert points == [[100, 104], [99]]
    assert "inf" in [text.get_text() for text in axes.texts]


def test_a_finished_model_without_a_test_score_is_labelled_no_test_score(lm) -> None:
    pytest.importorskip("matplotlib")
    (lm.run("gru", 2).folder / "perplexity.json").write_text('{"valid": 3}')
    (axes,) = pictures.bars(lm.table()).axes
    shown = [text.get_text().strip() for text in axes.texts]
    assert shown[1:] == ["no test score", "failed"]


def test_a_name_that_begins_with_an_underscore_is_in_the_legend(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    study = Folder(tmp_path, LM.replace("no_gates & 50%", "_mine"))
    study.language_model("_mine", 1, training(50, 30), test=100)
    (axes,) = pictures.curves(study.table()).axes
    assert [text.get_text().strip() for text in axes.get_legend().get_texts()] == ["_mine"]


@pytest.mark.parametrize("diverged", [["no_gates & 50%"], ["gru", "no_gates & 50%"]])
def test_models_that_diverged_leave_the_others_readable(lm, diverged) -> None:
    pytest.importorskip("matplotlib")
    for model in diverged:  # with both, most of the table
        for seed in (1, 2):
            shutil.rmtree(lm.run(model, seed).folder, ignore_errors=True)
            test = 10.0 ** (7 * seed)
            lm.language_model(model, seed, training(1e5, 1e8, 10.0**16), test=test)
    (axes,) = pictures.bars(lm.table()).axes
    assert [bar.get_width() for bar in axes.patches] == [102, 99][: 3 - len(diverged)]
    shown = [text.get_text().strip() for text in axes.texts]
    assert shown.count("off the scale") == len(diverged)
    assert axes.get_xlim()[1] < 200
    figure = pictures.curves(lm.table())
    (axes,) = figure.axes
    assert axes.get_ylim()[1] < 100
    figure.draw_without_rendering()
    assert [text.get_text() for text in axes.get_yticklabels() if text.get_text()]
    assert "no_gates & 50%\n(off the scale)" in [line.get_label() for line in axes.lines]


def test_long_names_are_wrapped(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    name = "a bidirectional encoder no-srnn-hidden with a decoder of the cell lstm"
    study = Folder(tmp_path, LM.replace("no_gates & 50%", name))
    study.language_model(name, 1, training(50, 30), test=100)
    for draw in (pictures.curves, pictures.bars):
        (axes,) = draw(study.table()).axes
        texts = axes.get_legend().get_texts()[:1] if draw is pictures.curves else []
        shown = [text.get_text() for text in (*texts, *axes.get_yticklabels())]
        wrapped = [text for text in shown if "bidirectional" in text]
        assert wrapped and max(map(len, wrapped[0].split("\n"))) <= 36
