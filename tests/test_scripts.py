"""The shell scripts, run on a tiny corpus in the environment of this Python."""

import os
import signal
import subprocess
import sys
import time
import venv

import pytest
from commands import ROOT
from shell import SCRIPTS, environment, fails, succeeds, write_program

SHARED = {"common.sh", "environment.sh"}  # sourced by the others
ALL_SCRIPTS = sorted(
    path
    for folder in ("scripts", "examples")
    for path in (ROOT / folder).rglob("*.sh")
    if path.name not in SHARED
)


@pytest.mark.parametrize("script", ALL_SCRIPTS, ids=lambda path: path.name)
def test_every_script_explains_itself(script):
    text = succeeds(script, "--help")
    assert text.startswith("usage: ") and "\nexample" in text
    if script.name.startswith("prepare_"):
        assert "scripts/train.sh " in text


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


def test_setup_never_creates_an_environment_in_a_folder_with_other_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    message = fails("setup.sh", VENV=str(tmp_path))
    assert f"VENV={tmp_path} is a folder with other files in it; give a new folder" in message
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_setup_says_that_an_environment_was_moved(tmp_path):
    old, new = tmp_path / "old place", tmp_path / "new place"
    venv.create(old)
    old.rename(new)
    message = fails("setup.sh", VENV=str(new))
    assert f"the environment {new} was made as {old}, and its programs work there only" in message


def test_setup_goes_on_where_it_was_stopped_before_there_was_an_environment(tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "setup.log").touch()
    python = tmp_path / "python"
    write_program(python, 'case "$*" in *version_info*) echo 3.12 ;; *) exit 1 ;; esac')
    message = fails("setup.sh", VENV=str(tmp_path / "env"), PYTHON=str(python))
    assert f"{python} cannot make virtual environments" in message


def test_setup_completes_what_is_missing_and_then_does_nothing(tmp_path):
    """With a stand-in for Python that has every package, and records what pip installs."""
    write_program(
        tmp_path / "bin" / "python",
        f"""case "$*" in
    *version_info*) echo 3.12 ;;
    *'print(version("torch"))'*) echo 2.13.0 ;;
    *'pip install'*) echo "$@" >>{tmp_path}/installed ;;
esac""",
    )
    (tmp_path / "pyvenv.cfg").touch()
    installed = tmp_path / "installed"

    def installs(*options):
        installed.unlink(missing_ok=True)
        said = succeeds("setup.sh", *options, VENV=str(tmp_path))
        assert ("is ready" in said) is not installed.exists()
        return installed.read_text() if installed.exists() else ""

    assert "[fairseq,plot,study]" in installs()
    assert "torch==2.13.0" in (tmp_path / "setup-constraints.txt").read_text()
    assert not installs()
    assert "[dev]" in installs("--dev")
    assert not installs() and not installs("--dev")  # which has all of it
    stamp = tmp_path / ".fairseq-wsum-setup"
    stamp.write_text(stamp.read_text().replace("dev", "dev 1"))  # of other sources
    assert installs()


def test_the_locale_does_not_change_the_encoding_of_texts():
    program = "import sys; print(sys.flags.utf8_mode, open('/dev/null').encoding)"
    check = 'source "$1"; use_environment; "$PYTHON" -c "$2"'
    done = subprocess.run(
        ["bash", "-c", check, "bash", SCRIPTS / "common.sh", program],
        env=environment(VENV=sys.prefix, LC_ALL="POSIX", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0"),
        capture_output=True,
        text=True,
    )
    assert done.stdout.split()[0] == "1" and done.stdout.split()[1].lower() == "utf-8"


def test_an_interrupt_ends_the_loop_that_a_script_is_in():
    script = """set -eu; source "$0"; echo started; run_job sleep 60"""
    loop = 'for k in 1 2 3; do bash -c "$1" "$0"; done'
    shell = subprocess.Popen(
        ["bash", "-c", loop, SCRIPTS / "common.sh", script],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background job, and thus its pytest, ignores it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert shell.stdout.readline() == "started\n"
    time.sleep(0.5)  # until the long command runs
    os.killpg(shell.pid, signal.SIGINT)
    assert shell.communicate(timeout=30)[0] == "" and shell.returncode == -signal.SIGINT


def test_a_signal_that_ends_a_script_ends_its_long_command(tmp_path):
    check = 'source "$1"; run_job bash -c "echo \\$\\$ >\\"$2/started\\"; exec sleep 60"; echo no'
    script = subprocess.Popen(
        ["bash", "-c", check, "bash", SCRIPTS / "common.sh", tmp_path],
        stdout=subprocess.PIPE,
        text=True,
    )
    started = tmp_path / "started"
    deadline = time.monotonic() + 30
    while not (started.exists() and started.read_text().strip()):
        assert time.monotonic() < deadline and script.poll() is None
        time.sleep(0.01)
    script.terminate()
    assert script.communicate(timeout=30)[0] == "" and script.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


@pytest.mark.parametrize(("command", "status"), [("true", "0"), ("exit 7", "7")])
def test_a_long_command_gives_its_status(command, status):
    check = 'source "$1"; status=0; run_job bash -c "$2" || status=$?; echo $status'
    command = ["bash", "-c", check, "bash", SCRIPTS / "common.sh", command]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == status


def test_a_missing_package_is_named():
    check = 'source "$1"; PYTHON="$2"; check_modules json no_such_one nor_this'
    done = subprocess.run(
        ["bash", "-c", check, "bash", SCRIPTS / "common.sh", sys.executable],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "has no no_such_one nor_this: run scripts/setup.sh, or pip install" in done.stderr


# quickstart.sh


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--cell", "no"], "--cell: invalid choice: 'no' (choose from 'lstm', 'no-srnn'"),
        (["--epochs=0"], "--epochs: '0' is not a positive whole number"),
        (["--quick"], "--quick"),
    ],
    ids=" ".join,
)
def test_the_quickstart_names_a_wrong_option(options, named):
    assert named in fails("quickstart.sh", *options)
