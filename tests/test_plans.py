"""benchmarks/plans.py, in Triton's interpreter or on a GPU."""

import math
from itertools import islice

import plans
import pytest
import torch
from triton_helpers import DEVICE, inside, needs_triton, outside, run_in_interpreter


@needs_triton
@outside
def test_the_benchmark_passes_its_tests_in_the_interpreter() -> None:
    run_in_interpreter(__file__)


@needs_triton
@inside
@pytest.mark.parametrize("cell", ["no-srnn-hidden", "no-gates"])
def test_the_choice_of_the_kernels_is_timed_first(cell) -> None:
    rows = plans.measure(cell, (2, 2, 33), torch.float32, DEVICE, rounds=1)
    first, second = islice(rows, 2)
    assert first["own"] and not second["own"]
    assert {name for name in first if first[name] != second[name]} > {"own"}
    for row in (first, second):
        assert float(row["forward us"]) > 0 and float(row["backward us"]) > 0


@needs_triton
@inside
def test_a_plan_that_does_not_fit_has_its_error_in_place_of_its_times(monkeypatch) -> None:
    from triton.runtime.errors import OutOfResources

    def fail(*_: object, **__: object) -> None:
        raise OutOfResources(245760, 232448, "shared memory")

    monkeypatch.setattr(plans, "median_times", fail)
    rows = plans.measure("no-gates", (2, 2, 33), torch.float32, DEVICE, rounds=1)
    assert "shared memory, Required: 245760" in next(rows)["forward us"]


def test_the_benchmark_says_why_it_cannot_run() -> None:
    with pytest.raises(RuntimeError, match="kernels cannot run: it runs on GPUs"):
        plans.main(["--device", "cpu"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_programs_wait_for_each_other_only_if_all_fit_on_the_gpu(dtype) -> None:
    tried = list(plans.tilings((35, 128, 1500), dtype, processors=100))
    assert len(set(tried)) == len(tried) > 8
    for tiling in tried:
        programs = math.ceil(128 / tiling.sequences) * math.ceil(1500 / tiling.units)
        assert tiling.together == (programs <= 100)
