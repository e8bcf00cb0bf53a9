"""scripts/prepare_ptb.sh, on a tiny corpus of the same form."""

import dataclasses
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("fairseq")
from shell import SCRIPTS, fails, lines, names_in, succeeds, times_in
from text_corpora import UNK, decoded, made_up, replaced

BESIDE = ("</s>", UNK)  # words of the text that are symbols of fairseq
PTB = ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"]


@pytest.fixture(scope="module")
def ptb(tmp_path_factory):
    """Each line begins and ends with a blank, and <unk> is in the text, as in the published one."""
    folder = tmp_path_factory.mktemp("corpus") / "with a blank"
    folder.mkdir()
    for seed, (name, size) in enumerate(zip(PTB, (60, 11, 7), strict=True)):
        text = made_up(size, seed, odd=[f"w0 {UNK} w1", UNK]).replace(b"\n", b" \n ").rstrip(b" ")
        (folder / name).write_bytes(b" " + text)
    train = folder / PTB[0]
    train.with_name(f"{train.name}.gz").write_bytes(gzip.compress(train.read_bytes()))
    train.unlink()
    return folder


@pytest.fixture(scope="module")
def ptb_data(ptb, tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "ptb data"
    return out, succeeds("prepare_ptb.sh", "--own-corpus", "--data", ptb, "--out", out)


def ptb_sentences(folder):
    texts = {}
    for name in PTB:
        path = folder / name
        raw = (
            path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())
        )
        texts[name.split(".")[1]] = [[*line.split(), "</s>"] for line in raw.decode().splitlines()]
    return texts


def test_ptb_keeps_every_word_in_order(ptb, ptb_data):
    out, _ = ptb_data
    texts = ptb_sentences(ptb)
    known = {word for sentence in texts["train"] for word in sentence}
    for split, sentences in texts.items():
        assert decoded(out, split) == replaced(sentences, known)
    assert decoded(out) == texts["train"]


def test_the_ptb_dictionary_has_its_words_and_two_unused_symbols(ptb, ptb_data):
    from fairseq.data import Dictionary

    out, log = ptb_data
    train = Counter(word for sentence in ptb_sentences(ptb)["train"] for word in sentence)
    dictionary = Dictionary.load(str(out / "dict.txt"))
    assert set(dictionary.symbols) == {*train, "<s>", "<pad>"}
    assert dictionary.index(UNK) == dictionary.unk() and train[UNK] == 2
    assert f"dictionary: {len(train) + 2}\n" in log


def test_the_tokens_of_ptb_are_counted(ptb, ptb_data):
    out, log = ptb_data
    texts = ptb_sentences(ptb)
    known = {word for sentence in texts["train"] for word in sentence}
    record = json.loads((out / "prepared.json").read_text())
    for split, sentences in texts.items():
        words = [word for sentence in sentences for word in sentence]
        unseen = sum(word not in known for word in words)
        assert record["sentences"][split] == len(sentences)
        assert record["tokens"][split] == len(words)
        assert record["unknown"][split] == words.count(UNK) + unseen
        assert record["unseen"].get(split, 0) == unseen
        assert f"{split} {len(words)}" in log
    assert record["unseen"]["valid"] > 0


def test_the_dictionary_of_an_own_corpus_can_be_limited(ptb, tmp_path):
    out = tmp_path / "out"
    options = ["--data", ptb, "--out", out, "--nwords", "12"]
    log = succeeds("prepare_ptb.sh", "--own-corpus", *options)
    texts = ptb_sentences(ptb)
    counted = Counter(word for sentence in texts["train"] for word in sentence)
    words = [line.split()[0] for line in lines(out / "dict.txt")]
    assert len(words) == 8 and "dictionary: 12\n" in log
    rarest = min(counted[word] for word in words)
    assert all(word in words or n <= rarest for word, n in counted.items() if word not in BESIDE)
    for split, sentences in texts.items():
        assert decoded(out, split) == replaced(sentences, {*words, *BESIDE})
    assert "nwords is 12 there" in fails("prepare_ptb.sh", "--own-corpus", *options[:-2])
    assert "--nwords 12 needs --own-corpus" in fails("prepare_ptb.sh", *options)


def test_several_processes_make_the_same_data(ptb, ptb_data, tmp_path):
    out = tmp_path / "out"
    succeeds("prepare_ptb.sh", "--own-corpus", "--data", ptb, "--out", out, "--workers", 3)
    for path in ptb_data[0].iterdir():
        if path.name != "preprocess.log":
            assert (out / path.name).read_bytes() == path.read_bytes()


def test_the_files_of_an_own_corpus_may_have_names_of_their_own(ptb, ptb_data, tmp_path):
    other = shutil.copytree(ptb, tmp_path / "other")
    for path in list(other.iterdir()):
        path.rename(other / path.name.removeprefix("ptb."))
    out = tmp_path / "out"
    succeeds("prepare_ptb.sh", "--own-corpus", "--data", other, "--out", out)
    for split in ("train", "valid", "test"):
        assert decoded(out, split) == decoded(ptb_data[0], split)
    (other / "valid.txt").unlink()
    message = fails("prepare_ptb.sh", "--own-corpus", "--data", other, "--out", tmp_path / "none")
    assert f"--data {other} has neither valid.txt nor valid.txt.gz" in message


def test_preparing_ptb_again_is_skipped_and_never_overwrites(ptb, ptb_data, tmp_path):
    out, _ = ptb_data
    before = times_in(out)
    options = ["--data", ptb, "--out", out]
    assert "already done" in succeeds("prepare_ptb.sh", "--own-corpus", *options)
    assert "own_corpus is True there" in fails("prepare_ptb.sh", *options)
    other = shutil.copytree(ptb, tmp_path / "other")
    (other / PTB[1]).write_bytes(made_up(11, 5))
    message = fails("prepare_ptb.sh", "--own-corpus", "--data", other, "--out", out)
    assert f"made from other files than --data {other} has now: {PTB[1]};" in message
    assert times_in(out) == before
    assert "other files" in fails("prepare_ptb.sh", *options[:2], "--out", other)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (None, f"--data .* has neither {PTB[2]} nor {PTB[2]}.gz"),
        (b"", f"{PTB[2]} is empty"),
        (b" \n\n", f"{PTB[2]} is empty"),
        (b"caf\xe9\n", f"{PTB[2]} is not UTF-8"),
    ],
    ids=["missing", "empty", "blank lines", "latin-1"],
)
def test_a_bad_file_of_ptb_is_named(ptb, tmp_path, raw, named):
    other = shutil.copytree(ptb, tmp_path / "other")
    (other / PTB[2]).unlink()
    if raw is not None:
        (other / PTB[2]).write_bytes(raw)
    message = fails("prepare_ptb.sh", "--own-corpus", "--data", other, "--out", tmp_path / "out")
    assert re.search(named, message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_only_mikolovs_text_passes_for_ptb(ptb, tmp_path):
    message = fails("prepare_ptb.sh", "--data", ptb, "--out", tmp_path / "out")
    assert "SHA-256" in message and "--own-corpus" in message


def test_ptb_needs_no_option_if_the_checksums_match(ptb, tmp_path, load, monkeypatch, capsys):
    module = load("ptb")
    texts = ptb_sentences(ptb)
    train = {word for sentence in texts["train"] for word in sentence}
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    tokens = {split: sum(map(len, sentences)) for split, sentences in texts.items()}
    files = {}
    for split, file in module.PTB.files.items():
        sentences = replaced(texts[split], train)
        raw = "".join(" ".join(words[:-1]) + "\n" for words in sentences).encode()
        (corpus / file.name).write_bytes(raw)
        sha256 = hashlib.sha256(raw).hexdigest()
        files[split] = dataclasses.replace(file, tokens=tokens[split], sha256=sha256)
    monkeypatch.setattr(module, "PTB", dataclasses.replace(module.PTB, files=files))
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["ptb.py", "--data", str(corpus), "--out", str(out)])
    module.main()
    assert "not in the dictionary: train 0, valid 0, test 0" in capsys.readouterr().out
    assert json.loads((out / "prepared.json").read_text())["tokens"] == tokens


def test_ptb_is_downloaded_once(ptb, tmp_path):
    site, cache, out = tmp_path / "site", tmp_path / "cache", tmp_path / "out"
    shutil.copytree(ptb, site)
    (site / PTB[0]).write_bytes(gzip.decompress((site / f"{PTB[0]}.gz").read_bytes()))
    options = ["--own-corpus", "--cache", cache, "--out", out]
    message = fails("prepare_ptb.sh", *options, PTB_URL=f"{tmp_path.as_uri()}/none")
    assert "cannot download" in message and "--data" in message
    assert not names_in(cache)
    blocked = tmp_path / "blocked" / hashlib.sha256(site.as_uri().encode()).hexdigest()[:12]
    (blocked / f".{PTB[0]}.partial").mkdir(parents=True)  # nothing can be written there
    options_there = ["--own-corpus", "--cache", blocked.parent, "--out", out]
    message = fails("prepare_ptb.sh", *options_there, PTB_URL=f"{site.as_uri()}/")
    assert "cannot write to" in message and "give another folder with --cache" in message
    assert (
        succeeds("prepare_ptb.sh", *options, PTB_URL=f"{site.as_uri()}/").count("downloading") == 3
    )
    other = tmp_path / "other"
    shutil.copytree(site, other)
    (other / PTB[2]).write_bytes((site / PTB[2]).read_bytes() + b" a b c \n")
    message = fails("prepare_ptb.sh", *options, PTB_URL=other.as_uri())
    assert f"was made from other files than the corpus has now: {PTB[2]}" in message
    shutil.rmtree(out)
    shutil.rmtree(site)
    assert "downloading" not in succeeds("prepare_ptb.sh", *options, PTB_URL=f"{site.as_uri()}/")
    assert names_in(cache) == sorted(2 * PTB)  # of both addresses


def test_a_published_corpus_is_always_verified(tmp_path):
    message = fails("prepare_ptb.sh", "--own-corpus", "--out", tmp_path / "out")
    assert "--own-corpus needs --data FOLDER, or PTB_URL" in message
    message = fails("prepare_ptb.sh", "--data", tmp_path / "none", "--out", tmp_path / "out")
    assert "none does not exist" in message


def test_a_terminated_run_leaves_nothing_behind(ptb, tmp_path):
    program = (
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "import common, data_folder, ptb\n"
        "data_folder.subprocess.run = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)\n"
        "common.run(ptb.main)\n"
    )
    options = ["--data", ptb, "--own-corpus", "--out", tmp_path / "out"]
    done = subprocess.run([sys.executable, "-c", program, *map(str, options)])
    assert done.returncode == 143
    assert not list(tmp_path.glob("*out*"))
