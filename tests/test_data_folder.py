"""Downloads and output folders of the scripts that prepare data."""

import errno
import fcntl
import http.server
import json
import subprocess
import threading
from pathlib import Path

import pytest

SETTINGS = {"corpus": "ours", "script": "prepare_ours.sh", "own": True}


@pytest.fixture
def folders(load):
    return load("data_folder")


@pytest.fixture
def user_error(load):
    return load("common").UserError


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
def test_downloads_are_kept_in_the_users_cache(load, monkeypatch, variables, expected):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    cache_folder = load("corpus_files").cache_folder
    monkeypatch.delenv("PTB_URL", raising=False)
    assert cache_folder(None, "ptb", "PTB_URL") == Path(expected)
    assert cache_folder(Path("/mine"), "ptb", "PTB_URL") == Path("/mine")


def test_every_address_has_a_cache_of_its_own(load, monkeypatch):
    cache_folder = load("corpus_files").cache_folder
    folders = []
    for address in ("file:///a", "file:///a/", "file:///b"):
        monkeypatch.setenv("PTB_URL", address)
        folders.append(cache_folder(Path("/mine"), "ptb", "PTB_URL"))
    assert folders[0] == folders[1] != folders[2]
    assert {folder.parent for folder in folders} == {Path("/mine")}


def test_an_address_without_a_scheme_is_named(load, user_error, tmp_path):
    files = load("corpus_files")
    with pytest.raises(user_error, match=r"cannot download /data/mirror/file \(unknown url .*cure"):
        files.download("/data/mirror/file", tmp_path / "cache/file", "cure")


def test_a_partial_download_is_not_kept(load, user_error, cut_off, tmp_path):
    path, files = tmp_path / "cache/file", load("corpus_files")
    with pytest.raises(user_error, match=r"the connection ended after 500 of 1,000 bytes\); cure"):
        files.download(f"{cut_off}/file", path, "cure")
    assert not list(path.parent.iterdir())


def test_a_download_replaces_the_partial_file_of_a_killed_run(load, tmp_path):
    site, path = tmp_path / "site", tmp_path / "cache/file"
    site.write_bytes(b"whole")
    path.parent.mkdir()
    (path.parent / ".file.partial").write_bytes(b"half of another")
    load("corpus_files").download(site.as_uri(), path, "cure")
    assert [(p.name, p.read_bytes()) for p in path.parent.iterdir()] == [("file", b"whole")]


def test_two_runs_never_download_the_same_file_at_once(load, user_error, tmp_path):
    path = tmp_path / "file"
    with (tmp_path / ".file.partial").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(user_error, match=f"another run is downloading {path}; wait"):
            load("corpus_files").download((tmp_path / "site").as_uri(), path, "cure")
        assert (tmp_path / ".file.partial").exists()


def make(folders, out, text="text"):
    with folders.new_folder(out, SETTINGS) as partial:
        (partial / "train.bin").write_text(text)
        folders.write_record(partial, {**SETTINGS, "sha256": {}})


def test_only_one_of_two_concurrent_runs_makes_the_folder(folders, user_error, tmp_path):
    out = tmp_path / "out"
    with (
        folders.only_run(out),
        pytest.raises(user_error, match=f"another run is writing to {tmp_path}/.out.partial; wait"),
    ):
        make(folders, out)
    assert not list(tmp_path.iterdir())


def test_a_folder_made_by_a_concurrent_run_is_kept(folders, user_error, tmp_path):
    # Where the file system has no locks, or another host makes the folder.
    out = tmp_path / "out"
    other = tmp_path / "other"
    make(folders, other, "the other")
    with folders.new_folder(out, SETTINGS):
        other.rename(out)
    assert (out / "train.bin").read_text() == "the other"
    with (
        pytest.raises(user_error, match="own is True there, False now"),
        folders.new_folder(out, {**SETTINGS, "own": False}),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_partial_folder_of_a_killed_run_is_cleared(folders, tmp_path):
    out, partial = tmp_path / "out", tmp_path / ".out.partial"
    (partial / "text").mkdir(parents=True)
    for name in (folders.LOCK, "train.bin", "stale.bin", "text/train"):
        (partial / name).write_text("half")
    make(folders, out)
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
def test_foreign_files_are_never_touched(folders, user_error, tmp_path, occupy):
    occupy(tmp_path / ".out.partial")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(user_error, match=r"\.out\.partial is needed .* move it away, or give"):
        make(folders, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_another_script_does_not_clear_an_unfinished_run(folders, user_error, tmp_path):
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    for name in (folders.LOCK, folders.BEGUN, "dict.txt"):
        (partial / name).write_text("{}")
    with pytest.raises(user_error, match="holds an unfinished run of another script"):
        make(folders, tmp_path / "out")
    assert len(list(partial.iterdir())) == 3


def test_an_unfinished_folder_is_kept_for_runs_with_the_same_options(folders, user_error, tmp_path):
    out, partial = tmp_path / "out", tmp_path / ".out.partial"
    with pytest.raises(ZeroDivisionError), folders.only_run(out):
        folders.begin(partial, SETTINGS)
        (partial / "part").write_text("finished")
        raise ZeroDivisionError
    with (
        pytest.raises(user_error, match=r"was begun with other options \(own is True there, False"),
        folders.only_run(out),
    ):
        folders.begin(partial, {**SETTINGS, "own": False})
    with folders.only_run(out):
        folders.begin(partial, SETTINGS)
        assert (partial / "part").read_text() == "finished"
        folders.finish(partial, out, SETTINGS)
    assert [path.name for path in out.iterdir()] == ["part"]


def test_an_option_that_an_older_folder_lacks_has_its_default(folders, user_error, tmp_path):
    folders.write_record(tmp_path, {**SETTINGS, "sha256": {}})
    assert folders.record_of(tmp_path, {**SETTINGS, "character_coverage": 1.0})
    with pytest.raises(user_error, match=r"character_coverage is 1\.0 there, 0\.99 now"):
        folders.record_of(tmp_path, {**SETTINGS, "character_coverage": 0.99})


def test_a_program_started_by_a_killed_run_keeps_the_lock(load, user_error, tmp_path):
    path, locked = tmp_path / "lock", load("common").locked
    with locked(path, "busy"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with pytest.raises(user_error, match="busy"), locked(path, "busy"):
            pass
    finally:
        child.kill()
        child.wait()
    with locked(path, "busy"):
        pass


def test_a_file_system_without_locks_is_named(load, tmp_path, monkeypatch, capsys):
    common = load("common")

    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(common.fcntl, "flock", refuse)
    with common.locked(tmp_path / "lock", "busy"):
        pass
    assert f"{tmp_path} is on a file system without locks" in capsys.readouterr().out


def test_a_lock_on_a_removed_file_is_rejected(load, user_error, tmp_path, monkeypatch):
    common, path = load("common"), tmp_path / "lock"
    # The other run ends between our opening the file and our locking it.
    monkeypatch.setattr(common.fcntl, "flock", lambda *_: path.unlink())
    with pytest.raises(user_error, match="just finished"), common.locked(path, "busy"):
        pass


@pytest.mark.parametrize(
    ("record", "named"),
    [
        (b"", "cannot read"),
        (b'{"corpus": "ours", "scr', "cannot read"),
        (b"\xff", "cannot read"),
        (b"[" * 100_000, "cannot read"),
        (b"[]", "is not a JSON object"),
        (b'"ours"', "is not a JSON object"),
        (b'{"script": "x"}', "lacks 'corpus'"),
        (b'{"corpus": 1, "script": 1, "made": [], "sha256": {}}', r"'made' is \[\]"),
        (b'{"corpus": 1, "script": 1, "made": {}, "sha256": {"x": 1}}', "'sha256' is {'x': 1}"),
    ],
    ids=["empty", "cut", "no text", "deep", "list", "string", "no keys", "no object", "no sum"],
)
def test_a_damaged_record_is_named(folders, user_error, tmp_path, record, named):
    (tmp_path / "prepared.json").write_bytes(record)
    with pytest.raises(user_error, match=f"{named}.*; prepare the data again, in a new folder"):
        folders.record_of(tmp_path, SETTINGS)


def test_a_record_must_have_the_needed_keys(folders, user_error, tmp_path):
    with pytest.raises(user_error, match=r"cannot read .*prepared\.json"):
        folders.read_record(tmp_path)
    folders.write_record(tmp_path, {"text": "raw"})
    assert folders.read_record(tmp_path, ["text"]) == {"text": "raw", "made": {}}
    with pytest.raises(user_error, match=r"prepared\.json is damaged.* it lacks 'units'"):
        folders.read_record(tmp_path, ["text", "units"])


def test_the_record_lists_the_files(folders, tmp_path):
    (tmp_path / "shard-002").mkdir()
    for name in ("train.bin", "preprocess.log", "shard-002/train.bin", folders.LOCK):
        (tmp_path / name).write_text("four")
    (tmp_path / "shard-002" / "dict.txt").symlink_to("../train.bin")
    folders.write_record(tmp_path, SETTINGS)
    made = json.loads((tmp_path / "prepared.json").read_text())["made"]
    assert made == {"train.bin": 4, "shard-002/train.bin": 4, "shard-002/dict.txt": 4}
