"""The cross entropy in C++ against torch's in float64."""

import pytest
import torch
import torch.nn.functional as F
from cpp_oracle import every_dtype, every_vector_set, instruction_set, needs_kernels
from layers import peak_on_cpu
from torch import Tensor

from fairseq_wsum import kernels
from fairseq_wsum.training import cross_entropy

PAD = 1
# rows x words: one, odd numbers, around a vector, more than a block
SHAPES = [(1, 1), (1, 7), (3, 16), (5, 33), (2, 1024), (7, 1025), (4, 2081), (0, 9)]
# Of losses, and of gradients next to the largest of their row but the target's. Measured over all
# tests here: 2e-7, and 0.004 for gradients in bfloat16, which are rounded to 8 bits.
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 0.006}


def exact(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Both losses of every row."""
    log_p = F.log_softmax(logits, -1)
    padding = targets == PAD
    nll = -log_p.gather(1, targets.unsqueeze(1)).squeeze(1)
    return nll.masked_fill(padding, 0), -log_p.sum(1).masked_fill(padding, 0)


def assert_near(logits: Tensor, targets: Tensor) -> None:
    """Losses and gradients are those in float64."""
    results = []
    weights = torch.rand(2, len(logits), dtype=torch.float64) + 0.5
    weights[1] /= logits.size(1)
    for z, function in (
        (logits, lambda *x: cross_entropy.cross_entropy(*x, PAD)),
        (logits.double(), exact),
    ):
        z = z.detach().requires_grad_()
        nll, smooth = function(z, targets)
        loss = (weights[0] * nll + weights[1] * smooth).sum()
        results.append((nll, smooth / z.size(1), *torch.autograd.grad(loss, z)))
    for what, found, right in zip(("nll", "smooth", "dz"), *results, strict=True):
        assert found.isfinite().all(), what
        tolerance = TOLERANCE[logits.dtype if what == "dz" else torch.float32]
        scale = right.abs().clamp_min(1)
        if what == "dz":  # the target's is far from all others
            others = right.abs().scatter(1, targets.unsqueeze(1), 0)
            scale = others.amax(1, keepdim=True).clamp_min(1e-6).expand_as(right)
            scale = scale.scatter(1, targets.unsqueeze(1), 1)
        worst = ((found.double() - right).abs() / scale).flatten()
        assert worst.numel() == 0 or worst.amax() < tolerance, f"{what}: {worst.amax():.2g}"


def targets_of(rows: int, words: int) -> Tensor:
    targets = torch.randint(words, (rows,))
    targets[1::3] = PAD if words > PAD else 0
    return targets


@needs_kernels
@every_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_equals_torchs_cross_entropy(shape, dtype) -> None:
    assert_near(torch.randn(shape).to(dtype), targets_of(*shape))


@needs_kernels
@every_dtype
@every_vector_set
def test_every_instruction_set_and_number_of_threads_agrees(name, dtype) -> None:
    with instruction_set(name):
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            for words in (5, 1503):
                assert_near(torch.randn(40, words).to(dtype), targets_of(40, words))


@needs_kernels
def test_large_logits_in_any_order_are_exact() -> None:
    logits = torch.linspace(-100, 100, 3000).expand(3, -1).clone()
    logits[1] = logits[1].flip(0)
    logits[2] = logits[2][torch.randperm(3000)] * 50
    assert_near(logits, torch.tensor([0, 5, 2999]))


@needs_kernels
def test_each_loss_alone_has_its_own_gradient() -> None:
    logits, targets = torch.randn(4, 40, requires_grad=True), targets_of(4, 40)
    for which in (0, 1):
        found, right = (
            torch.autograd.grad(losses[which].sum(), logits)[0]
            for losses in (
                cross_entropy.cross_entropy(logits, targets, PAD),
                exact(logits, targets),
            )
        )
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-5)


@needs_kernels
@every_dtype
def test_peak_memory_is_one_more_array_of_logits(dtype) -> None:
    logits = torch.randn(200, 3000).to(dtype).requires_grad_()
    targets = targets_of(200, 3000)

    def step() -> None:
        nll, smooth = cross_entropy.cross_entropy(logits, targets, PAD)
        (nll + smooth).sum().backward()

    assert peak_on_cpu(step) < 1.1 * logits.numel() * logits.element_size()


@needs_kernels
@every_dtype
def test_the_operator_passes_torchs_opcheck(dtype) -> None:
    logits = torch.randn(4, 9).to(dtype).requires_grad_()
    targets = torch.tensor([0, 8, PAD, 3])
    torch.library.opcheck(torch.ops.fairseq_wsum.cross_entropy, (logits, targets, PAD))
    turned = torch.randn(9, 4).t().requires_grad_()
    torch.library.opcheck(torch.ops.fairseq_wsum.cross_entropy, (turned, targets, PAD))


@needs_kernels
def test_unsupported_input_is_rejected() -> None:
    logits, targets = torch.randn(3, 5), torch.tensor([0, 4, 2])
    for wrong in (5, -2):
        with pytest.raises(IndexError, match=f"target {wrong} is outside the vocabulary"):
            cross_entropy.cross_entropy(logits, torch.tensor([0, wrong, 2]), PAD)
    cross_entropy.cross_entropy(logits, torch.tensor([0, -100, 2]), -100)
    assert not kernels.accepts(logits.double())
    nll, _ = cross_entropy.cross_entropy(logits.requires_grad_(), targets, PAD)
    with pytest.raises(NotImplementedError, match="--criterion cross_entropy"):
        torch.autograd.grad(nll.sum(), logits, create_graph=True)


def test_it_is_unavailable_without_kernels_and_under_torch_func(monkeypatch) -> None:
    logits = torch.randn(2, 5)
    assert torch.func.vmap(lambda z: z * kernels.accepts(logits))(logits).eq(0).all()
    monkeypatch.setattr(kernels, "_find", lambda: (None, "they were never built"))
    assert not kernels.accepts(logits)


@needs_kernels
def test_the_same_input_gives_the_same_bits_on_any_number_of_threads() -> None:
    logits, targets = torch.randn(50, 3000, requires_grad=True), targets_of(50, 3000)
    results = []
    for threads in (3, 1):
        torch.set_num_threads(threads)
        nll, _ = cross_entropy.cross_entropy(logits, targets, PAD)
        results.append((nll, *torch.autograd.grad(nll.sum(), logits)))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
