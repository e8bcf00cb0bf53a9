"""What the scripts that prepare data share: downloads, and the folder that they make."""

import http.server
import json
import threading

import pytest


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
