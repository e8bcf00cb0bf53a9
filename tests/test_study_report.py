"""The page of a report, and what is wrong with the files of its runs."""
# ruff: noqa: RUF001  (the dash of an empty cell)

import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from commands import ROOT
from shell import own_variables
from study_runs import LM, Folder, language_models, training, translations

from fairseq_wsum import cli
from fairseq_wsum.study import describe, report, results, tables
from fairseq_wsum.study.significance import Comparison, PValue


@pytest.fixture
def lm(tmp_path) -> Folder:
    return language_models(tmp_path)


@pytest.fixture
def captions(tmp_path) -> Folder:
    return translations(tmp_path)


def test_the_report_has_all_parts(lm) -> None:
    page = lm.report()
    parts = [
        "# Study study\n",
        "3 of 6 runs are finished, 1 failed.",
        "Recipe `ptb.sh` with `--max-epoch=3`.",
        "- **no\\_gates \\& 50%**: `--cell=no-gates` `--lr=0.1`\n",
        tables.markdown(lm.table()),
        "Published test figures: Levy et al. (2018).",
        "Not tested: gru (a t-test needs two seeds).",
        "Hardware: EPYC, torch 2.13.0 (3 runs). Code: fairseq_wsum 0.1.0 (3 runs). "
        "Started 2026-08-07; 3 min in all",
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
    assert {path.name for path in lm.folder.iterdir()} == names | {".files", ".study-file"}


def test_the_report_on_translations_has_signature_and_decoding(captions) -> None:
    page = captions.report()
    scores = captions.run("lstm", 1).folder / "score-test/scores.json"
    signature = json.loads(scores.read_text())["figures"][0]["signature"]
    assert f"Scores: BLEU on lower-cased tokens, `{signature}`." in page
    assert "Test set decoded with beam 5, length penalty 1." in page
    assert "Worse than lstm: gru." in page and "Better than" not in page
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


def test_a_finished_run_without_scores_has_a_dash(tmp_path) -> None:
    study = Folder(tmp_path, LM)
    study.end("lstm", 1)
    assert tables.text_rows(study.table())[1][:5] == ["lstm", "–", "1 of 2", "–", "–"]
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


def test_a_report_never_replaces_foreign_files(lm) -> None:
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


def test_a_report_of_a_study_whose_file_is_gone_is_kept(lm) -> None:
    page = lm.report()
    other = lm.file.rename(lm.file.with_name("other.yaml"))
    other.write_text(LM.replace("  ptb:", "  wikitext:"))
    command = ["report", str(other), "--out", str(lm.out)]
    with pytest.raises(SystemExit, match=r"study\.yaml, which is not there now; .* remove .*-file"):
        cli.main(command)
    assert (lm.folder / "report.md").read_text() == page
    (lm.folder / ".study-file").unlink()
    cli.main(command)
    assert "wikitext" in (lm.folder / "report.md").read_text()


def test_a_report_never_replaces_that_of_another_study(lm) -> None:
    page = lm.report()
    other = lm.file.with_name("other.yaml")
    other.write_text(LM.replace("  ptb:", "  wikitext:"))
    command = ["report", str(other), "--out", str(lm.out)]
    with pytest.raises(SystemExit, match=r"report belongs to .*study\.yaml; .* rename or remove"):
        cli.main(command)
    assert (lm.folder / "report.md").read_text() == page
    kept = lm.folder.rename(lm.out / "kept")
    cli.main(command)
    assert "wikitext" in (lm.folder / "report.md").read_text()
    assert (kept / "report.md").read_text() == page


def test_equal_reports_of_one_day_have_equal_files(lm, monkeypatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(report, "date", SimpleNamespace(today=lambda: "2026-08-09"))
    assert "\n2026-08-09. 3 of 6 runs are finished" in lm.report()
    before = {path.name: path.read_bytes() for path in lm.folder.iterdir()}
    lm.report()
    assert before == {path.name: path.read_bytes() for path in lm.folder.iterdir()}


# Damage


@pytest.mark.parametrize("text", ["{", "[1]", '{"test": "many"}', '{"test": 0.5}', '{"test": []}'])
def test_a_damaged_perplexity_file_is_named_with_the_cure(lm, text) -> None:
    path = lm.run("gru", 2).folder / "perplexity.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"gru/seed-2/perplexity\.json is damaged .*; remove it"):
        lm.report()


BLEU = {"metric": "BLEU", "signature": "case:lc|tok:none", "text": "", "reference": "r"}
NO_NUMBER = {"figures": [{**BLEU, "score": math.nan}], "lenpen": 1}
NO_TEXT = {"figures": [{**BLEU, "score": 30, "reference": None}], "lenpen": 1}


@pytest.mark.parametrize(
    "text",
    ["", '{"figures": [], "lenpen": 1}', '{"figures": 1}', *map(json.dumps, (NO_NUMBER, NO_TEXT))],
)
def test_a_damaged_score_file_is_named_with_the_cure(captions, text) -> None:
    path = captions.run("gru", 2).folder / "score-test/scores.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"gru/seed-2/score-test/scores\.json is damaged") as error:
        captions.report()
    assert f"remove {path.parent}: " in str(error.value)  # score.sh refuses to complete it


def test_translations_that_end_within_a_letter_are_named_with_the_cure(captions) -> None:
    path = captions.run("gru", 2).folder / "score-test/hypotheses.lenpen1.0.de"
    path.write_bytes(path.read_bytes()[:-1] + "ä".encode()[:1])
    with pytest.raises(ValueError, match=r"lenpen1\.0\.de is damaged .*; remove .*/score-test and"):
        captions.report()


def test_the_first_of_several_figures_with_one_metric_is_the_main_one(captions) -> None:
    path = captions.run("lstm", 1).folder / "score-test/scores.json"
    scores = json.loads(path.read_text())
    (main, *_), main_score = scores["figures"], scores["figures"][0]["score"]
    scores["figures"].append(main | {"score": 1.5, "signature": "case:mixed|tok:intl"})
    path.write_text(json.dumps(scores))
    captions.report()
    assert float(captions.csv("runs.csv")[0]["test_BLEU"]) == main_score


@pytest.mark.parametrize("key", ["lenpen", "signature"])
def test_a_missing_key_of_the_scores_is_named_with_those_that_a_recipe_writes(
    captions, key
) -> None:
    path = captions.run("gru", 2).folder / "score-test/scores.json"
    path.write_text(path.read_text().replace(f'"{key}"', '"other"'))
    message = f"scores.json has no key '{key}'; a recipe must write figures and lenpen"
    with pytest.raises(ValueError, match=message) as error:
        captions.report()
    assert "remove" not in str(error.value)  # it would come back


def test_the_scores_in_the_documents_can_be_read_also_without_the_beam(captions) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/studies.md").read_text(), re.S)
    scores = json.loads(example)
    assert scores.pop("beam") == 5
    for run in captions.plan.runs:
        path = run.folder / "score-test/scores.json"
        scores["figures"][0]["score"] = json.loads(path.read_text())["figures"][0]["score"]
        path.write_text(json.dumps(scores))
    assert "Test set decoded with length penalty 1." in captions.report()


def test_a_study_of_another_score_is_refused(captions) -> None:
    path = captions.run("gru", 2).folder / "score-test/scores.json"
    record = json.loads(path.read_text())
    record["figures"] = record["figures"][1:]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"the first of the figures is chrF2, .* put BLEU first"):
        captions.report()


def test_scores_of_different_kinds_are_not_compared(captions) -> None:
    path = captions.run("gru", 2).folder / "score-test/scores.json"
    path.write_text(path.read_text().replace("tok:none", "tok:13a"))
    with pytest.raises(ValueError, match=r"(?s)gru/seed-2 and .* cannot be compared.*tok:13a") as e:
        captions.report()
    assert "remove the scores (score-valid" in str(e.value)  # not the training


def test_a_run_with_other_options_is_not_reported(lm) -> None:
    lm.file.write_text(LM.replace("max-epoch: 3", "max-epoch: 4"))
    with pytest.raises(ValueError, match="was made with other options"):
        lm.report()


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_an_unfinished_run_with_other_options_is_named_as_such(lm, state) -> None:
    run = lm.end("gru", 1, state, training(50, 40))
    record = json.loads((run.folder / "study.json").read_text())
    record["command"] = [part.replace("max-epoch=3", "max-epoch=9") for part in run.command()]
    (run.folder / "study.json").write_text(json.dumps(record))
    page = lm.report()
    (line,) = [line for line in page.splitlines() if "/gru/seed-1`" in line]
    assert line.strip(":").endswith("(with other options than the file has now)")
    states = {row["seed"]: row["state"] for row in lm.csv("runs.csv") if row["model"] == "gru"}
    assert states == {"1": f"{state} with other options", "2": "finished"}


def test_a_model_that_failed_with_other_options_has_not_failed(lm) -> None:
    assert tables.text_rows(lm.table())[3][3] == "failed"
    lm.file.write_text(LM.replace("lr: 0.1", "lr: 0.2"))
    assert tables.text_rows(lm.table())[3][3] == "not run"


def test_speed_is_that_of_the_attempts_with_the_options_of_the_run(lm) -> None:
    command = shlex.join(lm.run("gru", 1).command())
    logs = [training(speeds=(speed,)) for speed in ("10", "1000", "3000")]
    other = command.replace("--max-epoch=3", "--max-epoch=9")
    printed = "$ echo 'a line\n$ python train.py --seed 1\n"  # by the recipe
    log = f"$ {other}\n{logs[0]}$ {command}\n{logs[1]}{printed}$ {command}\n{logs[2]}"
    lm.language_model("gru", 1, log, test=90)
    (found, _) = results.read_results(lm.plan).of(lm.plan.tasks[0], lm.plan.tasks[0].models[1])
    assert found.words_per_second == 2000


def test_perplexities_of_other_texts_are_not_compared(lm) -> None:
    one = {"test": 90, "test_tokens": 82430, "task": "wsum_language_modeling"}
    lm.language_model("gru", 1, **one)  # the others do not say how they were scored
    lm.report()
    path = lm.run("lstm", 1).folder / "perplexity.json"
    path.write_text(json.dumps({**one, "test_tokens": 245569}))
    with pytest.raises(ValueError, match=r"cannot be compared.*82430 tokens.*245569 tokens"):
        lm.report()


def test_models_may_be_scored_by_different_tasks_but_not_the_runs_of_one(lm) -> None:
    """fairseq's own LSTM, for example, cannot carry its state through the text."""
    one = {"test": 90, "test_tokens": 82430, "task": "wsum_language_modeling"}
    other = {**one, "task": "language_modeling"}
    lm.language_model("gru", 1, **other)
    for model, seed, scores in (("lstm", 1, one), ("lstm", 2, one), ("gru", 2, other)):
        (lm.run(model, seed).folder / "perplexity.json").write_text(json.dumps(scores))
    report = lm.report()
    assert (
        "tasks: with `wsum_language_modeling` lstm; with `language_modeling` gru. A task that"
    ) in report
    assert "Not tested: gru (scored by another of fairseq's tasks than the baseline)." in report
    first = lm.run("gru", 1).folder / "perplexity.json"
    first.write_text('{"test": 90}')  # of an earlier version
    assert "Not tested: gru (scored by another" in lm.report()
    first.write_text(json.dumps(other))
    path = lm.run("gru", 2).folder / "perplexity.json"
    path.write_text(json.dumps(one))
    with pytest.raises(ValueError, match=r"cannot be compared.*perplexity, wsum_language_modeling"):
        lm.report()
    for seed, scores in ((1, other), (2, one)):  # of words joined from subwords: without the text
        figures = {key: scores[key] for key in ("test", "task")}
        (lm.run("gru", seed).folder / "perplexity.json").write_text(json.dumps(figures))
    with pytest.raises(ValueError, match=r"cannot be compared.*wsum_language_modeling"):
        lm.report()


def test_a_task_has_one_kind_of_score(captions) -> None:
    run = captions.run("gru", 2)
    shutil.rmtree(run.folder / "score-test")
    for scores in ({"valid": 5.2}, {"test": 5.0, "test_tokens": 100, "task": "language_modeling"}):
        (run.folder / "perplexity.json").write_text(json.dumps(scores))
        with pytest.raises(ValueError, match=r"has BLEU and .*gru/seed-2 has perplexity"):
            captions.report()


def test_a_report_on_a_folder_that_is_not_there_is_an_error(lm, tmp_path) -> None:
    out = tmp_path / "typo"
    with pytest.raises(SystemExit, match=rf"no folder {out}: no run of this study was started"):
        cli.main(["report", str(lm.file), "--out", str(out)])
    assert not out.exists()


def test_a_terminal_without_arrows_still_gets_the_report(lm) -> None:
    command = [sys.executable, "-m", "fairseq_wsum.cli", "report", lm.file, "--out", lm.out]
    environment = {**own_variables(), "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert b"test perplexity ?" in done.stdout
    assert "test perplexity \N{DOWNWARDS ARROW}" in (lm.folder / "report.md").read_text("utf-8")


def test_scores_of_two_kinds_in_one_run_are_named(captions) -> None:
    run = captions.run("gru", 2)
    (run.folder / "perplexity.json").write_text('{"valid": 5.2}')
    with pytest.raises(ValueError, match="has perplexity of the validation set and BLEU of the"):
        captions.report()


@pytest.mark.parametrize(("metric", "way"), [("BLEU", "Better"), ("perplexity", "Worse")])
def test_the_direction_of_a_difference_is_named(lm, metric, way) -> None:
    table = replace(lm.table(), metric=metric)
    higher = Comparison({1: 2.0, 2: 2.5}, PValue(0.001, 0.002), {})
    said = describe.significance(table, {"gru": higher, "a, b": higher})
    assert f"{way} than lstm: gru; a, b." in said
