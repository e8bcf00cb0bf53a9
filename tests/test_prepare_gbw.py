"""scripts/prepare_gbw.sh, on a tiny corpus of the same form."""

import fcntl
import hashlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("fairseq")
from shell import SCRIPTS, fails, names_in, run, succeeds, times_in
from text_corpora import UNK, decoded, made_up, replaced, words_of

ROOT = "1-billion-word-language-modeling-benchmark-r13output"
TRAINING = "training-monolingual.tokenized.shuffled"
HELD_OUT = "heldout-monolingual.tokenized.shuffled"
TRAIN_FILES = [f"news.en-{i:05d}-of-00006" for i in range(1, 6)]
HELD_OUT_FILES = [f"news.en.heldout-{i:05d}-of-00003" for i in range(3)]


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fails_here(main, monkeypatch, *arguments):
    """The message with which a script's `main` ends in this process."""
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        sys.modules["common"].run(main)
    return str(ended.value)


def change_a_byte(path):
    path.write_bytes(path.read_bytes().replace(b" ", b"_", 1))


def write_gbw(folder):
    """Five training files and three held-out ones, with extra spaces."""
    for seed, name in enumerate(TRAIN_FILES + HELD_OUT_FILES):
        path = folder / ROOT / (HELD_OUT if "heldout" in name else TRAINING) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made_up(20 + seed, seed, odd=["10\xa0000 \x85 caf\xe9\u2028 ."]))
    # The published archive has other files, too.
    (folder / ROOT / HELD_OUT / "news.en-00000-of-00006").write_bytes(b"all that is held out\n")
    (folder / ROOT / "README").write_text("...")
    return folder / ROOT


def pack(folder, archive):
    """Pack the folder as .tar.gz, in arbitrary order."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    random.Random(1).shuffle(paths)
    with tarfile.open(archive, "w:gz") as tar:
        for path in paths:
            tar.add(path, Path(ROOT) / path.relative_to(folder))
    return archive


@pytest.fixture(scope="module")
def gbw(tmp_path_factory):
    return write_gbw(tmp_path_factory.mktemp("corpus") / "with a blank")


@pytest.fixture(scope="module")
def archive(gbw, tmp_path_factory):
    return pack(gbw, tmp_path_factory.mktemp("archive") / "corpus.tar.gz")


def gbw_options(corpus, out):
    return ["--own-corpus", "--data", corpus, "--out", out]


@pytest.fixture(scope="module")
def gbw_data(gbw, tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "gbw data"
    return out, succeeds("prepare_gbw.sh", *gbw_options(gbw, out))


def gbw_sentences(folder):
    """The sentences of each file, by its name."""
    return {path.name: words_of(path) for path in folder.rglob("news*")}


def frequent(texts, threshold=3):
    train = Counter(word for name in TRAIN_FILES for words in texts[name] for word in words)
    return {word for word, n in train.items() if n >= threshold}


def shard_folders(out):
    return [out, *sorted(out.glob("shard-*"))]


def test_gbw_keeps_the_words_in_order_and_replaces_rare_ones_by_unk(gbw, gbw_data):
    out, log = gbw_data
    texts = gbw_sentences(gbw)
    known = frequent(texts)
    assert "10\xa0000" in known and "\x85" in known
    assert len(shard_folders(out)) == 5
    for folder, name in zip(shard_folders(out), TRAIN_FILES, strict=True):
        assert decoded(folder) == replaced(texts[name], known)
    assert decoded(out, "test") == replaced(texts[HELD_OUT_FILES[0]], known)
    assert decoded(out, "valid") == replaced(texts[HELD_OUT_FILES[1]], known)
    assert f"dictionary: {len(known) + 3}\n" in log  # <s>, <pad> and <unk>; </s> ends sentences
    assert f"scripts/train.sh {':'.join(map(str, shard_folders(out)))} ..." in log


def test_fairseq_reads_one_shard_per_epoch_and_validates_on_the_first(gbw, gbw_data):
    from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask

    data = re.search("scripts/train.sh (.*) [.]{3}", gbw_data[1])[1]
    options = LanguageModelingConfig(data=data, dataset_impl="mmap", use_plasma_view=False)
    task = LanguageModelingTask.setup_task(options)
    texts = gbw_sentences(gbw)
    tokens = {name: sum(map(len, sentences)) for name, sentences in texts.items()}
    for epoch, name in enumerate([*TRAIN_FILES, TRAIN_FILES[0]], start=1):
        task.load_dataset("train", epoch=epoch)
        assert task.dataset("train").sizes.sum() == tokens[name]
    task.load_dataset("valid")
    assert task.dataset("valid").sizes.sum() == tokens[HELD_OUT_FILES[1]]


def test_the_recorded_counts_of_gbw_match_its_data(gbw_data):
    out, _ = gbw_data
    record = json.loads((out / "prepared.json").read_text())
    folders = [out / name for name in record["data"]]
    assert folders == shard_folders(out)
    found = {"train": [words for folder in folders for words in decoded(folder)]}
    found |= {split: decoded(out, split) for split in ("valid", "test")}
    for split, sentences in found.items():
        words = [word for sentence in sentences for word in sentence]
        assert record["sentences"][split] == len(sentences)
        assert record["tokens"][split] == len(words)
        assert record["unknown"][split] == words.count(UNK) > 0


def test_the_archive_and_the_folder_give_the_same_data(gbw, gbw_data, archive, tmp_path):
    out, _ = gbw_data
    succeeds("prepare_gbw.sh", *gbw_options(archive, tmp_path / "packed"))
    assert files_in(tmp_path / "packed") == files_in(out)
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]
    # The folder above ROOT will do as well.
    options = gbw_options(gbw.parent, tmp_path / "packed")
    assert "already done" in succeeds("prepare_gbw.sh", *options)


def test_gbw_can_have_fewer_shards_and_words(gbw, archive, tmp_path):
    out = tmp_path / "out"
    options = [*gbw_options(archive, out), "--shards", 2, "--nwords", 20, "--threshold", 1]
    assert "dictionary: 20\n" in succeeds("prepare_gbw.sh", *options)
    texts = gbw_sentences(gbw)
    known = {line.rsplit(" ", 1)[0] for line in (out / "dict.txt").read_text().split("\n")}
    counts = Counter(word for name in TRAIN_FILES for words in texts[name] for word in words)
    assert min(counts[word] for word in known if word) >= sorted(counts.values())[-18]
    shards = [TRAIN_FILES[:2], TRAIN_FILES[2:]]
    for folder, names in zip(shard_folders(out), shards, strict=True):
        sentences = [words for name in names for words in texts[name]]
        assert decoded(folder) == replaced(sentences, known | {"</s>"})


def test_preparing_gbw_again_is_skipped_and_never_overwrites(gbw, gbw_data, tmp_path):
    out, _ = gbw_data
    before = times_in(out)
    options = gbw_options(gbw, out)
    assert "already done" in succeeds("prepare_gbw.sh", *options)
    assert "threshold is 3 there, 2 now" in fails("prepare_gbw.sh", *options, "--threshold", 2)
    other = shutil.copytree(gbw, tmp_path / "other")
    change_a_byte(other / TRAINING / TRAIN_FILES[1])
    message = fails("prepare_gbw.sh", *gbw_options(other, out))
    assert f"made from other files than --data {other} has now: {TRAIN_FILES[1]};" in message
    assert times_in(out) == before
    assert "other files in it" in fails("prepare_gbw.sh", *gbw_options(gbw, other))


class Broken(Exception):
    """The error with which a test interrupts a run."""


def break_off(load, monkeypatch, options, function, after):
    """Run prepare_gbw.sh in this process up to call number `after` of a function of gbw_shards."""
    module, shards = load("gbw"), load("gbw_shards")
    original = getattr(shards.os, function)
    calls = []

    def breaks(*arguments):
        calls.append(arguments)
        if len(calls) > after:
            raise Broken
        return original(*arguments)

    monkeypatch.setattr(sys, "argv", ["gbw.py", *map(str, options)])
    with monkeypatch.context() as patched:
        patched.setattr(shards.os, function, breaks)
        with pytest.raises(Broken):
            module.main()


@pytest.mark.parametrize(
    ("after", "goes_on_with"),
    [
        (0, "counting the words of 7 files"),
        (1, "binarising 7 of 7 files"),
        (4, "binarising 4 of 7 files"),
        (8, None),
        (9, None),
        (22, None),
    ],
    ids=["not counted", "counted", "3 files binarised", "all", "half a shard", "all joined"],
)
@pytest.mark.parametrize("form", ["folder", "archive"])
def test_an_interrupted_preparation_continues_to_the_same_result(
    gbw, archive, gbw_data, tmp_path, load, monkeypatch, capsys, form, after, goes_on_with
):
    # Every result is moved to its place: what was counted, 7 files, 7 times the .bin and .idx of a
    # part of the data, and the whole folder.
    out = tmp_path / "out"
    options = gbw_options(gbw if form == "folder" else archive, out)
    break_off(load, monkeypatch, options, "replace", after)
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"] * (after > 0)
    capsys.readouterr()
    load("gbw").main()
    log = capsys.readouterr().out
    assert ("continuing the unfinished run in" in log) == (after > 0)
    steps = [line for line in log.splitlines() if line.startswith(("counting", "binarising"))]
    assert steps[:1] == ([goes_on_with] if goes_on_with else [])
    assert files_in(out) == files_in(gbw_data[0])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


KILLED = """
import os, signal, sys
sys.path.insert(0, {scripts!r})
import common, gbw
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder as Builder
original, calls = Builder.{method}, []
def killed(builder, *arguments):
    calls.append(arguments)
    if len(calls) > {after}:
        builder._data_file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return original(builder, *arguments)
Builder.{method} = killed
common.run(gbw.main)
"""


@pytest.mark.parametrize(
    ("method", "after", "rest"), [("add_item", 30, ".partial"), ("merge_file_", 1, "*.bin.partial")]
)
def test_a_preparation_killed_within_a_file_continues_to_the_same_result(
    gbw, gbw_data, tmp_path, method, after, rest
):
    options = [str(word) for word in gbw_options(gbw, tmp_path / "out")]
    program = KILLED.format(scripts=str(SCRIPTS), method=method, after=after)
    done = subprocess.run([sys.executable, "-c", program, *options])
    assert done.returncode == -signal.SIGKILL
    assert list((tmp_path / ".out.partial").rglob(rest))
    succeeds("prepare_gbw.sh", *options)
    assert files_in(tmp_path / "out") == files_in(gbw_data[0])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_unfinished_preparation_continues_only_with_the_same_options_and_files(
    gbw, tmp_path, load, monkeypatch
):
    out = tmp_path / "out"
    break_off(load, monkeypatch, gbw_options(gbw, out), "replace", 3)
    partial = tmp_path / ".out.partial"
    before = times_in(partial)
    message = fails("prepare_gbw.sh", *gbw_options(gbw, out), "--shards", 2)
    assert "shards is None there, 2 now" in message and str(partial) in message
    other = shutil.copytree(gbw, tmp_path / "other")
    change_a_byte(other / TRAINING / TRAIN_FILES[4])
    message = fails("prepare_gbw.sh", *gbw_options(other, out))
    assert f"--data has other files now: {TRAIN_FILES[4]})" in message
    with (partial / load("data_folder").LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is writing to" in fails("prepare_gbw.sh", *gbw_options(gbw, out))
    assert times_in(partial) == before


@pytest.mark.parametrize(
    ("note", "named"),
    [
        (b"", "cannot read"),
        (b'{"tokens": {}', "cannot read"),
        (b"[]", "is not a JSON object"),
        (b"{}", "lacks 'sha256'"),
        (b'{"sha256": {}, "tokens": {"train": "many"}}', "'tokens' is"),
    ],
    ids=["empty", "cut", "list", "no keys", "no number"],
)
def test_a_damaged_record_of_an_unfinished_preparation_is_named(
    gbw, tmp_path, load, monkeypatch, note, named
):
    options = gbw_options(gbw, tmp_path / "out")
    break_off(load, monkeypatch, options, "replace", 1)
    path = tmp_path / ".out.partial" / "begun.json"
    path.write_bytes(note)
    message = fails_here(load("gbw").main, monkeypatch, *options)
    assert str(path) in message and named in message and f"remove {path.parent} and" in message
    assert path.read_bytes() == note


def test_a_file_that_changes_between_counting_and_binarising_is_rejected(
    gbw, tmp_path, load, monkeypatch
):
    other = shutil.copytree(gbw, tmp_path / "other")
    module, original = load("gbw"), load("gbw_shards").binarise

    def binarise(*arguments):
        path = other / TRAINING / TRAIN_FILES[0]
        path.write_bytes(path.read_bytes()[::-1])  # as many tokens
        return original(*arguments)

    monkeypatch.setattr(module, "binarise", binarise)
    message = fails_here(module.main, monkeypatch, *gbw_options(other, tmp_path / "out"))
    assert f"{TRAIN_FILES[0]} in {other} has changed since its words were counted" in message
    assert not (tmp_path / "out").exists()


def without(corpus, path):
    (corpus / path).unlink()


def emptied(corpus, path):
    (corpus / path).write_bytes(b"")


def in_latin_1(corpus, path):
    (corpus / path).write_bytes(b"caf\xe9 caf\xe9 caf\xe9\n")


@pytest.mark.parametrize(
    ("change", "path", "named"),
    [
        (without, f"{HELD_OUT}/{HELD_OUT_FILES[0]}", "no test file; add one like heldout-"),
        (without, f"{HELD_OUT}/{HELD_OUT_FILES[1]}", "no valid file; add one like heldout-"),
        (emptied, f"{TRAINING}/{TRAIN_FILES[2]}", f"{TRAIN_FILES[2]} in --data .* is empty"),
        (emptied, f"{HELD_OUT}/{HELD_OUT_FILES[1]}", f"{HELD_OUT_FILES[1]} in --data .* is empty"),
        (in_latin_1, f"{TRAINING}/{TRAIN_FILES[2]}", "the training text is not UTF-8"),
    ],
    ids=["no test", "no valid", "empty train", "empty valid", "latin-1"],
)
def test_a_bad_file_of_gbw_is_named(gbw, tmp_path, change, path, named):
    other = shutil.copytree(gbw, tmp_path / "other")
    change(other, path)
    assert re.search(named, fails("prepare_gbw.sh", *gbw_options(other, tmp_path / "out")))
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_the_data_of_gbw_must_be_its_folder_or_its_archive(gbw, archive, tmp_path):
    out = tmp_path / "out"
    assert "does not exist" in fails("prepare_gbw.sh", *gbw_options(tmp_path / "none", out))
    assert ROOT in fails("prepare_gbw.sh", *gbw_options(tmp_path, out))
    assert "cannot read" in fails("prepare_gbw.sh", *gbw_options(gbw / "README", out))
    (tmp_path / "half.tar.gz").write_bytes(archive.read_bytes()[:1500])
    assert "cannot read" in fails("prepare_gbw.sh", *gbw_options(tmp_path / "half.tar.gz", out))
    assert [path.name for path in tmp_path.iterdir()] == ["half.tar.gz"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--shards", "6"], "--shards 6 is too many: there are 5 training files"),
        (["--shards", "0"], "--shards: '0' is not a positive whole number"),
        (["--threshold", "999"], "--threshold 999 leaves no words"),
        (["--nwords", "4"], "--threshold 3 --nwords 4 leaves no words"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_gbw_names_a_wrong_option(gbw, tmp_path, options, named):
    done = run("prepare_gbw.sh", *gbw_options(gbw, tmp_path / "out"), *options)
    assert done.returncode != 0 and named in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_only_the_published_files_pass_for_gbw(gbw, archive, tmp_path):
    options = ["--out", tmp_path / "out", "--data"]
    message = fails("prepare_gbw.sh", *options, archive)
    assert "SHA-256" in message and "--own-corpus" in message
    message = fails("prepare_gbw.sh", *options, gbw)
    assert "news.en-00001-of-00100 and 100 more" in message and "--own-corpus" in message


def test_gbw_needs_no_option_if_checksum_and_counts_match(
    gbw, archive, gbw_data, tmp_path, load, monkeypatch
):
    module, files, shards = load("gbw"), load("gbw_files"), load("gbw_shards")
    splits = {"train": TRAIN_FILES, "valid": HELD_OUT_FILES[1:2], "test": HELD_OUT_FILES[:1]}
    monkeypatch.setattr(files, "PUBLISHED", splits)
    options = ["--data", archive, "--out", tmp_path / "out"]
    assert "SHA-256" in fails_here(module.main, monkeypatch, *options)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(files, "SHA256", digest)
    assert "than the benchmark (train 798,949,912" in fails_here(module.main, monkeypatch, *options)
    texts = gbw_sentences(gbw)
    tokens = {
        split: sum(len(words) for name in names for words in texts[name])
        for split, names in splits.items()
    }
    monkeypatch.setattr(shards, "TOKENS", tokens)
    module.main()
    own, published = files_in(gbw_data[0]), files_in(tmp_path / "out")
    assert own.pop("prepared.json") != published.pop("prepared.json")
    assert own == published


def test_gbw_is_downloaded_once(gbw, gbw_data, tmp_path):
    cache, out = tmp_path / "cache", tmp_path / "out"
    site = pack(gbw, tmp_path / "corpus.tar.gz")
    options = ["--own-corpus", "--cache", cache, "--out", out]
    message = fails("prepare_gbw.sh", *options, GBW_URL=f"{tmp_path.as_uri()}/none")
    assert "cannot download" in message and "--data" in message
    assert not names_in(cache)
    assert "downloading" in succeeds("prepare_gbw.sh", *options, GBW_URL=site.as_uri())
    assert files_in(out) == files_in(gbw_data[0])
    assert names_in(cache) == [f"{ROOT}.tar.gz"]
    shutil.rmtree(out)
    assert "downloading" not in succeeds("prepare_gbw.sh", *options, GBW_URL=site.as_uri())
