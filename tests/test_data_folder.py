"""Downloads and output folders of the scripts that prepare data."""

import errno
import fcntl
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


def test_a_download_replaces_the_partial_file_of_a_killed_run(tmp_path):
    site, path = tmp_path / "site", tmp_path / "cache/file"
    site.write_bytes(b"whole")
    path.parent.mkdir()
    (path.parent / ".file.partial").write_bytes(b"half of another")
    corpora.download(site.as_uri(), path, "cure")
    assert [(p.name, p.read_bytes()) for p in path.parent.iterdir()] == [("file", b"whole")]


def test_two_runs_never_download_the_same_file_at_once(tmp_path):
    path = tmp_path / "file"
    with (tmp_path / ".file.partial").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=f"another run is downloading {path}; wait"):
            corpora.download((tmp_path / "site").as_uri(), path, "cure")
        assert (tmp_path / ".file.partial").exists()


def make(out, text="text"):
    with folder.new_folder(out, SETTINGS) as partial:
        (partial / "train.bin").write_text(text)
        folder.write_record(partial, {**SETTINGS, "sha256": {}})


def test_only_one_of_two_concurrent_runs_makes_the_folder(tmp_path):
    out = tmp_path / "out"
    with (
        folder.only_run(out),
        pytest.raises(UserError, match=f"another run is writing to {tmp_path}/.out.partial; wait"),
    ):
        make(out)
    assert not list(tmp_path.iterdir())


def test_a_folder_made_by_a_concurrent_run_is_kept(tmp_path):
    # Where the file system has no locks, or another host makes the folder.
    out = tmp_path / "out"
    other = tmp_path / "other"
    make(other, "the other")
    with folder.new_folder(out, SETTINGS):
        other.rename(out)
    assert (out / "train.bin").read_text() == "the other"
    with (
        pytest.raises(UserError, match="own is True there, False now"),
        folder.new_folder(out, {**SETTINGS, "own": False}),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


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


def test_another_script_does_not_clear_an_unfinished_run(tmp_path):
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    for name in (folder.LOCK, folder.BEGUN, "dict.txt"):
        (partial / name).write_text("{}")
    with pytest.raises(UserError, match="holds an unfinished run of another script"):
        make(tmp_path / "out")
    assert len(list(partial.iterdir())) == 3


def test_an_unfinished_folder_is_kept_for_runs_with_the_same_options(tmp_path):
    out, partial = tmp_path / "out", tmp_path / ".out.partial"
    with pytest.raises(ZeroDivisionError), folder.only_run(out):
        folder.begin(partial, SETTINGS)
        (partial / "part").write_text("finished")
        raise ZeroDivisionError
    with (
        pytest.raises(UserError, match=r"was begun with other options \(own is True there, False"),
        folder.only_run(out),
    ):
        folder.begin(partial, {**SETTINGS, "own": False})
    with folder.only_run(out):
        folder.begin(partial, SETTINGS)
        assert (partial / "part").read_text() == "finished"
        folder.finish(partial, out, SETTINGS)
    assert [path.name for path in out.iterdir()] == ["part"]


def test_an_option_that_an_older_folder_lacks_has_its_default(tmp_path):
    folder.write_record(tmp_path, {**SETTINGS, "sha256": {}})
    assert folder.record_of(tmp_path, {**SETTINGS, "character_coverage": 1.0})
    with pytest.raises(UserError, match=r"character_coverage is 1\.0 there, 0\.99 now"):
        folder.record_of(tmp_path, {**SETTINGS, "character_coverage": 0.99})


def test_a_program_started_by_a_killed_run_keeps_the_lock(tmp_path):
    path = tmp_path / "lock"
    with locked(path, "busy"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with pytest.raises(UserError, match="busy"), locked(path, "busy"):
            pass
    finally:
        child.kill()
        child.wait()
    with locked(path, "busy"):
        pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with locked(tmp_path / "lock", "busy"):
        pass
    assert f"{tmp_path} is on a file system without locks" in capsys.readouterr().out


def test_a_lock_on_a_removed_file_is_rejected(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    # The other run ends between our opening the file and our locking it.
    monkeypatch.setattr(files.fcntl, "flock", lambda *_: path.unlink())
    with pytest.raises(UserError, match="just finished"), locked(path, "busy"):
        pass


@pytest.mark.parametrize("record", [b"", b'{"corpus": "ours", "scr', b"\xff", b'{"script": "x"}'])
def test_a_damaged_record_is_named(tmp_path, record):
    (tmp_path / "prepared.json").write_bytes(record)
    with pytest.raises(UserError, match=r"(cannot read|damaged).*prepare the data again, in a new"):
        folder.record_of(tmp_path, SETTINGS)


def test_the_record_lists_the_files(tmp_path):
    (tmp_path / "shard-002").mkdir()
    for name in ("train.bin", "preprocess.log", "shard-002/train.bin", folder.LOCK):
        (tmp_path / name).write_text("four")
    (tmp_path / "shard-002" / "dict.txt").symlink_to("../train.bin")
    folder.write_record(tmp_path, SETTINGS)
    made = json.loads((tmp_path / "prepared.json").read_text())["made"]
    assert made == {"train.bin": 4, "shard-002/train.bin": 4, "shard-002/dict.txt": 4}


@pytest.mark.parametrize(
    ("change", "named"),
    [(Path.unlink, "is missing"), (lambda path: path.write_text("cut"), "has 3 bytes, not 4")],
    ids=["removed", "cut"],
)
def test_a_damaged_folder_is_not_taken_for_a_finished_one(tmp_path, change, named):
    make(tmp_path / "out")
    change(tmp_path / "out/train.bin")
    with pytest.raises(UserError, match=rf"is damaged \(train\.bin {named}\); remove the folder"):
        folder.is_done(tmp_path / "out", SETTINGS, None)
    assert (tmp_path / "out/prepared.json").exists()
