"""The scripts that prepare corpora for language modelling, run on tiny corpora of the same form."""

import fcntl
import gzip
import hashlib
import http.server
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("fairseq")

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
ROOT = "1-billion-word-language-modeling-benchmark-r13output"
TRAINING = "training-monolingual.tokenized.shuffled"
HELD_OUT = "heldout-monolingual.tokenized.shuffled"
PTB = ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"]
UNK = "<unk>"


def run(script, *arguments, **variables):
    return subprocess.run(
        [SCRIPTS / script, *map(str, arguments)],
        env={**os.environ, "VENV": sys.prefix, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )


def succeeds(*arguments, **variables):
    done = run(*arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "INFO" not in done.stderr  # none of fairseq's chatter
    return done.stdout


def fails(*arguments, **variables):
    done = run(*arguments, **variables)
    assert done.returncode != 0, done.stdout
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def load(monkeypatch):
    """Import scripts/NAME.py and all that it imports from there, anew."""

    def load(name):
        return importlib.import_module(name)

    scripts = {path.stem for path in SCRIPTS.glob("*.py")}
    kept = {name: sys.modules.pop(name) for name in scripts & set(sys.modules)}
    monkeypatch.syspath_prepend(SCRIPTS)
    yield load
    for name in scripts & set(sys.modules):
        del sys.modules[name]
    sys.modules.update(kept)


def fails_here(main, monkeypatch, *arguments):
    """The message with which a script's `main` ends in this process."""
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        sys.modules["common"].run(main)
    return str(ended.value)


def words_of(path):
    """The lines of a text, each a list of words that ends with fairseq's end of sentence."""
    # split() alone also cuts at the no-break space and the like.
    return [[*line.decode().split(" "), "</s>"] for line in path.read_bytes().splitlines()]


def decoded(folder, split="train"):
    """What `words_of` gives, from fairseq's binary data."""
    from fairseq.data import Dictionary, data_utils

    dictionary = Dictionary.load(str(folder / "dict.txt"))
    data = data_utils.load_indexed_dataset(str(folder / split), dictionary)
    return [[dictionary[i] for i in data[sentence].tolist()] for sentence in range(len(data))]


def replaced(sentences, known):
    return [[word if word in known else UNK for word in sentence] for sentence in sentences]


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def times_in(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def made_up(lines, seed, odd=()):
    """Sentences of words of which few are frequent and many are rare."""
    draw = random.Random(seed)
    sentences = [
        " ".join(f"w{int(draw.expovariate(0.05))}" for _ in range(draw.randint(1, 12)))
        for _ in range(lines)
    ]
    return "".join(f"{sentence}\n" for sentence in [*sentences, *odd]).encode()


@pytest.mark.parametrize("script", ["prepare_ptb.sh", "prepare_gbw.sh"])
def test_every_script_explains_itself(script):
    text = succeeds(script, "--help")
    assert text.startswith("usage: ") and "examples:" in text and "fairseq-train" in text


# prepare_ptb.sh


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


def test_the_dictionary_of_ptb_is_its_words_and_two_symbols_that_never_occur(ptb, ptb_data):
    from fairseq.data import Dictionary

    out, log = ptb_data
    train = Counter(word for sentence in ptb_sentences(ptb)["train"] for word in sentence)
    dictionary = Dictionary.load(str(out / "dict.txt"))
    assert set(dictionary.symbols) == {*train, "<s>", "<pad>"}
    assert dictionary.index(UNK) == dictionary.unk() and train[UNK] == 2
    assert f"dictionary: {len(train) + 2}\n" in log


def test_ptb_is_counted(ptb, ptb_data):
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


def test_preparing_ptb_again_is_skipped_and_never_overwrites(ptb, ptb_data, tmp_path):
    out, _ = ptb_data
    before = times_in(out)
    options = ["--data", ptb, "--out", out]
    assert "done already" in succeeds("prepare_ptb.sh", "--own-corpus", *options)
    assert "own_corpus is True there" in fails("prepare_ptb.sh", *options)
    other = shutil.copytree(ptb, tmp_path / "other")
    (other / PTB[1]).write_bytes(made_up(11, 5))
    message = fails("prepare_ptb.sh", "--own-corpus", "--data", other, "--out", out)
    assert f"another {PTB[1]}" in message
    assert times_in(out) == before
    assert "other files" in fails("prepare_ptb.sh", *options[:2], "--out", other)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (None, f"--data .* has neither {PTB[2]} nor {PTB[2]}.gz"),
        (b"", f"{PTB[2]} is empty"),
        (b" \n\n", f"{PTB[2]} is empty"),
        (b"caf\xe9\n", f"{PTB[2]} is no UTF-8"),
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


def test_ptb_needs_no_option_where_the_sums_are_right(ptb, tmp_path, load, monkeypatch, capsys):
    module = load("ptb")
    texts = ptb_sentences(ptb)
    train = {word for sentence in texts["train"] for word in sentence}
    sums = {}
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in PTB:
        sentences = replaced(texts[name.split(".")[1]], train)
        raw = "".join(" ".join(words[:-1]) + "\n" for words in sentences).encode()
        (corpus / name).write_bytes(raw)
        sums[name] = hashlib.sha256(raw).hexdigest()
    tokens = {split: sum(map(len, sentences)) for split, sentences in texts.items()}
    monkeypatch.setattr(module, "SHA256", sums)
    monkeypatch.setattr(module, "TOKENS", tokens)
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["ptb.py", "--data", str(corpus), "--out", str(out)])
    module.main()
    assert "not in the training text: valid 0, test 0" in capsys.readouterr().out
    assert json.loads((out / "prepared.json").read_text())["tokens"] == tokens


def test_ptb_is_downloaded_once(ptb, tmp_path):
    site, cache, out = tmp_path / "site", tmp_path / "cache", tmp_path / "out"
    shutil.copytree(ptb, site)
    (site / PTB[0]).write_bytes(gzip.decompress((site / f"{PTB[0]}.gz").read_bytes()))
    options = ["--own-corpus", "--cache", cache, "--out", out]
    message = fails("prepare_ptb.sh", *options, PTB_URL=f"{tmp_path.as_uri()}/none")
    assert "cannot download" in message and "--data" in message
    assert not list(cache.iterdir())
    assert (
        succeeds("prepare_ptb.sh", *options, PTB_URL=f"{site.as_uri()}/").count("downloading") == 3
    )
    shutil.rmtree(out)
    shutil.rmtree(site)
    assert "downloading" not in succeeds("prepare_ptb.sh", *options, PTB_URL=f"{site.as_uri()}/")
    assert sorted(path.name for path in cache.iterdir()) == sorted(PTB)


@pytest.fixture
def cut_off():
    """The address of a site that breaks every answer off in the middle."""

    class Half(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"w " * 250)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Half) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_half_a_download_is_not_kept(load, cut_off, tmp_path):
    path, files = tmp_path / "cache/file", load("corpus_files")
    with pytest.raises(load("common").UserError, match=r"cut off after 500 of 1,000 bytes\); cure"):
        files.download(f"{cut_off}/file", path, "cure")
    assert not list(path.parent.iterdir())


def test_of_two_runs_at_a_time_one_makes_the_folder(load, tmp_path):
    data_folder, out = load("data_folder"), tmp_path / "out"

    def make(settings):
        with data_folder.new_folder(out, settings) as partial:
            data_folder.write_record(partial, {**settings, "by": "us"})
            out.mkdir(exist_ok=True)
            data_folder.write_record(out, {"own": True, "by": "the other"})

    make({"own": True})
    with pytest.raises(load("common").UserError, match="was made with other options"):
        make({"own": False})
    assert json.loads((out / "prepared.json").read_text())["by"] == "the other"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_that_is_told_to_end_leaves_nothing_behind(ptb, tmp_path):
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


# prepare_gbw.sh

TRAIN_FILES = [f"news.en-{i:05d}-of-00006" for i in range(1, 6)]
HELD_OUT_FILES = [f"news.en.heldout-{i:05d}-of-00003" for i in range(3)]


def write_gbw(folder):
    """Five training files and three held-out ones, with blanks that are no ends of words."""
    for seed, name in enumerate(TRAIN_FILES + HELD_OUT_FILES):
        path = folder / ROOT / (HELD_OUT if "heldout" in name else TRAINING) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made_up(20 + seed, seed, odd=["10\xa0000 \x85 caf\xe9\u2028 ."]))
    # What else is there in the published one.
    (folder / ROOT / HELD_OUT / "news.en-00000-of-00006").write_bytes(b"all that is held out\n")
    (folder / ROOT / "README").write_text("...")
    return folder / ROOT


def pack(folder, archive):
    """As .tar.gz, in no order."""
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
    """Of each file, by its name."""
    return {path.name: words_of(path) for path in folder.rglob("news*")}


def frequent(texts, threshold=3):
    train = Counter(word for name in TRAIN_FILES for words in texts[name] for word in words)
    return {word for word, n in train.items() if n >= threshold}


def shard_folders(out):
    return [out, *sorted(out.glob("shard-*"))]


def test_gbw_keeps_every_word_in_order_and_rare_ones_as_unknown(gbw, gbw_data):
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
    assert f"fairseq-train {':'.join(map(str, shard_folders(out)))} ..." in log


def test_fairseq_reads_a_shard_an_epoch_and_the_validation_text_of_the_first(gbw, gbw_data):
    from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask

    data = re.search("fairseq-train (.*) [.]{3}", gbw_data[1])[1]
    options = LanguageModelingConfig(data=data, dataset_impl="mmap", use_plasma_view=False)
    task = LanguageModelingTask.setup_task(options)
    texts = gbw_sentences(gbw)
    tokens = {name: sum(map(len, sentences)) for name, sentences in texts.items()}
    for epoch, name in enumerate([*TRAIN_FILES, TRAIN_FILES[0]], start=1):
        task.load_dataset("train", epoch=epoch)
        assert task.dataset("train").sizes.sum() == tokens[name]
    task.load_dataset("valid")
    assert task.dataset("valid").sizes.sum() == tokens[HELD_OUT_FILES[1]]


def test_gbw_is_counted_as_it_is_read_back(gbw_data):
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
    assert "done already" in succeeds("prepare_gbw.sh", *options)


def test_gbw_in_fewer_shards_and_words(gbw, archive, tmp_path):
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
    assert "done already" in succeeds("prepare_gbw.sh", *options)
    assert "threshold is 3 there, 2 now" in fails("prepare_gbw.sh", *options, "--threshold", 2)
    other = shutil.copytree(gbw, tmp_path / "other")
    (other / TRAINING / TRAIN_FILES[1]).write_bytes(b"another\n")
    assert "made from other files" in fails("prepare_gbw.sh", *gbw_options(other, out))
    assert times_in(out) == before
    assert "other files in it" in fails("prepare_gbw.sh", *gbw_options(gbw, other))


class Broken(Exception):
    """What a test breaks a run off with."""


def break_off(load, monkeypatch, options, function, after):
    """Run prepare_gbw.sh here, up to the call number `after` of a function of gbw_shards."""
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
def test_a_preparation_that_was_broken_off_goes_on_to_the_same_end(
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
    assert ("going on with what is in" in log) == (after > 0)
    steps = [line for line in log.splitlines() if line.startswith(("counting", "binarising"))]
    assert steps[:1] == ([goes_on_with] if goes_on_with else [])
    assert files_in(out) == files_in(gbw_data[0])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_unfinished_preparation_goes_on_with_the_same_options_and_files_only(
    gbw, tmp_path, load, monkeypatch
):
    out = tmp_path / "out"
    break_off(load, monkeypatch, gbw_options(gbw, out), "replace", 3)
    partial = tmp_path / ".out.partial"
    before = times_in(partial)
    message = fails("prepare_gbw.sh", *gbw_options(gbw, out), "--shards", 2)
    assert "shards is None there, 2 now" in message and str(partial) in message
    other = shutil.copytree(gbw, tmp_path / "other")
    (other / TRAINING / TRAIN_FILES[4]).write_bytes(b"another\n")
    assert "--data has other files now" in fails("prepare_gbw.sh", *gbw_options(other, out))
    with (partial / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is at work" in fails("prepare_gbw.sh", *gbw_options(gbw, out))
    before[partial / "lock"] = (partial / "lock").stat().st_mtime_ns
    assert times_in(partial) == before


def test_a_file_that_changes_between_counting_and_binarising_is_noticed(
    gbw, tmp_path, load, monkeypatch
):
    other = shutil.copytree(gbw, tmp_path / "other")
    options = gbw_options(other, tmp_path / "out")
    break_off(load, monkeypatch, options, "replace", 1)
    path = other / TRAINING / TRAIN_FILES[0]
    path.write_bytes(path.read_bytes().replace(b" ", b"_", 1))
    assert "has changed meanwhile" in fails_here(load("gbw").main, monkeypatch, *options)
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
        (in_latin_1, f"{TRAINING}/{TRAIN_FILES[2]}", "the training text is no UTF-8"),
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
        (["--shards", "0"], "--shards: '0' is no positive whole number"),
        (["--threshold", "999"], "--threshold 999 leaves no word"),
        (["--nwords", "4"], "--threshold 3 --nwords 4 leaves no word"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_gbw_names_the_option_that_is_wrong(gbw, tmp_path, options, named):
    done = run("prepare_gbw.sh", *gbw_options(gbw, tmp_path / "out"), *options)
    assert done.returncode != 0 and named in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_only_the_published_files_pass_for_gbw(gbw, archive, tmp_path):
    options = ["--out", tmp_path / "out", "--data"]
    message = fails("prepare_gbw.sh", *options, archive)
    assert "SHA-256" in message and "--own-corpus" in message
    message = fails("prepare_gbw.sh", *options, gbw)
    assert "news.en-00001-of-00100 and 100 more" in message and "--own-corpus" in message


def test_gbw_needs_no_option_where_sum_and_counts_are_right(
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
    assert not list(cache.iterdir())
    assert "downloading" in succeeds("prepare_gbw.sh", *options, GBW_URL=site.as_uri())
    assert files_in(out) == files_in(gbw_data[0])
    assert [path.name for path in cache.iterdir()] == [f"{ROOT}.tar.gz"]
    shutil.rmtree(out)
    assert "downloading" not in succeeds("prepare_gbw.sh", *options, GBW_URL=site.as_uri())
