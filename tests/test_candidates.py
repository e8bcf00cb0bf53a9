"""The best words of each row in C++, against torch's softmax and sort in float64."""

import pytest
import torch
from cpp_oracle import every_dtype, every_vector_set, instruction_set, needs_kernels
from torch import Tensor

from fairseq_wsum.plugin.decoding.candidates import candidates, reference

# rows, words, always wanted, others: one, all, around a vector and a block, a real vocabulary
SHAPES = [(1, 1, 1, 0), (2, 4, 4, 0), (3, 4, 0, 4), (2, 16, 4, 10), (3, 17, 4, 13), (2, 1023, 4, 2)]
SHAPES += [(2, 1025, 3, 40), (1, 5000, 4, 4996), (4, 8008, 4, 10), (2, 50_000, 4, 20), (0, 9, 4, 2)]


def exact(logits: Tensor, first: int, k: int, normalised: bool = False) -> tuple[Tensor, Tensor]:
    """In float64; of equal words the first comes first."""
    log_p = logits.double() if normalised else torch.log_softmax(logits.double(), -1)
    log_p = log_p.where(log_p == log_p, -torch.inf)
    best, words = log_p[:, first:].sort(dim=1, descending=True, stable=True)
    always = torch.arange(first).expand(len(logits), -1)
    log_p = torch.cat((log_p[:, :first], best[:, :k]), 1)
    return log_p, torch.cat((always, words[:, :k] + first), 1)


def assert_exact(logits: Tensor, first: int, k: int, normalised: bool = False) -> None:
    log_p, words = candidates(logits, first, k, normalised=normalised)
    expected, their_words = exact(logits, first, k, normalised)
    assert torch.equal(words, their_words)
    torch.testing.assert_close(log_p.double(), expected, rtol=1e-6, atol=1e-6)


@needs_kernels
@every_dtype
@pytest.mark.parametrize("normalised", [False, True], ids=["logits", "log-probabilities"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_equals_a_softmax_and_a_stable_sort(shape, normalised, dtype) -> None:
    rows, words, first, k = shape
    logits = torch.randn(rows, words) * 3
    if normalised:
        logits = logits.log_softmax(-1)
    assert_exact(logits.to(dtype), first, k, normalised)


@needs_kernels
@every_dtype
@every_vector_set
def test_every_instruction_set_and_number_of_threads_agrees(name, dtype) -> None:
    with instruction_set(name):
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            for words in (33, 2500):
                assert_exact(torch.randn(40, words).to(dtype), 4, 20)


SPECIAL = {
    "equal": torch.zeros(3, 2100),
    "rising": torch.arange(2100.0).expand(3, -1),  # every word is better than those before
    "falling": -torch.arange(2100.0).expand(3, -1),
    "large": torch.linspace(-1e4, 1e4, 2100).expand(3, -1),
    "few ties": torch.arange(2100).fmod(7).float().expand(3, -1),
    "some minus infinity": torch.randn(3, 2100).masked_fill(torch.rand(3, 2100) < 0.9, -torch.inf),
    "only two finite": torch.full((3, 2100), -torch.inf).index_fill(
        1, torch.tensor([3, 1999]), 1.0
    ),
}


@needs_kernels
@pytest.mark.parametrize("logits", SPECIAL.values(), ids=SPECIAL)
def test_ties_and_infinities_are_in_the_order_of_the_vocabulary(logits) -> None:
    assert_exact(logits.contiguous(), 4, 10)
    assert_exact(logits.contiguous(), 0, 12)


@needs_kernels
@pytest.mark.parametrize("value", [torch.nan, torch.inf, None], ids=["nan", "inf", "all -inf"])
def test_a_row_without_probabilities_has_none_and_different_words(value) -> None:
    """As fairseq's search treats them."""
    logits = torch.randn(3, 2100)
    if value is None:
        logits[1] = -torch.inf
    else:
        logits[1, 1500] = value
    for function in (candidates, reference):
        log_p, words = function(logits, 4, 10)
        assert log_p[1].eq(-torch.inf).all()
        assert len(set(words[1].tolist())) == 14
        assert log_p[[0, 2]].isfinite().all()
    expected = exact(logits[[0, 2]], 4, 10)
    assert torch.equal(candidates(logits, 4, 10)[1][[0, 2]], expected[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_reference_equals_the_softmax(dtype) -> None:
    logits = torch.randn(4, 300).to(dtype)
    logits = logits + torch.arange(300).to(dtype) / 64  # fewer ties in 16 bits
    log_p, words = reference(logits, 4, 10)
    expected, _ = exact(logits, 4, 10)
    torch.testing.assert_close(log_p.double(), expected, rtol=1e-6, atol=1e-6)
    chosen = torch.log_softmax(logits.double(), -1).gather(1, words)
    torch.testing.assert_close(chosen, expected, rtol=1e-6, atol=1e-6)
