"""The client of tests/warm.py: it lets a server there run a command.

It starts a thousand times in the tests, so it imports little, and is no part of warm.py, which
Python would compile each time.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time

PATIENCE = 120  # seconds until a server answers, which imports before
# Parts of the command line of a Python that imports fairseq.
FAIRSEQ = ("fairseq_cli.", "gains.py", "experiments.recipes", "experiments.score",
           "experiments.perplexity", "experiments.distil", "corpora.prepare'")  # fmt: skip
# Commands of `fairseq-wsum` that import fairseq.
READING = {"answer", "negation", "parse", "prepare", "weights"}


def ask(folder: str, command: str, words: list[str]) -> None:
    """Let a server run the command, and exit with its status."""
    name = "fairseq" if imports_fairseq(os.path.basename(command), words) else "torch"
    server = os.path.join(folder, os.environ.get("WARM", name))
    job = dict(command=command, words=words, variables=dict(os.environ), folder=os.getcwd())
    job["python"] = os.path.join(folder, "bin", "python")
    files = [int(number) for number in os.listdir("/proc/self/fd")]
    files = [number for number in files if is_open(number)]
    with socket.socket(socket.AF_UNIX) as connection:
        deadline = time.monotonic() + PATIENCE
        while connection.connect_ex(server) != 0:  # the server is still importing
            if time.monotonic() > deadline:
                sys.exit(f"error: the server {server} of tests/warm.py does not answer")
            time.sleep(0.05)
        message = json.dumps(job | {"files": files}).encode()
        socket.send_fds(connection, [len(message).to_bytes(8, "big")], files)
        connection.sendall(message)
        status = int(connection.recv(16) or -signal.SIGKILL)
    if status < 0:
        if -status != signal.SIGKILL:  # which cannot be handled
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def imports_fairseq(command: str, words: list[str]) -> bool:
    """Whether the command always imports fairseq."""
    if command == "fairseq-wsum":
        return not READING.isdisjoint(words[:1])
    return command.startswith("fairseq-") or any(name in word for word in words for name in FAIRSEQ)


if __name__ == "__main__":
    ask(sys.argv[1], sys.argv[2], sys.argv[3:])
