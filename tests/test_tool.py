"""`fairseq-wsum`: output, files and rejected input."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import shell
from commands import run

from fairseq_wsum import CELLS, __version__, cli, kernels, machine
from fairseq_wsum.recurrence import triton


def test_info_names_the_backend_of_each_type_and_why_not_the_others(capsys) -> None:
    cli.main(["info"])
    printed = capsys.readouterr().out
    missing = kernels.why_missing()
    for name in CELLS:
        torchs = name in ("lstm", "no-gates", "gru")
        fast = "cpp" if not missing else "torch" if torchs else "reference"
        assert f"| {name} | {fast} | {fast} | reference | reference |" in printed
    assert f"- not cpp: {missing or 'it computes in float32 and bfloat16'}" in printed
    assert "- not torch: it has torch's kernels for lstm, no-gates and gru\n" in printed
    assert "- not triton: it runs on GPUs, and the layer is on cpu" in printed


def test_a_triton_that_cannot_be_imported_is_a_reason(monkeypatch) -> None:
    def fail(name):
        raise ImportError("no libcuda")

    monkeypatch.setattr(triton, "find_spec", lambda name: True)
    monkeypatch.setattr(triton, "import_module", fail)
    assert triton.why_missing() == (
        "triton cannot be imported (ImportError: no libcuda): install it again"
    )


@pytest.mark.parametrize(
    ("arguments", "missing", "message"),
    [
        ("options wsum_lstm", "fairseq", "import of fairseq halted"),
        ("weights a.pt --sentence a --arrays {out}/a.npz", "fairseq", "import of fairseq halted"),
        ("study {out}/study.yaml", "submitit", "import of submitit halted"),
        ("report {out}/study.yaml", "yaml", "import of yaml halted"),
        ("report {out}/study.yaml", "scipy", "No module named 'scipy"),
        ("score", "sacremoses", "import of sacremoses halted"),
        ("recipe opennmt --dry-run", "sacremoses", "import of sacremoses halted"),
    ],
    ids=["options", "weights", "study", "report", "report without scipy", "score", "recipe"],
)
def test_a_command_names_the_package_that_it_lacks(arguments, missing, message, tmp_path) -> None:
    words = arguments.format(out=tmp_path).split()
    code = f"import sys; from fairseq_wsum import cli; sys.modules[{missing!r}] = None; "
    printed = run("python", "-c", f"{code}cli.main({words})", check=False)
    assert printed.startswith(f"error: {message}") and missing in printed
    assert "run scripts/setup.sh in a clone" in printed
    assert printed.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_version_has_the_commit_of_a_checkout_of_this_package_only(
    tmp_path, monkeypatch
) -> None:
    author = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
    committer = {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@b"}

    def git(*command: str) -> str:
        return shell.run("git", "-C", tmp_path, *command, **author, **committer).strip()

    file = tmp_path / "fairseq_wsum" / "machine.py"
    file.parent.mkdir()
    file.write_text("# the package\n")
    (tmp_path / "README").touch()
    monkeypatch.setattr(machine, "__file__", str(file))
    git("init")
    git("add", "README")
    git("commit", "-m", "a project that has the package installed in its folder")
    assert machine.version() == __version__
    git("add", "fairseq_wsum")
    git("commit", "-m", "the package")
    commit = git("rev-parse", "--short", "HEAD")
    assert machine.version() == f"{__version__} {commit}"
    file.write_text("# changed\n")
    assert machine.version() == f"{__version__} {commit}-dirty"


def test_a_reader_that_stops_early_gets_no_message() -> None:
    command = f"{shlex.quote(sys.executable)} -m fairseq_wsum.cli info | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert not done.stderr


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(SystemExit, match="no architecture wsum_gru: those of this package are ws"):
        cli.main(["options", "wsum_gru"])


def test_the_help_of_every_option_can_be_printed(capsys) -> None:
    pytest.importorskip("fairseq")
    cli.main(["options", "wsum_lstm_multi30k"])
    printed = " ".join(capsys.readouterr().out.split())
    assert re.search(r"--encoder-cell \w+ cell of the encoder \(default: --cell\) -", printed)
    assert "--init-range INIT_RANGE draw all parameters uniformly from [-R, R], except" in (printed)
    assert re.search(
        r"--encoder-embed-dim \w+ encoder embedding dimension \(default: 384\)", printed
    )
