"""Training on two machines, simulated by two network namespaces that share the files."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import BIN, assert_same_weights, needs_fairseq
from shell import SCRIPTS, own_variables, succeeds
from translation_corpus import TINY

pytestmark = [
    pytest.mark.slow,
    needs_fairseq,
    pytest.mark.skipif(shutil.which("ip") is None, reason="this machine has no `ip` (iproute2)"),
    pytest.mark.skipif(os.getuid() != 0, reason="only root can make network namespaces"),
]

INTERFACE = "wsum0"  # on both machines
ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 29555  # free, as the namespaces are new
# 6 updates an epoch with two processes. A checkpoint every 7 is in the middle of most epochs.
# Dropout shows whether each process draws its random numbers as before.
EPOCHS = 20
OPTIONS = f"{TINY} --batch-size 5 --dropout 0.3 --max-epoch {EPOCHS}"
OPTIONS += " --disable-validation --save-interval 100 --save-interval-updates 7"
START, STOP = 120, 60  # seconds; measured: 14 for a whole training, 6 to notice a dead peer


class Machines:
    """Two network namespaces joined by a cable; each runs torchrun with one process."""

    def __init__(self, names, logs):
        self.names = names
        self.logs = [logs / f"machine{rank}.log" for rank in (0, 1)]

    def start(self, data, save_dir):
        """torchrun on both."""
        environment = {**own_variables(), "OMP_NUM_THREADS": "1", "VENV": sys.prefix}
        environment["GLOO_SOCKET_IFNAME"] = INTERFACE
        return [self._start(rank, data, save_dir, environment) for rank in (0, 1)]

    def _start(self, rank, data, save_dir, environment):
        command = ["ip", "netns", "exec", self.names[rank], BIN / "torchrun"]
        command += ["--nnodes", "2", "--node_rank", str(rank), "--nproc_per_node", "1"]
        command += ["--master_addr", ADDRESSES[0], "--master_port", str(PORT), "--no-python"]
        command += [SCRIPTS / "train.sh", data, "--save-dir", save_dir, "--gpus", "0"]
        with self.logs[rank].open("w") as log:
            return subprocess.Popen(
                [*command, *OPTIONS.split()], env=environment, stdout=log, stderr=log
            )

    def log(self, rank):
        return self.logs[rank].read_text()

    def kill(self, rank):
        """All processes of one machine. (torchrun starts each of its own in a new session.)"""
        for _ in range(20):
            pids = _ip("netns", "pids", self.names[rank]).split()
            if not pids:
                return
            subprocess.run(["kill", "-9", *pids], capture_output=True)  # some may have ended
            time.sleep(0.1)


def _ip(*arguments):
    return subprocess.run(
        ["ip", *arguments], check=True, capture_output=True, text=True, timeout=20
    ).stdout


def _join(names):
    for name in names:
        _ip("netns", "add", name)
    peer = ("peer", "name", INTERFACE, "netns", names[1])
    _ip("link", "add", INTERFACE, "netns", names[0], "type", "veth", *peer)
    for name, address in zip(names, ADDRESSES, strict=True):
        _ip("-n", name, "address", "add", f"{address}/24", "dev", INTERFACE)
        for interface in ("lo", INTERFACE):
            _ip("-n", name, "link", "set", interface, "up")


@pytest.fixture
def machines(tmp_path):
    names = [f"wsum-{os.getpid()}-{rank}" for rank in (0, 1)]
    both = Machines(names, tmp_path)
    try:
        try:
            _join(names)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        yield both
    finally:
        made = [rank for rank, name in enumerate(names) if Path("/run/netns", name).exists()]
        for rank in made:
            both.kill(rank)
            _ip("netns", "delete", names[rank])  # and the cable with it


def test_training_resumes_to_the_weights_of_one_machine_after_a_machine_dies(
    machines, prepared, tmp_path
):
    expected, folder = tmp_path / "one machine", tmp_path / "run"
    options = ["--save-dir", expected, "--cpu-processes", 2, *OPTIONS.split()]
    succeeds("train.sh", prepared, *options, OMP_NUM_THREADS="1")
    first, _ = machines.start(prepared, folder)
    deadline = time.monotonic() + START
    while not list(folder.glob("checkpoint_2_*.pt")):
        assert time.monotonic() < deadline and first.poll() is None, machines.log(0)
        time.sleep(0.02)
    machines.kill(1)
    assert first.wait(STOP) != 0
    assert "Connection closed by peer" in machines.log(0) or "reset by peer" in machines.log(0)
    assert "done training" not in machines.log(0)

    for process in machines.start(prepared, folder):
        assert process.wait(START) == 0, machines.log(0) + machines.log(1)
    assert "continuing from" in machines.log(0)
    assert "rank 0" in machines.log(0) and "rank 1" in machines.log(1)
    assert_same_weights(folder, expected)
