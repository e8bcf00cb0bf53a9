"""Freed memory that is kept. It is kept for good, so each test has a process of its own."""

import dataclasses
import os
import subprocess
import sys

import pytest
import torch

from fairseq_wsum import memory

needs_library = pytest.mark.skipif(memory.why_not() is not None, reason=f"{memory.why_not()}")


def run(program: str, **variables: str) -> str:
    """What it printed."""
    head = "import torch\nfrom fairseq_wsum import memory\n"
    command = [sys.executable, "-P", "-c", head + program]
    environment = {**os.environ, "FAIRSEQ_WSUM_KEEP_MEMORY": "1", **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_library
def test_the_next_tensor_has_the_memory_of_the_last() -> None:
    run("""
before = torch.ones(1_000_000)
memory.keep()
memory.keep()
first = torch.ones(2_000_000)
assert memory.count().used >= first.nbytes and memory.count().kept == 0
place = first.data_ptr()
del first
assert memory.count().used == 0 and memory.count().kept == memory.count().peak > 0
second = torch.zeros(1_990_000)  # not so different that it would waste much
assert second.data_ptr() == place and memory.count().kept == 0
assert torch.empty(1_000_000).data_ptr() != place
del before  # nobody's business but torch's
small = torch.ones(10)
del small
assert memory.count().used >= second.nbytes
""")


@needs_library
def test_tensors_keep_to_themselves_and_all_is_half_as_large_again_at_most() -> None:
    run("""
import random
import threading
memory.keep()
failures = []

def work(number):
    numbers = random.Random(number)
    live = {}
    for step in range(3000):
        if live and numbers.random() < 0.5:
            name = numbers.choice(list(live))
            if not (live.pop(name) == name).all():
                failures.append(f"tensor {name} was overwritten")
        else:
            name = 10_000 * number + step
            live[name] = torch.full((int(2 ** numbers.uniform(8, 20)),), name, dtype=torch.int32)
        count = memory.count()
        if count.used + count.kept > 1.5 * count.peak:
            failures.append(f"{count}")

threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures[:3]
assert memory.count().used == 0 < memory.count().kept
""")


@needs_library
def test_what_is_kept_goes_before_there_is_too_little() -> None:
    run("""
memory.keep()
last = torch.ones(5_000_000)
del last
assert memory.count().kept
for bytes in (1 << 62, -1):
    try:
        torch.empty(0).untyped_storage().resize_(bytes)
    except RuntimeError as error:
        print(error)
    else:
        raise AssertionError("so much there is not")
assert memory.count().kept == 0 and memory.count().used == 0
assert torch.ones(5_000_000).sum() == 5_000_000
""")


@needs_library
def test_a_process_that_forks_goes_on_in_both() -> None:
    run("""
import os
torch.set_num_threads(1)  # OpenMP cannot go on in a fork
memory.keep()
ones = torch.ones(1_000_000)
freed = torch.ones(2_000_000)
del freed
assert memory.count().kept
child = os.fork()
assert not memory.count().kept  # or every page of it would soon be there twice
twos = torch.full((1_000_000,), 2.0)
if child == 0:
    os._exit(int(not (ones + twos == 3).all()))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert (ones + twos == 3).all()
""")


@needs_library
def test_the_profiler_sees_what_tensors_take() -> None:
    run("""
def taken():
    with torch.profiler.profile(profile_memory=True) as profiler:
        first = torch.ones(3, 1_000_000)
        second = first.clone()
        del first
        third = second + 1
    return [event.self_cpu_memory_usage for event in profiler.events() if "aten" in event.name]

expected = taken()
memory.keep()
assert taken() == taken() == expected and 12_000_000 in expected
""")


@needs_library
def test_a_layer_alone_changes_nothing_and_a_model_of_fairseq_does() -> None:
    pytest.importorskip("fairseq")
    program = """
from argparse import Namespace
from types import SimpleNamespace
import fairseq_wsum
from fairseq.data import Dictionary

layer = fairseq_wsum.WsumLSTM(200, 200)
layer(torch.ones(50, 10, 200))
assert memory.count().peak == 0
from fairseq_wsum.models.wsum_lstm import WsumLSTMModel
task = SimpleNamespace(source_dictionary=Dictionary(), target_dictionary=Dictionary())
model = WsumLSTMModel.build_model(Namespace(arch="wsum_lstm"), task)
print(memory.count().peak > 0)
"""
    assert run(program).endswith("True\n")
    assert run(program, FAIRSEQ_WSUM_KEEP_MEMORY="0").endswith("False\n")


def test_why_memory_is_not_kept(monkeypatch) -> None:
    monkeypatch.setenv(memory.VARIABLE, "no")
    with pytest.raises(ValueError, match="FAIRSEQ_WSUM_KEEP_MEMORY=no: choose from 0, 1"):
        memory.keep()
    monkeypatch.setenv(memory.VARIABLE, "0")
    assert memory.why_not() == "FAIRSEQ_WSUM_KEEP_MEMORY=0"
    monkeypatch.delenv(memory.VARIABLE)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert memory.why_not() == "there is a GPU"


@needs_library
def test_another_torch_than_it_was_built_for_is_left_alone(monkeypatch) -> None:
    built_for = torch.__version__
    monkeypatch.setattr(torch, "__version__", "1.0")
    found_now = dataclasses.replace(memory._LIBRARY)
    assert f"was built for torch {built_for}, and this is 1.0" in str(found_now.why_missing())
