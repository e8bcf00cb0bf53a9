"""Shared by all tests: fixed seeds, and one thread (the tensors here are tiny)."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
