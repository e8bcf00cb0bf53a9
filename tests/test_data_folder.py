"""Downloads and output folders of the scripts that prepare data."""

import errno
import json
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("fairseq")
from questions import write_questions
from sentiment_trees import write_trees
from shell import prepare_here
from treebanks import conllu, write_treebank

from fairseq_wsum.experiments import locks
from fairseq_wsum.experiments.corpora import folder, published
from fairseq_wsum.experiments.locks import lock
from fairseq_wsum.experiments.program import UserError

SETTINGS = {"corpus": "ours", "own": True}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HOME": "/home/me"}, "/home/me/.cache/fairseq_wsum/ptb"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": ""}, "/home/me/.cache/fairseq_wsum/ptb"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/scratch"}, "/scratch/fairseq_wsum/ptb"),
    ],
    ids=["default", "empty", "given"],
)
def test_downloads_are_kept_in_the_users_cache(monkeypatch, variables, expected):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert published.PTB.cache_folder(None) == Path(expected)
    assert published.PTB.cache_folder(Path("/mine")) == Path("/mine")


class Broken(BaseHTTPRequestHandler):
    """A server that ends the connection early."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2000")
        self.end_headers()
        self.wfile.write(b"half")


def test_a_download_that_breaks_off_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/train.txt"
        message = r"cannot download .* \(the connection ended after 4 of 2,000 bytes\); try again"
        with pytest.raises(UserError, match=message):
            published.download(url, tmp_path / "train.txt", "try again")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_at_the_end_is_kept(tmp_path):
    """Another run has made it meanwhile."""
    out = tmp_path / "out"
    with pytest.raises(OSError, match="not empty"), folder.new_folder(out):
        out.mkdir()
        (out / "train.bin").write_text("of another run")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "train.bin"]


WRITE = {"treebank": write_treebank, "questions": write_questions, "sentiment": write_trees}
ONE_CLASS = "(0 (0 bad) (1 film))\n(1 (1 good) (1 film))\n"


@pytest.mark.parametrize(
    ("kind", "name", "text", "options", "problem"),
    [
        ("treebank", "dev.conllu", "", [], "dev.conllu has no sentences"),
        ("treebank", "second-train.conllu", "", [], r"2 files \*train.conllu"),
        ("treebank", "dev.conllu", conllu("a X 1 x"), [], "from line 1: word 1 has the head"),
        ("questions", "test-2.json", "", [], r"2 files dev\*.json or test\*.json"),
        ("questions", "valid-1.json", '{"data": []}', [], r"valid-1\.json has no questions"),
        ("questions", "train.json", '{"data": [1, 2, 3, 4]}', [], "4 articles: give a file valid"),
        ("questions", "x", "", ["--vectors", __file__], "has none of the words; give a text in"),
        ("sentiment", "train.txt", ONE_CLASS, ["--labels", 2], r"train\.txt has one class alone"),
    ],
)
def test_data_that_cannot_be_prepared(kind, name, text, options, problem, tmp_path) -> None:
    raw = WRITE[kind](tmp_path / "raw")
    (raw / name).write_text(text)
    with pytest.raises(UserError, match=problem):
        prepare_here(kind, "--data", raw, "--out", tmp_path / "data", *options)
    assert not (tmp_path / "data").exists()


def test_a_mount_point_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(UserError, match="is a mount point: give a folder in it"):
        folder.new_folder(tmp_path).__enter__()


def test_a_program_started_by_a_killed_run_keeps_the_lock(tmp_path):
    path = tmp_path / "lock"
    with lock(path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with pytest.raises(TimeoutError), lock(path, patience=0):
            pass
    finally:
        child.kill()
        child.wait()
    with lock(path, patience=0):
        pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with lock(tmp_path / "lock"):
        pass
    assert f"{tmp_path} is on a file system without locks" in capsys.readouterr().err


def test_a_folder_that_was_not_prepared_is_named(tmp_path):
    with pytest.raises(UserError, match=r"has no prepared\.json: give a folder that"):
        folder.read_record(tmp_path)


@pytest.mark.parametrize("record", [b"", b'{"corpus": "ours", "scr', b"\xff", b"[]"])
def test_a_damaged_record_is_named(tmp_path, record):
    (tmp_path / "prepared.json").write_bytes(record)
    with pytest.raises(UserError, match=r"cannot read.*prepare the data again, in a new"):
        folder.is_done(tmp_path, SETTINGS)


def test_the_record_lists_the_files(tmp_path):
    (tmp_path / "shard-002").mkdir()
    for name in ("train.bin", "shard-002/train.bin"):
        (tmp_path / name).write_text("four")
    (tmp_path / "shard-002" / "dict.txt").symlink_to("../train.bin")
    folder.write_record(tmp_path, SETTINGS)
    made = json.loads((tmp_path / "prepared.json").read_text())["made"]
    assert made == {"train.bin": 4, "shard-002/train.bin": 4, "shard-002/dict.txt": 4}
