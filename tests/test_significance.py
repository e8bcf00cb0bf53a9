"""Differences between the models of a study, with their tests and intervals."""

import json
import math
import subprocess
import sys

import pytest
from study_runs import LM, TRANSLATION, Folder, language_models, translations

pytest.importorskip("fairseq")
from sacrebleu.metrics import BLEU, CHRF

from fairseq_wsum.experiments.studies.report import text_rows
from fairseq_wsum.experiments.studies.results import read_results
from fairseq_wsum.experiments.studies.significance import _metric, bootstrap, holm, t_test


@pytest.fixture
def captions(tmp_path) -> Folder:
    return translations(tmp_path)


def test_the_difference_over_three_seeds_has_an_interval(tmp_path) -> None:
    study = Folder(tmp_path, LM.replace("[1, 2]", "[1, 2, 3]"))
    for seed, away in ((1, 1), (2, 2), (3, 3)):
        study.language_model("lstm", seed, test=100)
        study.language_model("gru", seed, test=100 + away)
    gru = study.compare("perplexity")["gru"]
    # mean 2, standard error 1 / sqrt(3); t with 2 degrees of freedom: 4.303
    assert gru["difference_low"] == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-4)
    assert gru["difference_high"] == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-4)


def test_models_of_different_tasks_are_not_tested(tmp_path) -> None:
    """One task of fairseq's may show a model more of the text before a word."""
    lm = language_models(tmp_path)
    lm.end("gru", 1)
    for seed in (1, 2):
        for model, score, prefix in (("gru", 90 + seed, ""), ("lstm", 100, "wsum_")):
            path = lm.run(model, seed).folder / "perplexity.json"
            path.write_text(json.dumps({"test": score, "task": f"{prefix}language_modeling"}))
    gru = lm.compare("perplexity")["gru"]
    assert gru["difference"] == -8.5 and "p" not in gru


@pytest.mark.parametrize(
    "metric",
    [
        BLEU(lowercase=True, force=True),
        BLEU(tokenize="char", force=True),
        BLEU(trg_lang="zh", force=True),
        CHRF(word_order=2, lowercase=True, whitespace=True),
    ],
)
def test_the_metric_of_the_bootstrap_is_that_of_the_scores(metric) -> None:
    metric.corpus_score(["a"], [["a"]])
    signature = str(metric.get_signature())
    rebuilt = _metric(signature)
    rebuilt.corpus_score(["a"], [["a"]])
    assert str(rebuilt.get_signature()) == signature


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
    assert "0.040" in text_rows(study.table())[2]
