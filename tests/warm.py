"""A virtual environment whose commands start warm, forked from a process that has imported torch.

A cold `fairseq-train` imports for six seconds, longer than most commands here work, and a script
starts several. So `environment()` makes a folder like that of a virtual environment, in which every
Python command is a small client. It hands its words, variables, folder and open files to a server,
which forks a process that becomes the command.

One server has imported torch; a second one, for fairseq's own commands, fairseq and what its
trainings import. So nothing is there that a command would have to import itself and forgets. The
variable WARM, `torch` or `fairseq`, chooses another server for a command.

What this cannot show: how a command starts cold, how Python ends, and limits of the process. The
tests of scripts/quickstart.sh, of kills and of full disks use the real environment, `sys.prefix`.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

WITH_A_VALUE = ("-W", "-X")
MOST_FILES = 64
LONGEST_FOLDER = 80  # bytes; the path of a socket, which adds 22 to it, has at most 107 in Linux
CLIENT = Path(__file__).with_name("warm_client.py")


@functools.cache
def environment() -> Path:
    """The folder, to use as VENV in the scripts while this process lives."""
    folder = Path(tempfile.mkdtemp(prefix="warm-", dir=short_folder()))
    (folder / "bin").mkdir()
    for path in Path(sys.prefix, "bin").iterdir():
        if is_python(path):
            words = [sys.executable, "-IS", CLIENT, folder, path]
            client = folder / "bin" / path.name
            client.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
            client.chmod(0o755)
    server = subprocess.Popen([sys.executable, "-P", __file__, folder], stdin=subprocess.PIPE)
    atexit.register(close, server, folder)
    return folder


def short_folder() -> str:
    """The folder for temporary files, or /tmp if the path of a socket would be too long there."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= LONGEST_FOLDER else "/tmp"


def close(server: subprocess.Popen[bytes], folder: Path) -> None:
    assert server.stdin is not None
    server.stdin.close()  # with which it ends
    server.wait()
    shutil.rmtree(folder)


def is_python(path: Path) -> bool:
    """Whether a command of the environment is Python, or written in it."""
    if path.name.startswith("python"):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:  # a path with a blank is in the second line: see pip
        return file.read(2) == b"#!" and b"python" in file.readline() + file.readline()


# The servers


def serve(folder: Path) -> dict:
    """Answer clients until the tests end; returns in forked processes only, with the job to run."""
    import torch

    torch.set_num_threads(1)  # no threads of OpenMP here, which would be lost in a fork
    beside = os.fork()
    if beside == 0:
        import fairseq  # noqa: F401
        import torch._dynamo  # as every training does, and takes two seconds for it

    name = "fairseq" if beside == 0 else "torch"
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for commands
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / name))
        listener.listen(16)
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            if 0 in ready:
                os._exit(0)
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return start(connection)


def start(connection: socket.socket) -> dict:
    """Fork once more: this process waits for the other, and tells the client how it ended."""
    length, files, _, _ = socket.recv_fds(connection, 8, MOST_FILES)
    message = b""
    while len(message) < int.from_bytes(length, "big"):
        message += connection.recv(1 << 16)
    job = json.loads(message)
    command = os.fork()
    if command == 0:
        connection.close()
        job["opened"] = files
        return job
    for file in files:
        os.close(file)
    ended = os.pidfd_open(command)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready:  # the client was killed
        os.kill(command, signal.SIGKILL)
    _, status = os.waitpid(command, 0)
    connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def become(job: dict) -> None:
    """Be the command from now on."""
    highest = max(job["files"] + job["opened"]) + 1
    spare = [os.dup2(file, highest + i) for i, file in enumerate(job["opened"])]
    os.closerange(0, highest)
    for file, number in zip(spare, job["files"], strict=True):
        os.dup2(file, number)
    os.closerange(highest, highest + len(spare))
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(job["variables"])
    os.chdir(job["folder"])
    sys.executable = job["python"]

    import logging

    import torch

    logging.getLogger().handlers.clear()  # importing fairseq made one; commands make their own
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))


def run(command: Path, words: list[str]) -> None:
    """What `python ...`, or a command that is written in Python, does."""
    if not command.name.startswith("python"):
        words = ["-P", str(command), *words]
    options = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word in ("-c", "-m"):
            break
        options.append(word)
        if word in WITH_A_VALUE:
            options.append(next(rest))
    safe = any(option in ("-P", "-I") for option in options)
    kind = word if word in ("-c", "-m") else ""
    what = next(rest) if kind else word
    sys.argv = [word, *rest]
    if not safe:
        first = {"-c": "", "-m": os.getcwd(), "": os.path.dirname(os.path.realpath(what))}
        sys.path.insert(0, first[kind])
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    # not `run_path`, which deletes what a program has defined before Python ends
    module = sys.modules["__main__"] = type(sys)("__main__")
    if kind == "-c":
        code, file = what.encode(), "<string>"
    else:
        code, file = Path(what).read_bytes(), what
        module.__file__ = file
    exec(compile(code, file, "exec"), vars(module))


def end(program: Callable[[], None]) -> None:
    """Run it, and end as Python does, but without taking all modules apart.

    Every object that is touched makes a copy of its page here: that takes most of a second.
    """
    status = 0
    try:
        program()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    # torch._dynamo collects garbage at exit, and a data loader then waits five seconds for a worker
    gc.disable()
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    job = serve(Path(sys.argv[1]))
    become(job)
    end(functools.partial(run, Path(job["command"]), job["words"]))
