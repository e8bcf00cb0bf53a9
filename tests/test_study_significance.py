"""The tests of significance of a report."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from shutil import rmtree

import pytest
from study_runs import LM, TRANSLATION, Folder, language_models, metrics, translations, write

from fairseq_wsum.study import significance
from fairseq_wsum.study.results import read_results
from fairseq_wsum.study.significance import Comparison, PValue, bootstrap, compare, holm, t_test


@pytest.fixture
def lm(tmp_path) -> Folder:
    return language_models(tmp_path)


@pytest.fixture
def captions(tmp_path) -> Folder:
    return translations(tmp_path)


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
    assert replace(found, p=PValue(0.02, 0.024)).different
    assert not replace(found, p=PValue(0.02, 0.026)).different


def test_translations_may_be_in_any_language(captions) -> None:
    for path in captions.out.rglob("hypotheses.*.de"):
        path.rename(path.with_suffix(".fr"))
    assert all(row.comparison.p for row in captions.table().rows[1:])


def test_one_seed_says_nothing_about_the_cells(captions) -> None:
    assert "With one seed" not in captions.report()
    captions.file.write_text(TRANSLATION.replace("[1, 2]", "[1]"))
    assert "With one seed, a difference holds for the two trained models" in captions.report()


def test_a_report_names_the_models_with_one_seed(captions) -> None:
    rmtree(captions.run("gru", 2).folder)
    assert "With one seed (gru), a difference" in captions.report()


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
    reason = "it or the baseline has no translations or no reference text with seed 2"
    assert f"Not tested: gru ({reason})." in report
    assert captions.csv("captions.csv")[1]["different"] == "False"


def test_a_score_may_be_rounded_to_one_decimal(captions) -> None:
    path = captions.run("gru", 2).folder / "score-test/scores.json"
    scores = json.loads(path.read_text())
    exact = scores["figures"][0]["score"]
    scores["figures"][0]["score"] = round(exact, 1)
    path.write_text(json.dumps(scores))
    captions.report()
    scores["figures"][0]["score"] = round(exact, 1) + 0.1
    path.write_text(json.dumps(scores))
    with pytest.raises(ValueError, match=r"but scores\.json beside it says"):
        captions.report()


def test_translations_must_have_the_recorded_score(captions) -> None:
    path = captions.run("gru", 2).folder / "score-test/hypotheses.lenpen1.0.de"
    lines = path.read_text().splitlines()
    write(path, ["etwas anderes", *lines[1:]])
    with pytest.raises(ValueError, match=r"hypotheses\.lenpen1\.0\.de has .* BLEU, but"):
        captions.report()
    write(path, lines[1:])
    with pytest.raises(ValueError, match="has 59 lines for 60"):
        captions.report()


@pytest.mark.parametrize("signature", ["", "nrefs:1|case:lc|eff:no", "case:lc|tok:mine"])
def test_a_signature_without_case_or_tokenizer_is_named(captions, signature) -> None:
    for run in captions.plan.runs:
        path = run.folder / "score-test/scores.json"
        record = json.loads(path.read_text())
        for figure in record["figures"]:
            figure["signature"] = signature
        path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"lstm/seed-1/score-test/scores\.json: the signature"):
        captions.report()


def test_the_smoothing_of_the_signature_is_used(captions) -> None:
    resign(captions, metrics.BLEU(tokenize="none", smooth_method="floor", smooth_value=0.2))
    captions.report()  # which checks each score


@pytest.mark.parametrize(
    ("signed", "tokenizer"),
    [
        ("13a", "13a"),
        ("ja-mecab-0.996-IPA", "ja-mecab"),
        ("ko-mecab-0.996/ko-0.9.2-KO", "ko-mecab"),
        ("flores200", "flores200"),
        ("mine", "mine"),
    ],
)
def test_a_tokenizer_is_known_by_what_signatures_call_it(signed, tokenizer) -> None:
    assert significance._tokenizer(signed, metrics.BLEU.TOKENIZERS) == tokenizer


def test_several_references_are_named(captions) -> None:
    for path in captions.out.glob("*/*/*/score-test/scores.json"):
        path.write_text(path.read_text().replace("nrefs:1", "nrefs:2"))
    with pytest.raises(ValueError, match="is that of several references"):
        captions.report()


def resign(study, metric) -> None:
    """Score the translations of a study with another form of BLEU."""
    for run in study.plan.runs:
        folder = run.folder / "score-test"
        record = json.loads((folder / "scores.json").read_text())
        figure = record["figures"][0]
        lines = (folder / "hypotheses.lenpen1.0.de").read_text().splitlines()
        reference = (run.out / "data/reference" / figure["reference"]).read_text().splitlines()
        figure["score"] = metric.corpus_score(lines, [reference]).score
        figure["signature"] = str(metric.get_signature())
        (folder / "scores.json").write_text(json.dumps(record))


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
    p = t_test([math.log(one) - other for one, other in zip(ours, (5.0, 4.0), strict=True)])
    assert p == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert t_test([1.0]) is None
    assert t_test([0.0, 0.0]) is None
    assert t_test([math.inf, 0.1]) is None
    assert t_test([0.1] * 3) is None  # say, of a recipe that ignores --seed


def test_perplexities_are_compared_over_the_common_seeds(lm) -> None:
    lm.language_model("gru", 1, test=90)
    found = compare(lm.plan.tasks[0], read_results(lm.plan))["gru"]
    assert found.differences == {1: -10, 2: -5}
    assert found.difference == -7.5
    assert found.p.raw == found.p.corrected
    assert found.p.raw == pytest.approx(t_test([math.log(90 / 100), math.log(99 / 104)]))
    assert "must be 12.7 times its standard error with 2 seeds, so models" in lm.report()


def test_the_report_says_which_models_have_few_seeds(tmp_path) -> None:
    study = Folder(tmp_path, LM.replace("[1, 2]", "[1, 2, 3, 4, 5, 6]"))
    for seed in range(1, 7):
        study.language_model("lstm", seed, test=100 + seed)
        study.language_model("gru", seed, test=99 + 2 * seed)
    for seed in (1, 2):
        study.language_model("no_gates & 50%", seed, test=200 + 3 * seed)
    models = r"no\_gates \& 50%"
    assert f"must be 12.7 times its standard error with 2 seeds ({models}), so" in study.report()


def test_t_tests_of_two_models_by_hand(tmp_path) -> None:
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
    found = compare(study.plan.tasks[0], read_results(study.plan))
    raw = {"gru": 1 - 7 / math.sqrt(51), "no-srnn": 1 - 1 / math.sqrt(3)}  # 0.0198 and 0.4226
    for name, times in (("gru", 2), ("no-srnn", 1)):
        assert found[name].p.raw == pytest.approx(raw[name])
        assert found[name].p.corrected == pytest.approx(times * raw[name])
        assert found[name].log_difference == pytest.approx(means[name])
    assert found["gru"].different and not found["no-srnn"].different
    report = study.report()
    assert "if the corrected p-value is below 0.05 and the mean differences" in report
    assert "Better than lstm: gru." in report and "Worse than" not in report
    assert "No model counts as different" not in report


def test_an_outlier_does_not_turn_the_result_round() -> None:
    """Six seeds are better by a fifth, and in the seventh both models nearly diverge."""
    differences = dict.fromkeys(range(6), -6.0) | {6: 70.0}
    p = PValue(0.008, 0.008)
    assert Comparison({0: -6.0, 1: -6.0}, p, log_difference=-0.2).different
    assert not Comparison(differences, p, log_difference=-0.18).different


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
