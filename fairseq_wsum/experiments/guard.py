"""End the programs of recipes when the process that started them ends, whichever way that is.

It prints the number of a process group, which those programs join. Its standard input is a pipe
from that process, at its end when the process ends or closes it; then the group is stopped.
This file imports little, as it starts with every study.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time

PATIENCE = 20  # seconds after SIGTERM, before SIGKILL


def main() -> None:
    """Hold the group until the end of standard input."""
    holder = subprocess.Popen(["cat"], process_group=0)  # a group needs a member
    print(holder.pid, flush=True)
    sys.stdin.read()
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(ProcessLookupError):  # the group has ended
        os.killpg(holder.pid, signal.SIGTERM)
        holder.wait()
        while time.monotonic() < deadline:
            os.killpg(holder.pid, 0)
            time.sleep(0.05)
        os.killpg(holder.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
