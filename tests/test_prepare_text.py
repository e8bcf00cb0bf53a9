"""Text for language modelling: the published corpora, and prepare.sh text for text of one's own."""

import dataclasses
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("fairseq")
from commands import run
from shell import names_in, prepare_here, refuses, succeeds, times_in
from text_corpora import UNK, decoded, made_up, replaced

from fairseq_wsum.experiments.corpora import prepare, published, reading
from fairseq_wsum.experiments.program import UserError

SPLITS = ("train", "valid", "test")
BOM = "\ufeff".encode()


def sentences(path):
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [[*line.split(), "</s>"] for line in raw.removeprefix(BOM).decode().split("\n")[:-1]]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Text with a byte-order mark, a packed file, <unk> as a word, and blanks at odd places."""
    folder = tmp_path_factory.mktemp("own") / "in, 'or' \"out\": $here"
    folder.mkdir()
    for seed, (split, size) in enumerate(zip(SPLITS, (60, 11, 7), strict=True)):
        raw = made_up(size, seed, odd=[f" w0  {UNK} w1\u2028w2 ", UNK, "x\r y"])
        (folder / f"{split}.txt").write_bytes(BOM + raw)
    (folder / "train.txt.gz").write_bytes(gzip.compress((folder / "train.txt").read_bytes()))
    (folder / "train.txt").unlink()
    return folder


@pytest.fixture(scope="module")
def made(own, tmp_path_factory):
    """The script runs in a Python that imports fairseq anew, so that its output is complete."""
    out = tmp_path_factory.mktemp("made") / "out, 'or' \"in\" $here"
    return out, succeeds("prepare.sh", "text", "--data", own, "--out", out, WARM="torch")


def test_every_word_is_kept_in_order_and_counted(own, made):
    out, log = made
    texts = {split: sentences(reading.locate(f"{split}.txt", own)) for split in SPLITS}
    words = Counter(word for sentence in texts["train"] for word in sentence)
    record = json.loads((out / "prepared.json").read_text())
    for split, text_ in texts.items():
        assert decoded(out, split) == replaced(text_, words)
        flat = [word for sentence in text_ for word in sentence]
        unseen = sum(word not in words for word in flat)
        assert record["sentences"][split] == len(text_)
        assert record["tokens"][split] == len(flat)
        assert record["unknown"][split] == flat.count(UNK) + unseen
        assert record["unseen"][split] == unseen
        assert f"{split} {len(flat)}" in log
    assert record["unseen"]["valid"] > 0 == record["unseen"]["train"]
    assert f"dictionary: {len(words) + 2}\n" in log  # and <s> and <pad>


def test_the_data_are_those_of_fairseq_preprocess(own, made, tmp_path):
    for split in SPLITS:
        lines = sentences(reading.locate(f"{split}.txt", own))
        text_ = "".join(" ".join(words[:-1]) + "\n" for words in lines)
        (tmp_path / split).write_text(text_)
    options = ["--only-source", "--padding-factor", 1, "--destdir", tmp_path / "out"]
    run("fairseq-preprocess", *options, *(f"--{split}pref={tmp_path / split}" for split in SPLITS))
    for path in (tmp_path / "out").iterdir():
        if path.name != "preprocess.log":
            assert (made[0] / path.name).read_bytes() == path.read_bytes()


def test_the_dictionary_can_be_limited(own, tmp_path, capsys):
    prepare_here("text", "--data", own, "--out", tmp_path / "few", "--nwords", 12)
    assert "dictionary: 12\n" in capsys.readouterr().out
    prepare_here("text", "--data", own, "--out", tmp_path / "often", "--threshold", 3)
    texts = sentences(own / "train.txt.gz")
    counted = Counter(word for sentence in texts for word in sentence)
    for name in ("few", "often"):
        known = {line.split()[0] for line in (tmp_path / name / "dict.txt").open()}
        assert decoded(tmp_path / name) == replaced(texts, known | {"</s>"})
        rarest = min(counted[word] for word in known)
        assert rarest >= 3 or name == "few"
        others = counted.keys() - known - {"</s>", UNK}
        assert max(counted[word] for word in others) <= rarest


def test_the_training_files_become_shards_in_order(own, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(own, data)
    (data / "train.txt.gz").unlink()
    parts = [data / f"train-{i}.txt" for i in range(5)]
    for seed, path in enumerate(parts):
        path.write_bytes(made_up(9, seed))
    (data / "train-4.txt.gz").write_bytes(gzip.compress(parts[4].read_bytes()))  # the same again
    for shards, names in ((None, [[path] for path in parts]), (2, [parts[:2], parts[2:]])):
        out = tmp_path / str(shards)
        more = [] if shards is None else ["--shards", shards]
        prepare_here("text", "--data", data, "--out", out, *more)
        folders = re.search(r"train\.sh (\S+) \.\.\.", capsys.readouterr().out)[1].split(":")
        assert len(folders) == len(names)
        for folder, files in zip(map(Path, folders), names, strict=True):
            assert decoded(folder) == [line for path in files for line in sentences(path)]


# The published corpora


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Write a tiny corpus in the place of a published one, with its names; return its folder."""

    def publish(name):
        corpus, data = prepare.CORPORA[name], tmp_path / "site"
        data.mkdir()
        tokens, digests = {}, {}
        for split, files in corpus.splits.items():
            names = files[:3] if split == "train" else files
            tokens[split] = 0
            for seed, file in enumerate(names):
                raw = made_up(20, seed, odd=["10\xa0000 10\xa0000 10\xa0000"])
                (data / corpus.published.get(file, file)).write_bytes(raw)
                digests[file] = hashlib.sha256(raw).hexdigest()
                tokens[split] += len(raw.split()) + raw.count(b"\n")
        changed = dict(sha256=digests, url=data.as_uri())
        if name == "gbw":
            archive = tmp_path / f"{published.GBW_ROOT}.tar.gz"
            with tarfile.open(archive, "w:gz") as tar:
                tar.add(data, published.GBW_ROOT)
            splits = {**corpus.splits, "train": corpus.splits["train"][:3]}
            digests = {archive.name: hashlib.sha256(archive.read_bytes()).hexdigest()}
            changed = dict(sha256=digests, url=tmp_path.as_uri(), splits=splits, tokens=tokens)
        tiny = dataclasses.replace(corpus, **changed)
        monkeypatch.setitem(prepare.CORPORA, name, tiny)
        return data

    return publish


@pytest.mark.parametrize("name", ["ptb", "wikitext2", "gbw"])
def test_a_published_corpus_is_downloaded_once_and_checked(name, publish, tmp_path, capsys):
    site, cache, out = publish(name), tmp_path / "cache", tmp_path / "out"
    words = [name, "--cache", cache, "--out", out]
    prepare_here(*words)
    first = capsys.readouterr().out
    assert first.count("downloading") == len(prepare.CORPORA[name].sha256)
    assert names_in(cache) == sorted(prepare.CORPORA[name].sha256)
    if name == "gbw":
        assert prepare.read("gbw", ["--out", "x"])[0].threshold == 3  # as published
    assert not [*tmp_path.glob(".*")]
    before = times_in(out)
    prepare_here(*words)
    assert "already done" in capsys.readouterr().out and times_in(out) == before
    shutil.rmtree(out)
    prepare_here(*words)
    assert "downloading" not in capsys.readouterr().out

    record = json.loads((out / "prepared.json").read_text())
    assert record["corpus"] == name
    assert len(record["sha256"]) == (5 if name == "gbw" else 3)
    found = ["10\xa0000" in line for line in decoded(out)]
    assert found.count(True) == (name == "gbw")  # elsewhere fairseq's tools read two words
    if name == "gbw":  # from the unpacked folder, and with other options
        prepare_here(name, "--data", site, "--out", tmp_path / "unpacked")
        assert (tmp_path / "unpacked/train.bin").read_bytes() == (out / "train.bin").read_bytes()
        with pytest.raises(UserError, match="shards is None there, 2 now"):
            prepare_here(*words, "--shards", 2)


@pytest.mark.parametrize("name", ["ptb", "gbw"])
def test_a_changed_file_of_a_published_corpus_is_refused(name, publish, tmp_path):
    site = publish(name)
    for path in site.iterdir():
        path.write_bytes(path.read_bytes() + b"more\n")
    with pytest.raises(UserError, match=r"SHA-256 differs|has other numbers of tokens"):
        prepare_here(name, "--data", site, "--out", tmp_path / "out")
    assert not [*tmp_path.glob("out"), *tmp_path.glob(".*")]


# What exists is kept


def test_preparing_again_is_skipped_and_never_overwrites(own, made, tmp_path, capsys):
    out, _ = made
    before = times_in(out)
    words = ["text", "--data", own, "--out", out]
    prepare_here(*words)
    assert "already done" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"threshold is 1 there, 2 now\); give a new folder"):
        prepare_here(*words, "--threshold", 2)
    other = shutil.copytree(own, tmp_path / "other")
    (other / "valid.txt").write_bytes(made_up(11, 5))
    with pytest.raises(UserError, match=r"from other files than those given now: valid\.txt;"):
        prepare_here("text", "--data", other, "--out", out)
    with pytest.raises(UserError, match=r"other options \(corpus is text there, ptb now"):
        prepare_here("ptb", "--data", own, "--out", out)
    assert times_in(out) == before
    with pytest.raises(UserError, match="has other files in it; give a new folder"):
        prepare_here("text", "--data", own, "--out", other)


STOPPED = """
import os, signal, sys
from fairseq_wsum.experiments import program
from fairseq_wsum.experiments.corpora import prepare, text
text.encode = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
program.run_module(prepare.__name__, sys.argv[1:])
"""


def test_a_run_that_is_stopped_leaves_nothing(own, tmp_path):
    words = ["text", "--data", str(own), "--out", str(tmp_path / "out")]
    assert subprocess.run([sys.executable, "-c", STOPPED, *words]).returncode == 143
    assert not list(tmp_path.iterdir())


# Mistakes

DAMAGED = gzip.compress(made_up(99, 1))[:-9]


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"test.txt": None}, [], r"--data .* has neither test\.txt nor test\.txt\.gz; add it"),
        ({"train.txt.gz": None}, [], r"has no train\.txt, train\.txt\.gz or train-\*\.txt"),
        ({"test.txt": b""}, [], r"test\.txt is empty; it must have one sentence per line"),
        ({"test.txt": b"caf\xe9\n"}, [], r"test\.txt is not UTF-8 text: .*; get the file again"),
        ({"train.txt.gz": DAMAGED}, [], r"train\.txt\.gz cannot be read: .* is damaged"),
        ({"valid.txt": b"a\nb <pad>\n"}, [], r"valid\.txt, line 2: <pad> is a symbol of fairseq"),
        ({}, ["--shards", 2], "--shards 2 is too many: there are 1 training files"),
        ({"train-1.txt": b"a\n"}, [], r"has train\.txt\.gz and train-1\.txt: move one away"),
        ({}, ["--threshold", 999], "--threshold 999 leaves no words in the dictionary"),
        ({}, ["--nwords", 4], "--threshold 1 --nwords 4 leaves no words"),
        ({}, ["--data", "/none"], r"--data /none has neither valid\.txt nor"),
        ({}, ["--out", "12:30"], "12:30: fairseq splits paths at ':'; give a folder without one"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, (dict, list)) else "",
)
def test_a_mistake_is_named_and_leaves_nothing(own, tmp_path, capsys, files, options, message):
    data = shutil.copytree(own, tmp_path / "data")
    for name, raw in files.items():
        (data / name).unlink() if raw is None else (data / name).write_bytes(raw)
    given = ["text", "--data", data, "--out", tmp_path / "out", *options]
    assert re.search(message, refuses(prepare.main, capsys, *given))
    assert os.listdir(tmp_path) == ["data"]
