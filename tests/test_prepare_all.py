"""The common behaviour of the scripts that prepare a corpus, on tiny corpora."""

import gzip
import re
import shutil
import signal
import subprocess
import sys

import pytest

pytest.importorskip("fairseq")
from shell import SCRIPTS, fails, run, succeeds, times_in
from text_corpora import decoded, made_up
from translation_corpus import write_corpus

PTB = ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"]
TRAINING = "training-monolingual.tokenized.shuffled"
HELD_OUT = "heldout-monolingual.tokenized.shuffled"
GBW = [f"{TRAINING}/news.en-{i:05d}-of-00003" for i in (1, 2)]
GBW += [f"{HELD_OUT}/news.en.heldout-{i:05d}-of-00002" for i in (0, 1)]
WIKITEXT2 = ["wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"]
BOM = "\ufeff".encode()


def write_texts(folder, names):
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made_up(20, seed))


WRITE = {
    "prepare_ptb.sh": lambda folder: write_texts(folder, PTB),
    "prepare_multi30k.sh": write_corpus,
    "prepare_gbw.sh": lambda folder: write_texts(folder, GBW),
    "prepare_wikitext2.sh": lambda folder: write_texts(folder, WIKITEXT2),
}
MORE = {"prepare_multi30k.sh": ["--units", "words"]}
scripts = pytest.mark.parametrize("script", WRITE)


def options(script, corpus, out):
    return ["--own-corpus", "--data", corpus, "--out", out, *MORE.get(script, [])]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    for script, write in WRITE.items():
        write(root / script)
    return {script: root / script for script in WRITE}


@pytest.fixture(scope="module")
def made(corpora, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for script, corpus in corpora.items():
        # not the server that has imported fairseq before, and so hides what that prints
        succeeds(script, *options(script, corpus, root / script), WARM="torch")
    return {script: root / script for script in WRITE}


def data_in(folder):
    """The files of a folder without logs and the times in them."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "preprocess.log"
    }


def rewrite(corpus, change):
    for path in [path for path in corpus.rglob("*") if path.is_file()]:
        packed = path.suffix == ".gz"
        raw = path.read_bytes()
        raw = change(gzip.decompress(raw) if packed else raw)
        path.write_bytes(gzip.compress(raw) if packed else raw)


@scripts
def test_byte_order_marks_and_odd_paths_change_nothing(corpora, made, tmp_path, script):
    # fairseq-preprocess splits file names at commas, and all of fairseq splits folders at colons.
    corpus = shutil.copytree(corpora[script], tmp_path / "in, 'or' \"out\": $here")
    rewrite(corpus, lambda raw: BOM + raw)
    out = tmp_path / "out, 'or' \"in\" $here" / "data, too"
    succeeds(script, *options(script, corpus, out))
    assert data_in(out) == data_in(made[script])


@scripts
def test_a_folder_of_another_corpus_is_refused(corpora, made, script):
    for other, out in made.items():
        if other != script:
            before = times_in(out)
            message = fails(script, *options(script, corpora[script], out))
            assert f"--out {out} holds another corpus" in message and other in message
            assert times_in(out) == before


def removed(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("change", "named"),
    [(removed, "{} is missing"), (cut, r"{} has \d+ bytes, not \d+")],
    ids=["removed", "cut"],
)
@scripts
def test_a_damaged_folder_is_not_skipped(corpora, made, tmp_path, script, change, named):
    out = shutil.copytree(made[script], tmp_path / "out", symlinks=True)
    path = sorted(out.rglob("*.bin"))[-1]
    change(path)
    before = times_in(out)
    message = fails(script, *options(script, corpora[script], out))
    assert re.search(named.format(path.relative_to(out)), message)
    assert f"--out {out} is damaged" in message and "remove the folder and run this" in message
    assert times_in(out) == before


@scripts
def test_a_damaged_record_is_rejected(corpora, tmp_path, script):
    (tmp_path / "prepared.json").write_text('{"own_corpus": true')
    message = fails(script, *options(script, corpora[script], tmp_path))
    assert f"cannot read {tmp_path}/prepared.json" in message


@scripts
def test_an_out_folder_with_a_colon_is_refused_at_once(corpora, tmp_path, script):
    done = run(script, *options(script, corpora[script], tmp_path / "a:b"))
    assert f"--out: {tmp_path}/a:b: fairseq splits paths at ':'" in done.stderr
    assert "give a folder without" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("symbol", ["<pad>", "<s>", "</s>"])
@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("prepare_ptb.sh", PTB[0]),
        ("prepare_ptb.sh", PTB[2]),
        ("prepare_multi30k.sh", "val.lc.norm.tok.de"),
        ("prepare_gbw.sh", GBW[1]),
        ("prepare_gbw.sh", GBW[2]),
        ("prepare_wikitext2.sh", WIKITEXT2[1]),
    ],
)
def test_a_fairseq_symbol_in_the_text_is_rejected(corpora, tmp_path, script, name, symbol):
    corpus = shutil.copytree(corpora[script], tmp_path / "corpus")
    lines = (corpus / name).read_text().split("\n")
    lines[4] += f" {symbol} ."
    lines[5] += f"{symbol} x{symbol}"  # these are other words
    (corpus / name).write_text("\n".join(lines))
    message = fails(script, *options(script, corpus, tmp_path / "out"))
    assert f"{name.rpartition('/')[2]}, line 5: {symbol} is a symbol of fairseq" in message
    assert "replace it in the text, for example by <unk>" in message
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_unk_is_kept_as_a_word(corpora, tmp_path):
    script = "prepare_gbw.sh"
    corpus = shutil.copytree(corpora[script], tmp_path / "corpus")
    rewrite(corpus, lambda raw: b"<unk> pad s </pad> <S>\n" + raw)
    out = tmp_path / "out"
    succeeds(script, *options(script, corpus, out), "--threshold", 1)
    (line, *_) = decoded(out)
    assert line == ["<unk>", "pad", "s", "</pad>", "<S>", "</s>"]


KILLED = """
import os, signal, sys
sys.path.insert(0, {scripts!r})
import common, data_folder
def killed(*_, cwd, **__):
    open(os.path.join(cwd, "stale"), "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
data_folder.subprocess.run = killed
import {module}
common.run({module}.main)
"""


@pytest.mark.parametrize("script", ["prepare_ptb.sh", "prepare_multi30k.sh"])
def test_a_killed_run_does_not_block_the_next(corpora, made, tmp_path, script):
    arguments = [str(word) for word in options(script, corpora[script], tmp_path / "out")]
    module = script.removeprefix("prepare_").removesuffix(".sh")
    program = KILLED.format(scripts=str(SCRIPTS), module=module)
    done = subprocess.run([sys.executable, "-c", program, *arguments])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / ".out.partial" / "stale").exists()
    succeeds(script, *arguments)
    assert data_in(tmp_path / "out") == data_in(made[script])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
