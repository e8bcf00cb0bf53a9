"""Downloads and output folders of the scripts that prepare data."""

import errno
import http.server
import json
import subprocess
import threading
from pathlib import Path

import pytest

from fairseq_wsum.experiments import corpora, files, folder
from fairseq_wsum.experiments.files import UserError, locked

SETTINGS = {"corpus": "ours", "script": "prepare_ours.sh", "own": True}


@pytest.fixture
def cut_off(monkeypatch):
    """The address of a server that cuts off every response in the middle."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

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
    monkeypatch.delenv("PTB_URL", raising=False)
    assert corpora.PTB.cache_folder(None) == Path(expected)
    assert corpora.PTB.cache_folder(Path("/mine")) == Path("/mine")


def test_every_address_has_a_cache_of_its_own(monkeypatch):
    found = []
    for address in ("file:///a", "file:///a/", "file:///b"):
        monkeypatch.setenv("PTB_URL", address)
        found.append(corpora.PTB.cache_folder(Path("/mine")))
    assert found[0] == found[1] != found[2]
    assert {path.parent for path in found} == {Path("/mine")}


def test_an_address_without_a_scheme_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot download /data/mirror/file \(unknown url .*cure"):
        corpora.download("/data/mirror/file", tmp_path / "cache/file", "cure")


def test_a_partial_download_is_not_kept(cut_off, tmp_path):
    path = tmp_path / "cache/file"
    with pytest.raises(UserError, match=r"the connection ended after 500 of 1,000 bytes\); cure"):
        corpora.download(f"{cut_off}/file", path, "cure")
    assert not list(path.parent.iterdir())


def make(out):
    with folder.new_folder(out) as partial:
        (partial / "train.bin").write_text("text")
        folder.write_record(partial, {**SETTINGS, "sha256": {}})


def test_only_one_of_two_concurrent_runs_makes_the_folder(tmp_path):
    out = tmp_path / "out"
    with folder.new_folder(out), pytest.raises(TimeoutError, match=r"another run holds .*; wait"):
        make(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_exists_at_the_end_is_kept(tmp_path):
    """Where the file system has no locks, or another host makes the folder."""
    out = tmp_path / "out"
    with pytest.raises(OSError, match="not empty"), folder.new_folder(out):
        out.mkdir()
        (out / "train.bin").write_text("of another run")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "train.bin"]


def test_the_partial_folder_of_a_killed_run_is_cleared(tmp_path):
    out, partial = tmp_path / "out", tmp_path / ".out.partial"
    (partial / "text").mkdir(parents=True)
    for name in (folder.LOCK, "train.bin", "stale.bin", "text/train"):
        (partial / name).write_text("half")
    make(out)
    assert sorted(path.name for path in out.iterdir()) == ["prepared.json", "train.bin"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def foreign_file(partial):
    partial.mkdir()
    (partial / "mine").write_text("precious")


def file_of_that_name(partial):
    partial.write_text("precious")


def link_to_a_folder(partial):
    (partial.parent / "mine").mkdir()
    partial.symlink_to(partial.parent / "mine")


@pytest.mark.parametrize("occupy", [foreign_file, file_of_that_name, link_to_a_folder])
def test_foreign_files_are_never_touched(tmp_path, occupy):
    occupy(tmp_path / ".out.partial")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"\.out\.partial is needed .* move it away, or give"):
        make(tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_program_started_by_a_killed_run_keeps_the_lock(tmp_path):
    path = tmp_path / "lock"
    with locked(path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with pytest.raises(TimeoutError), locked(path, patience=0):
            pass
    finally:
        child.kill()
        child.wait()
    with locked(path, patience=0):
        pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with locked(tmp_path / "lock"):
        pass
    assert f"{tmp_path} is on a file system without locks" in capsys.readouterr().err


@pytest.mark.parametrize("record", [b"", b'{"corpus": "ours", "scr', b"\xff", b"[]"])
def test_a_damaged_record_is_named(tmp_path, record):
    (tmp_path / "prepared.json").write_bytes(record)
    with pytest.raises(UserError, match=r"cannot read.*prepare the data again, in a new"):
        folder.is_done(tmp_path, SETTINGS)


def test_the_record_lists_the_files(tmp_path):
    (tmp_path / "shard-002").mkdir()
    for name in ("train.bin", "shard-002/train.bin", folder.LOCK):
        (tmp_path / name).write_text("four")
    (tmp_path / "shard-002" / "dict.txt").symlink_to("../train.bin")
    folder.write_record(tmp_path, SETTINGS)
    made = json.loads((tmp_path / "prepared.json").read_text())["made"]
    assert made == {"train.bin": 4, "shard-002/train.bin": 4, "shard-002/dict.txt": 4}


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("cut")])
def test_a_damaged_folder_is_not_taken_for_a_finished_one(tmp_path, change):
    make(tmp_path / "out")
    change(tmp_path / "out/train.bin")
    with pytest.raises(UserError, match=r"is damaged \(train\.bin: missing or changed\)"):
        folder.is_done(tmp_path / "out", SETTINGS)
    assert (tmp_path / "out/prepared.json").exists()
