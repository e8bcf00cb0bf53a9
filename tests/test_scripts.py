"""The shell scripts, run on a tiny corpus in the environment of this Python."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from commands import ROOT
from shell import SCRIPTS, completed, fails, succeeds, write_program

ALL_SCRIPTS = sorted(
    path
    for folder in ("scripts", "examples")
    for path in (ROOT / folder).rglob("*.sh")
    if path.name != "common.sh"  # which the others source
)


@pytest.mark.parametrize("script", ALL_SCRIPTS, ids=lambda path: path.name)
def test_every_script_explains_itself(script):
    corpus = ["text"] if script.name == "prepare.sh" else []
    text = succeeds(script, *corpus, "--help")
    assert text.startswith("usage: ") and "\nexample" in text


@pytest.mark.parametrize("script", ["scripts/train.sh", "examples/ablation_study/captions.sh"])
def test_cdpath_does_not_change_where_the_scripts_are(script, tmp_path):
    # cd prints the folder that it finds through CDPATH, and takes another one of the same name
    for name in ("scripts", "examples/quickstart"):
        (tmp_path / name).mkdir(parents=True)
    command = ["bash", "-c", f"source {script}", script, "--help"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "CDPATH": f"{tmp_path}:."},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# setup.sh


def test_setup_rejects_an_unknown_option():
    assert "--devel" in fails("setup.sh", "--devel")


def test_setup_says_that_an_environment_was_moved(tmp_path):
    old, new = tmp_path / "old place", tmp_path / "new place"
    venv.create(old)
    old.rename(new)
    message = fails("setup.sh", VENV=str(new))
    assert f"the environment {new} was made as {old}, and its programs work there only" in message


def test_setup_completes_what_is_missing_and_then_does_nothing(tmp_path):
    """With a stand-in for Python that has every package, and records what pip installs."""
    write_program(
        tmp_path / "bin" / "python",
        f"""case "$*" in
    *'print(version("torch"))'*) echo 2.13.0 ;;
    *'pip install'*) echo "$@" >>{tmp_path}/installed ;;
esac""",
    )
    for name in ("pyvenv.cfg", "bin/activate"):
        (tmp_path / name).touch()
    installed = tmp_path / "installed"

    def installs(*options):
        installed.unlink(missing_ok=True)
        said = succeeds("setup.sh", *options, VENV=str(tmp_path))
        assert ("is ready" in said) is not installed.exists()
        return installed.read_text() if installed.exists() else ""

    assert "[text,study]" in installs()  # it has a fairseq
    assert "torch==2.13.0" in (tmp_path / "setup-constraints.txt").read_text()
    assert not installs()
    assert "[text,dev]" in installs("--dev")
    assert not installs() and not installs("--dev")  # which has all of it
    stamp = tmp_path / ".fairseq-wsum-setup"
    stamp.write_text(stamp.read_text().replace("dev", "dev 1"))  # of other sources
    assert installs()


def test_the_locale_does_not_change_the_encoding_of_texts():
    program = "import sys; print(sys.flags.utf8_mode, open('/dev/null').encoding)"
    check = 'source "$1"; use_environment; "$PYTHON" -c "$2"'
    posix = dict(LC_ALL="POSIX", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    command = ["bash", "-c", check, "bash", SCRIPTS / "common.sh", program]
    said = completed(*command, VENV=sys.prefix, **posix).stdout
    assert said.lower().split() == ["1", "utf-8"]


# quickstart.sh


@pytest.mark.slow
def test_the_quickstart_trains_and_scores_and_its_second_run_is_quick(tmp_path) -> None:
    pytest.importorskip("fairseq")
    clone = tmp_path / "a clone"
    for folder in ("fairseq_wsum", "scripts", "examples"):
        shutil.copytree(ROOT / folder, clone / folder)
    # without VENV and .venv the environment on PATH is used and not set up again
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if k != "VENV"} | {"PATH": path}

    def quickstart() -> str:
        command = [str(clone / "scripts" / "quickstart.sh"), "--epochs", "2"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout + done.stderr

    first, second = quickstart(), quickstart()
    for output in (first, second):
        assert float(re.search(r"  BLEU +([\d.]+)", output)[1]) > 40
        assert "nrefs:1|case:mixed|eff:no|tok:none" in output
    assert "epoch 2 done" in first
    assert "epoch 2 done" not in second and "already trained" in second
