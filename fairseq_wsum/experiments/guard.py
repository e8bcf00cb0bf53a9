"""Run a command that ends with the process that started it, whichever way that ends.

    python -I guard.py COMMAND...

Standard input is a pipe from that process. It is at its end when the process ends or closes it, and
then the command is stopped. What the command has started, and left running, is stopped in any case.
The exit status is the command's. This file imports little, as it starts with every run.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

PATIENCE = 20  # seconds after SIGTERM, before SIGKILL


def main() -> int:
    """Run the command line, and return its exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:  # it cannot be executed
        print(error, flush=True)
        return 127
    threading.Thread(target=_wait_for_end_of_input, args=[process], daemon=True).start()
    try:
        return process.wait()
    finally:
        _stop(process)


def _wait_for_end_of_input(process: subprocess.Popen) -> None:
    while os.read(0, 1):
        pass
    _stop(process)


def _stop(process: subprocess.Popen) -> None:
    """End the process group of the command."""
    with contextlib.suppress(ProcessLookupError):  # the group has ended
        os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            process.poll()  # a process that was not waited for belongs to the group
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main() & 0xFF)  # of a signal, too, it is not 0
