"""training/joint_gradient.py: one gradient for a matrix that every step of a loop multiplies by."""

import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from matrix_products import Products
from torch import Tensor

from fairseq_wsum.training.joint_gradient import joint_gradients

STEPS, BATCH, SIZE = 5, 3, 4


class Loop:
    """h_t = tanh(x_t + W h_{t-1} + b + M h_{t-1}), where each sequence has an M of its own."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)

        def leaf(*shape: int) -> Tensor:
            x = torch.randn(*shape, generator=generator, dtype=torch.float64)
            return x.requires_grad_()

        self.x, self.h = leaf(STEPS, BATCH, SIZE), leaf(BATCH, SIZE)
        self.weight, self.bias = leaf(SIZE, SIZE), leaf(SIZE)
        self.matrices = leaf(BATCH, SIZE, SIZE)
        self.leaves = (self.x, self.h, self.weight, self.bias, self.matrices)

    def __call__(self, joint: bool) -> Tensor:
        """All h_t."""
        h, outputs = self.h, []
        with joint_gradients() if joint else nullcontext():
            for x_t in self.x:
                own = torch.bmm(h.unsqueeze(1), self.matrices.transpose(1, 2)).squeeze(1)
                h = torch.tanh(x_t + F.linear(h, self.weight, self.bias) + own)
                outputs.append(h)
        return torch.stack(outputs)

    def gradients(self, y: Tensor, weights: Tensor, **options: bool) -> tuple[Tensor, ...]:
        return torch.autograd.grad((y * weights).sum(), self.leaves, **options)


@pytest.fixture
def loop() -> Loop:
    return Loop()


def cotangent(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def assert_same(gradients: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-14)


def test_gradients_are_those_of_the_plain_loop(loop) -> None:
    weights = cotangent(STEPS, BATCH, SIZE)
    plain, joint = loop(joint=False), loop(joint=True)
    assert torch.equal(plain, joint)
    assert_same(loop.gradients(joint, weights), loop.gradients(plain, weights))


def test_each_matrix_gets_one_product_for_all_steps(loop) -> None:
    for joint, times in ((False, STEPS), (True, 1)):
        y = loop(joint)
        with Products() as products:
            y.sum().backward()
        assert products.shapes[SIZE, SIZE] == times
        assert products.shapes[BATCH, SIZE, SIZE] == times


@pytest.mark.parametrize("last", range(STEPS))
def test_a_loss_of_some_steps_has_their_gradients_only(loop, last) -> None:
    weights = cotangent(BATCH, SIZE)
    plain, joint = loop(joint=False), loop(joint=True)
    assert_same(loop.gradients(joint[last], weights), loop.gradients(plain[last], weights))


def test_every_backward_pass_starts_anew(loop) -> None:
    """Also after one that ended at the input, and left the steps that it had visited behind."""
    weights = cotangent(STEPS, BATCH, SIZE)
    expected = loop.gradients(loop(joint=False), weights)
    y = loop(joint=True)
    torch.autograd.grad(y[2].sum(), loop.x, retain_graph=True)
    assert_same(loop.gradients(y, weights, retain_graph=True), expected)
    assert_same(loop.gradients(y, weights), expected)


def test_two_loops_do_not_share_gradients(loop) -> None:
    weights = cotangent(STEPS, BATCH, SIZE)
    y = loop(joint=False), loop(joint=False)
    expected = loop.gradients(y[0] + y[1], weights)
    assert_same(loop.gradients(loop(joint=True) + loop(joint=True), weights), expected)


def test_slices_of_one_tensor_are_different_matrices(loop) -> None:
    results = []
    for context in (nullcontext(), joint_gradients()):
        h = loop.h
        with context:
            for x_t in loop.x:
                first, second, _ = loop.matrices  # one shape, the same strides
                h = torch.tanh(x_t + F.linear(torch.tanh(F.linear(h, first)), second))
        results.append((h, *torch.autograd.grad(h.sum(), (loop.h, loop.x, loop.matrices))))
    assert_same(*results)


def test_a_leaf_that_was_made_as_a_view_gets_a_gradient_of_its_own() -> None:
    w = torch.ones(3, 3, requires_grad=True)
    with torch.no_grad():
        u = w[:]
    u.requires_grad_()
    with joint_gradients():
        (F.linear(torch.ones(1, 3), w) + 3 * F.linear(torch.ones(1, 3), u)).sum().backward()
    assert w.grad.eq(1).all() and u.grad.eq(3).all()


def test_a_matrix_that_is_changed_after_the_loop_is_an_error(loop) -> None:
    y = loop(joint=True)
    with torch.no_grad():
        loop.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_second_derivatives_are_rejected(loop) -> None:
    y = loop(joint=True)
    with pytest.raises(NotImplementedError, match="--decoder-input-feeding False"):
        torch.autograd.grad(y.sum(), loop.weight, create_graph=True)


def test_frozen_matrices_and_inputs_get_no_gradient(loop) -> None:
    loop.weight.requires_grad_(False)
    loop.h.requires_grad_(False)
    leaves = (loop.x, loop.bias, loop.matrices)
    expected = torch.autograd.grad(loop(joint=False).sum(), leaves)
    assert_same(torch.autograd.grad(loop(joint=True).sum(), leaves), expected)


def test_autocast_and_no_grad_compute_the_plain_products(loop) -> None:
    loop.x, loop.h = (x.detach().float() for x in (loop.x, loop.h))
    loop.weight, loop.bias, loop.matrices = (
        x.detach().float().requires_grad_() for x in loop.leaves[2:]
    )
    for context in (torch.no_grad(), torch.autocast("cpu", torch.bfloat16)):
        with context:
            assert torch.equal(loop(joint=True), loop(joint=False))


@pytest.mark.parametrize("wanted", ["all", "inputs"])
def test_no_memory_is_kept_after_the_loop(wanted) -> None:
    """Without the garbage collector, which does not follow references in the autograd graph."""
    gc.disable()
    try:
        loop = Loop()
        y = loop(joint=True)
        held = weakref.ref(loop.matrices), weakref.ref(loop.weight)
        if wanted == "all":
            y.sum().backward()
        else:
            torch.autograd.grad(y.sum(), loop.x, retain_graph=True)
        del y, loop
        assert [reference() for reference in held] == [None, None]
    finally:
        gc.enable()
