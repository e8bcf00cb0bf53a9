"""`scripts/score.sh`, and the parts of the package that it calls."""

import argparse
import json
import shutil

import pytest
import torch
from commands import USER_DIR, run
from shell import SCRIPTS, fails, lines, refuses, succeeds
from translation_corpus import FORMS, TINY

from fairseq_wsum import checkpoint_files
from fairseq_wsum.experiments import checkpoints, distil, fairseq_programs, translating
from fairseq_wsum.experiments.program import UserError

pytest.importorskip("fairseq")
pytest.importorskip("sacremoses")
from fairseq_wsum.experiments import score, translation_scores


def test_missing_hypotheses_are_rejected(tmp_path):
    printed = tmp_path / "printed"
    printed.write_text(
        "H-2\t-0.1\tc\nD-2\t-0.1\tx\nH-0\t-0.2\ta\nH-0\t-0.3\tsecond best\nH-1\t-1\tb\n"
    )
    assert translating.read_generated(printed, "H", 3) == ["a", "b", "c"]
    for expected in (2, 5):
        with pytest.raises(UserError, match=f"of 3 of {expected} sentences"):
            translating.read_generated(printed, "H", expected)


@pytest.mark.parametrize("form", FORMS)
def test_the_reference_itself_scores_100_both_ways(form, tmp_path):
    text = {
        "raw": ["Ein Mann sieht einen Hund.", "Der Hund, der bellt, ist nicht da."],
        "lc.norm.tok": ["ein mann sieht einen hund .", "der hund , der bellt , ist nicht da ."],
    }
    for name, written in text.items():
        (tmp_path / f"test.{name}.de").write_text("".join(f"{line}\n" for line in written))
    record = {"text": form, "units": "bpe", "target_lang": "de"}
    detok = translation_scores.detokenised(text[form], record)
    figures = translation_scores.both_ways(text[form], detok, record, tmp_path, "test")
    assert [figure["score"] for figure in figures[:4]] == pytest.approx([100.0] * 4)
    bleu = [figure["signature"] for figure in figures if figure["metric"] == "BLEU"]
    primary, second = ("tok:none", "tok:13a") if form == "lc.norm.tok" else ("tok:13a", "tok:none")
    assert primary in bleu[0] and second in bleu[1]
    assert ("case:lc" in bleu[1]) == (form == "lc.norm.tok")
    if form == "lc.norm.tok":  # which has no capitals
        assert "case:mixed" in bleu[2] and "tok:13a" in bleu[2]
        assert figures[4]["score"] < 90


@pytest.mark.parametrize(
    "tokens", ["c' est l' été & l' eau .", "c&apos; est l&apos; été &amp; l&apos; eau ."]
)
def test_translations_have_escapes_as_the_reference_has(tokens, tmp_path):
    for name, text in (("raw", "C'est l'été & l'eau."), ("lc.norm.tok", tokens)):
        (tmp_path / f"test.{name}.fr").write_text(f"{text}\n")
    record = {"text": "raw", "units": "bpe", "target_lang": "fr"}
    figures = translation_scores.both_ways(
        ["C'est l'été & l'eau."], ["C'est l'été & l'eau."], record, tmp_path, "test"
    )
    assert [figure["score"] for figure in figures] == pytest.approx([100.0] * 4)


def test_translations_without_a_reference_are_not_scored(tmp_path):
    record = {"text": "lc.norm.tok", "target_lang": "de"}
    assert translation_scores.both_ways(["a"], ["a"], record, tmp_path, "test") == []


def test_a_wrong_number_of_references_is_rejected(tmp_path):
    (tmp_path / "test.raw.de").write_text("Ein Mann.\n")
    with pytest.raises(UserError, match=r"test\.raw\.de has 1 lines for 2 translations"):
        record = {"text": "raw", "target_lang": "de"}
        translation_scores.both_ways(["a", "b"], ["a", "b"], record, tmp_path, "test")


def test_averaging_gives_the_mean_of_the_weights_of_the_last_epochs(tmp_path):
    for epoch, value in ((1, 100.0), (9, 1.0), (10, 4.0)):
        half = torch.tensor([{1: 256.0}.get(epoch, 1.0)]).bfloat16()
        weights = {"w": torch.full((2, 3), value), "steps": torch.tensor(epoch), "half": half}
        state = {"model": weights, "last_optimizer_state": {"m": 1}, "cfg": {"a": epoch}}
        torch.save(state, tmp_path / f"checkpoint{epoch}.pt")
    torch.save({}, tmp_path / "checkpoint_best.pt")
    paths = checkpoints.last_checkpoints(tmp_path, 2)
    assert [path.name for path in paths] == ["checkpoint9.pt", "checkpoint10.pt"]
    state = checkpoints.average(paths)
    assert torch.equal(state["model"]["w"], torch.full((2, 3), 2.5))
    assert state["last_optimizer_state"] is None
    assert state["model"]["steps"] == 10 and state["cfg"] == {"a": 10}
    every = checkpoints.average(checkpoints.last_checkpoints(tmp_path, 3))
    assert every["model"]["half"] == 86  # in bf16, 256 + 1 + 1 is 256
    with pytest.raises(UserError, match=r"--average 4.*has 3 checkpoints of epochs and 0"):
        checkpoints.last_checkpoints(tmp_path, 4)
    for name in ("checkpoint_1_500", "checkpoint_1_1000", "checkpoint_2_1500", "checkpoint_2_20"):
        (tmp_path / f"{name}.pt").touch()  # --save-interval-updates
    paths = checkpoints.last_checkpoints(tmp_path, 4)
    assert [path.name for path in paths] == [
        *("checkpoint_2_20.pt", "checkpoint_1_500.pt"),
        *("checkpoint_1_1000.pt", "checkpoint_2_1500.pt"),
    ]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "--checkpoints"),
        (["--checkpoints", "/none"], "/none"),
        (["--checkpoints", "/run 12:30"], "--checkpoints /run 12: no such file or folder (a ':'"),
        (["--checkpoints", "{data}", "--lenpen", "0.6,1"], "--subset valid"),
        (["--checkpoints", "{data}", "--lenpen", "1.2.3"], "--lenpen: invalid penalties value: '"),
        (["--checkpoints", "{data}"], "checkpoint_best.pt"),
        (["--checkpoints", "{data}", "--replace-unk", "--average", "1"], "--replace-unk"),
        (["--checkpoints", "{data}", "--average", "1", "--out", "12:30"], "--out: 12:30: fairseq"),
        (["--checkpoints", "{data}:none.pt", "--out", "x"], "none.pt: no such file"),
        (["--checkpoints", "{data}/dict.de.txt:{data}/dict.en.txt"], "an ensemble needs files"),
        (["--checkpoints", "{data}/dict.de.txt:"], "an ensemble needs files"),
        (["--checkpoints", "{data}/text:{data}", "--out", "x"], "an ensemble needs files"),
        (["--checkpoints", "{data}", "--average", "1", "--out", "{data}"], "has other files in it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_scoring_names_a_wrong_option(prepared, options, named, capsys):
    options = [option.format(data=prepared) for option in options]
    assert named.format(data=prepared) in refuses(score.main, capsys, prepared, *options)


def test_the_ensemble_translates_with_the_beam_and_every_penalty(prepared, tmp_path, monkeypatch):
    """With a stand-in for fairseq-generate."""
    calls = []

    def generate(program, user_dir, words):
        calls.append(words)
        assert not [*tmp_path.glob(".score.*")]  # --out may be a file system of its own
        for k in range(9):
            print(f"H-{k}\t-1\tein mann .")

    monkeypatch.setattr(fairseq_programs, "call", generate)
    (tmp_path / "out/.score.killed").mkdir(parents=True)
    for name in ("one.pt", "out/average.pt", "out/scores.json"):
        (tmp_path / name).touch()
    both = f"{tmp_path}/one.pt:{tmp_path}/out/average.pt"
    command = [str(prepared), "--checkpoints", both, "--out", str(tmp_path / "out")]
    command += ["--beam", "3", "--subset", "valid", "--lenpen=-0.5,1", "--batch-size", "7"]
    score.main([*command, "--max-len-b", "9"])
    wanted = {"--path": both, "--beam": "3", "--gen-subset": "valid", "--batch-size": "7"}
    wanted |= {"--max-len-b": "9", "--post-process": "sentencepiece"}
    wanted |= {"--distributed-world-size": "1"}
    for (data, *options), penalty in zip(calls, ("-0.5", "1"), strict=True):
        assert data == str(prepared) and f"--lenpen={penalty}" in options
        assert {name: options[options.index(name) + 1] for name in wanted} == wanted
    record = json.loads((tmp_path / "out/scores.json").read_text())
    assert record["beam"] == 3 and record["checkpoint"] == both
    assert (tmp_path / "out/average.pt").exists()  # of an earlier start, but a model of this one


def test_data_that_cannot_be_scored_is_named_before_the_translation(prepared, tmp_path, capsys):
    scoring = [score.main, capsys, tmp_path, "--checkpoints", tmp_path / "model.pt"]
    (tmp_path / "model.pt").touch()
    record = json.loads((prepared / "prepared.json").read_text())

    def of(**changes):
        (tmp_path / "prepared.json").write_text(json.dumps({**record, **changes}))

    of(corpus="ptb")
    cure = "has the corpus ptb: give a folder of prepare.sh multi30k, or of prepare.sh tr"
    assert cure in refuses(*scoring)
    assert cure in refuses(distil.main, *scoring[1:], "--out", tmp_path / "out")
    of()
    assert "reference has no test split in de: prepare the data again" in refuses(*scoring)
    shutil.copytree(prepared / "reference", tmp_path / "reference")
    (tmp_path / "link").symlink_to("nowhere")
    assert f"{tmp_path}/link" in refuses(*scoring, "--out", tmp_path / "link")


@pytest.mark.parametrize("code", ["zh", "zh_CN", "zh-Hans"])
def test_sacrebleu_tokenises_by_the_language(code, tmp_path):
    write = (tmp_path / f"test.raw.{code}").write_text
    write("他们在公园里看一只大狗。\n", "utf-8")
    prepared = {"text": "raw", "units": "bpe", "target_lang": code}
    system = ["他们在公园里看一只小狗。"]
    figure = translation_scores.both_ways(system, system, prepared, tmp_path, "test")[0]
    assert "|tok:zh|" in figure["signature"] and figure["score"] > 50


def test_prepare_train_resume_in_two_processes_average_and_score(prepared, tmp_path):
    run_folder = tmp_path / "my run"
    train = ["train.sh", prepared, "--save-dir", run_folder, *TINY.split()]
    succeeds(*train, "--max-epoch", 1, "--gpus", 0)
    log = succeeds(*train, "--max-epoch", 2, "--cpu-processes", 2)
    assert "continuing from" in log and log.count("done training") == 1
    # Epoch 2 is one update of both processes together, 30 sentences each.
    assert "num_updates 3" in log and "num_updates 4" not in log

    saved = checkpoint_files.read(run_folder / "checkpoint1.pt")
    options = checkpoint_files.task_options(saved)
    assert checkpoint_files.languages(options) == ("en", "de")  # fairseq has found them in the data
    out = tmp_path / "scores"
    score = ["score.sh", prepared, "--checkpoints", run_folder, "--average", 2, "--out", out]
    succeeds(*score, "--subset", "valid", "--lenpen", "0.5,1", "--max-len-b", "10")
    record = json.loads((out / "scores.json").read_text())
    assert record["sentences"] == 9 and record["generate_options"] == "--max-len-b 10"
    assert record["averaged"] == ["checkpoint1.pt", "checkpoint2.pt"]
    assert all(figure["signature"] for figure in record["figures"])
    for penalty in ("0.5", "1"):
        assert len(lines(out / f"hypotheses.lenpen{penalty}.de")) == 9

    both = f"{run_folder}/checkpoint1.pt:{run_folder}/checkpoint2.pt"
    options = ["--out", tmp_path / "both", "--subset", "valid", "--max-len-b", "10"]
    succeeds(*score[:2], "--checkpoints", both, *options)
    ensemble = json.loads((tmp_path / "both" / "scores.json").read_text())
    assert ensemble["checkpoint"] == both and ensemble["sentences"] == 9

    options = ["--out", tmp_path / "bf16", "--precision", "bf16", "--max-len-b", 10, "--cpu"]
    succeeds(*score[:2], "--checkpoints", run_folder / "checkpoint1.pt", *options)
    half = json.loads((tmp_path / "bf16" / "scores.json").read_text())
    assert half["generate_options"] == "--max-len-b 10 --cpu --bf16" and half["sentences"] == 7

    # a failed run leaves the scores unchanged
    assert "of 7 sentences: leave" in fails(*score, "--quiet", "--remove-bpe", "-t", "en")
    assert "has 2 checkpoints of epochs" in fails(*score, "--average", 3)
    assert json.loads((out / "scores.json").read_text()) == record
    # new scores replace those before, and nothing else
    (out / "notes.txt").write_text("mine")
    succeeds(*score, "--subset", "valid", "--lenpen", "1", "--max-len-b", "10")
    tried = json.loads((out / "scores.json").read_text())["tried"]
    assert [each["lenpen"] for each in tried] == [1]
    assert not list(out.glob("*lenpen0.5*")) and (out / "notes.txt").read_text() == "mine"


def test_the_best_penalty_wins_and_unknown_words_are_replaced(prepared, tmp_path, monkeypatch):
    """With a stand-in for fairseq-generate."""
    data, out = tmp_path / "words", tmp_path / "out"
    shutil.copytree(prepared, data)
    record = json.loads((data / "prepared.json").read_text())
    (data / "prepared.json").write_text(json.dumps({**record, "units": "words"}))
    reference = lines(data / "reference" / "valid.lc.norm.tok.de")
    source = [line.split() for line in lines(data / "text" / "valid.en")]

    def generate(program, user_dir, words):
        assert words[words.index("--print-alignment") + 1] == "hard"
        best = "--lenpen=0.5" in words
        for i, sentence in reversed([*enumerate(reference)]):
            print(f"H-{i}\t-0.1\t{sentence if best else '<unk> b <unk>'}")
            print(f"A-{i}\t1-0 0-1 0-2")

    monkeypatch.setattr(fairseq_programs, "call", generate)
    (tmp_path / "c.pt").touch()
    command = [str(data), "--checkpoints", str(tmp_path / "c.pt"), "--out", str(out)]
    score.main([*command, "--subset", "valid", "--lenpen", "1,0.5", "--replace-unk"])
    record = json.loads((out / "scores.json").read_text())
    assert record["lenpen"] == 0.5 and record["figures"][0]["score"] == pytest.approx(100)
    assert [tried["lenpen"] for tried in record["tried"]] == [1.0, 0.5]
    replaced = [f"{words[1]} b {words[0]}" for words in source]
    assert lines(out / "hypotheses.lenpen1.de") == replaced


# The options of fairseq-generate, and the direction


def checkpoint_of(path, source, target):
    task = {"_name": "translation", "source_lang": source, "target_lang": target}
    torch.save({"model": {}, "cfg": {"task": task}}, path)
    return path


def test_the_direction_is_that_of_the_model(tmp_path):
    args = argparse.Namespace(source_lang="de", target_lang="en")
    torch.save({"args": args, "model": {}}, tmp_path / "old.pt")  # of a model without a dataclass
    checkpoint_of(tmp_path / "back.pt", "de", "en")
    checkpoint_of(tmp_path / "none.pt", None, None)
    data = {"source_lang": "en", "target_lang": "de"}
    for name in ("old.pt", "back.pt"):
        assert translating.direction(str(tmp_path / name), data) == ("de", "en")
    for name in ("none.pt", "damaged.pt"):
        assert translating.direction(str(tmp_path / name), data) == ("en", "de")


def test_the_longest_sentences_are_those_of_the_training(tmp_path):
    for name, source in (("a.pt", 5000), ("b.pt", 3000)):
        task = {"max_source_positions": source, "max_target_positions": 2000}
        torch.save({"model": {}, "cfg": {"task": task}}, tmp_path / name)
    found = translating.limits(f"{tmp_path}/a.pt:{tmp_path}/b.pt")
    assert found == ["--max-source-positions", "3000", "--max-target-positions", "2000"]
    assert translating.limits(str(tmp_path / "none.pt")) == []


def test_a_model_of_the_other_direction_is_scored_in_its_own(prepared, tmp_path):
    """fairseq trains both directions from one folder, whose joined dictionary fits both."""
    languages = ["--source-lang", "de", "--target-lang", "en"]
    train = ["train.sh", prepared, "--gpus", 0, *TINY.split(), "--save-dir", tmp_path]
    succeeds(*train, "--max-epoch", 2, *languages)
    back = ["--max-epoch", 3, "--source-lang", "en", "--target-lang", "de"]
    message = run(SCRIPTS / train[0], *train[1:], *back, check=False)
    assert "give the options of that model: --source-lang de, --target-lang en" in message
    for options in ([], ["--average", 2]):
        score = ["score.sh", prepared, "--cpu", "--checkpoints", tmp_path, *options]
        assert "translating test from de to en with" in succeeds(*score, "--max-len-b", 9)
        record = json.loads((tmp_path / "score-test/scores.json").read_text())
        assert record["data"]["target_lang"] == "en"
        assert record["figures"][0]["reference"] == "test.lc.norm.tok.en"
    model = tmp_path / "checkpoint_best.pt"
    succeeds("distil.sh", prepared, "--cpu", "--checkpoints", model, "--out", tmp_path / "out")
    same = {
        lang: (tmp_path / f"out/text/train.{lang}").read_bytes()
        == (prepared / f"text/train.{lang}").read_bytes()
        for lang in ("en", "de")
    }
    assert same == {"de": True, "en": False}
    assert (tmp_path / "out/train.de-en.de.bin").is_file()

    other = checkpoint_of(tmp_path / "other.pt", "en", "de")
    both = ["--checkpoints", f"{model}:{other}", "--out", tmp_path / "both"]
    assert "models translate in two directions" in fails("score.sh", prepared, "--cpu", *both)

    # fairseq's own commands take the direction from the folder
    command = ["fairseq-generate", prepared, "--user-dir", USER_DIR, "--cpu", "--path", model]
    message = f"{model} translates from de to en: give --source-lang de --target-lang en"
    assert message in run(*command, check=False)
    run(*command, *languages, "--max-len-b", 9, "--required-batch-size-multiple", 1)
