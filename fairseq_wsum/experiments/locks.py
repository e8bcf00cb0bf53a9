"""Locks that keep two runs out of one folder."""

from __future__ import annotations

import fcntl
import math
import os
import platform
import time
from pathlib import Path
from typing import IO

from .program import UserError, say


def lock(path: Path, patience: float = math.inf, waiting: str = "") -> IO[str]:
    """Lock a file for this process and those that it starts, which inherit the lock.

    Closing the file ends the lock. While another process holds it, `waiting` is said, and after
    `patience` seconds there is a TimeoutError.
    """
    file = path.open("a")
    os.set_inheritable(file.fileno(), True)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() >= end:
                file.close()
                raise TimeoutError from None
        except OSError:
            say(f"{path.parent} is on a file system without locks: do not start a second run there")
            return file
        if waiting:
            say(waiting)
            waiting = ""
        time.sleep(0.2)


def hold(folder: Path, name: str, option: str) -> IO[str]:
    """`lock` the file `name` in a folder, which `option` names for the error.

    The processes of a killed training hold it until they end, within seconds, for which it waits.
    """
    path = folder / name
    try:
        file = lock(path, 20, f"waiting for another run in {folder} to end")
    except TimeoutError:
        raise UserError(
            f"{option} {folder}: another run is writing there ({path.read_text().strip()}); "
            "wait until it ends, or give a new folder"
        ) from None
    file.truncate(0)
    print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
    return file
