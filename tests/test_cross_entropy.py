"""The cross entropy in C++ against torch's in float64, and the criterion against fairseq's."""

import pytest
import torch
import torch.nn.functional as F
from cpp_oracle import needs_kernels
from torch import Tensor

from fairseq_wsum import cross_entropy, kernels
from fairseq_wsum.bench.layers import peak_memory

PAD = 1
# rows x words: one, odd numbers, around a vector, more than a block
SHAPES = [(1, 1), (1, 7), (3, 16), (5, 33), (2, 1024), (7, 1025), (4, 2081), (0, 9)]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Of what is near 1 or near the logarithm of the vocabulary. Measured over all tests here: 2e-7,
# and 0.004 for gradients in bfloat16, which are rounded to 8 bits.
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 0.008}

with_dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


def exact(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Both losses of every row."""
    log_p = F.log_softmax(logits, -1)
    padding = targets == PAD
    nll = -log_p.gather(1, targets.unsqueeze(1)).squeeze(1)
    return nll.masked_fill(padding, 0), -log_p.sum(1).masked_fill(padding, 0)


def compare(logits: Tensor, targets: Tensor) -> float:
    """The largest difference from float64 of losses and gradients, as a part of their size."""
    results = []
    weights = torch.randn(2, len(logits), dtype=torch.float64)
    for z, function in (
        (logits, lambda *x: cross_entropy.cross_entropy(*x, PAD)),
        (logits.double(), exact),
    ):
        z = z.detach().requires_grad_()
        nll, smooth = function(z, targets)
        smooth = smooth / z.size(1)
        loss = (weights[0] * nll + weights[1] * smooth).sum()
        results.append((nll, smooth, *torch.autograd.grad(loss, z)))
    worst = 0.0
    for found, right in zip(*results, strict=True):
        scale = right.abs().amax().clamp_min(1) if right.numel() else 1
        assert found.isfinite().all()
        error = (found.double() - right).abs() / scale
        worst = max(worst, error.amax().item() if error.numel() else 0.0)
    return worst


def targets_of(rows: int, words: int) -> Tensor:
    targets = torch.randint(words, (rows,))
    targets[1::3] = PAD if words > PAD else 0
    return targets


@needs_kernels
@with_dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_torchs_cross_entropy(shape, dtype) -> None:
    logits = torch.randn(shape).to(dtype)
    assert compare(logits, targets_of(*shape)) < TOLERANCE[dtype]


@needs_kernels
@with_dtypes
@pytest.mark.parametrize("name", ["avx512_bf16", "avx512", "avx2", "baseline"])
def test_every_instruction_set_and_number_of_threads_agrees(name, dtype) -> None:
    before, threads = kernels.instruction_set(), torch.get_num_threads()
    try:
        kernels.use_instruction_set(name)
    except ValueError as error:
        pytest.skip(str(error))
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            logits = torch.randn(7, 1500).to(dtype)
            assert compare(logits, targets_of(7, 1500)) < TOLERANCE[dtype]
    finally:
        kernels.use_instruction_set(before)
        torch.set_num_threads(threads)


@needs_kernels
def test_large_scores_in_any_order_are_no_trouble() -> None:
    logits = torch.linspace(-100, 100, 3000).expand(3, -1).clone()
    logits[1] = logits[1].flip(0)
    logits[2] = logits[2][torch.randperm(3000)] * 50
    assert compare(logits, torch.tensor([0, 5, 2999])) < TOLERANCE[torch.float32]


@needs_kernels
def test_words_without_a_chance_get_no_gradient() -> None:
    logits = torch.randn(2, 2500)
    logits[:, :1100] = -torch.inf  # more than a block
    z = logits.requires_grad_()
    targets = torch.tensor([1200, 2400])
    nll, _ = cross_entropy.cross_entropy(z, targets, PAD)
    torch.testing.assert_close(nll, F.cross_entropy(logits, targets, reduction="none"))
    (dz,) = torch.autograd.grad(nll.sum(), z)
    assert (dz[:, :1100] == 0).all()
    assert dz.isfinite().all()


@needs_kernels
@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
def test_what_is_not_finite_is_not_hidden(value) -> None:
    logits = torch.randn(2, 1500)
    logits[1, 20] = value
    nll, smooth = cross_entropy.cross_entropy(logits, torch.tensor([3, 3]), PAD)
    assert nll.isfinite().tolist() == smooth.isfinite().tolist() == [True, False]


@needs_kernels
def test_the_same_input_gives_the_same_bits() -> None:
    logits, targets = torch.randn(50, 3000, requires_grad=True), targets_of(50, 3000)
    results = []
    for _ in range(2):
        nll, _ = cross_entropy.cross_entropy(logits, targets, PAD)
        results.append((nll, *torch.autograd.grad(nll.sum(), logits)))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@needs_kernels
@with_dtypes
def test_it_takes_the_memory_of_one_more_array_of_scores(dtype) -> None:
    logits = torch.randn(200, 3000).to(dtype).requires_grad_()
    targets = targets_of(200, 3000)

    def step() -> None:
        nll, smooth = cross_entropy.cross_entropy(logits, targets, PAD)
        (nll + smooth).sum().backward()

    assert peak_memory(step) < 1.1 * logits.numel() * logits.element_size()


@needs_kernels
@with_dtypes
def test_torch_finds_no_fault_with_the_operator(dtype) -> None:
    logits = torch.randn(4, 9).to(dtype).requires_grad_()
    targets = torch.tensor([0, 8, PAD, 3])
    torch.library.opcheck(torch.ops.fairseq_wsum.cross_entropy, (logits, targets, PAD))
    turned = torch.randn(9, 4).t().requires_grad_()
    torch.library.opcheck(torch.ops.fairseq_wsum.cross_entropy, (turned, targets, PAD))


@needs_kernels
def test_what_the_kernels_cannot_take_is_refused() -> None:
    logits, targets = torch.randn(3, 5), torch.tensor([0, 4, 2])
    for wrong in (5, -2):
        with pytest.raises(IndexError, match=f"target {wrong} is no word of 5"):
            cross_entropy.cross_entropy(logits, torch.tensor([0, wrong, 2]), PAD)
    cross_entropy.cross_entropy(logits, torch.tensor([0, -100, 2]), -100)
    with pytest.raises(ValueError, match=r"scores in .*, got torch\.float16"):
        cross_entropy.cross_entropy(logits.half(), targets, PAD)
    with pytest.raises(ValueError, match=r"take targets of \(3,\) in torch.int64, got \(2,\)"):
        cross_entropy.cross_entropy(logits, targets[:2], PAD)
    with pytest.raises(ValueError, match=r"got .* in torch\.int32"):
        cross_entropy.cross_entropy(logits, targets.int(), PAD)
    assert not cross_entropy.suits(logits.double())
    nll, _ = cross_entropy.cross_entropy(logits.requires_grad_(), targets, PAD)
    with pytest.raises(NotImplementedError, match="--criterion cross_entropy"):
        torch.autograd.grad(nll.sum(), logits, create_graph=True)
