"""Products in a loop: one product for each weight's gradient."""

import gc

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fairseq_wsum.ops import linear


def test_repeated_products_have_the_gradients_of_single_ones() -> None:
    layer = torch.nn.Linear(5, 5)
    wanted = [*layer.parameters(), torch.randn(3, 5, requires_grad=True)]

    def loop(product):
        x, weight, bias = wanted[2], wanted[0], wanted[1]
        for bias_too in (True, False, True):
            x = torch.tanh(product(x, weight, bias if bias_too else None))
        return x.square().sum()

    with linear.repeated():
        loss = loop(linear.linear)
    expected = torch.autograd.grad(loop(torch.nn.functional.linear), wanted)
    (dx,) = torch.autograd.grad(loss, wanted[2:], retain_graph=True)  # leaves the weight's out
    torch.testing.assert_close(dx, expected[2])
    for _ in range(2):
        torch.testing.assert_close(torch.autograd.grad(loss, wanted, retain_graph=True), expected)


@pytest.mark.parametrize("of", range(3), ids=["x", "weight", "matrices"])
def test_a_second_derivative_is_refused(of) -> None:
    sizes = (2, 3, 5), (5, 5), (2, 5, 5)
    x, weight, matrices = wanted = [torch.randn(size, requires_grad=True) for size in sizes]
    with linear.repeated():
        y = linear.bmm(linear.linear(x, weight), matrices)
    with pytest.raises(RuntimeError, match="create_graph=True: there are no second derivatives"):
        torch.autograd.grad(y.square().sum(), wanted[of], create_graph=True)


class Products(TorchDispatchMode):
    """Counts the products that have a size."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size, self.count = size, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **kwargs or {})
        if function is torch.ops.aten.bmm.default:
            self.count += result.shape == self.size
        return result


def test_what_is_attended_to_in_every_step_has_one_product_for_its_gradient() -> None:
    source = torch.randn(2, 7, 5, requires_grad=True)
    query = torch.randn(2, 1, 5, requires_grad=True)

    def loop(product):
        x, steps = query, []
        for _ in range(3):
            weights = torch.softmax(product(x, source, True), dim=-1)
            x = torch.tanh(product(weights, source, False))
            steps.append(x)
        return torch.cat(steps).square().sum()

    def plainly(x, matrices, transposed):
        return torch.bmm(x, matrices.transpose(1, 2) if transposed else matrices)

    expected = torch.autograd.grad(loop(plainly), [source, query])
    with linear.repeated():
        loss = loop(linear.bmm)
    for _ in range(2):
        with Products((2, 7, 5)) as products:
            found = torch.autograd.grad(loss, [source, query], retain_graph=True)
        torch.testing.assert_close(found, expected)
        assert products.count == 1
    (alone,) = torch.autograd.grad(loss, [query])
    torch.testing.assert_close(alone, expected[1])


def test_what_is_made_of_weights_is_made_once_in_a_loop() -> None:
    b_ih, b_hh = torch.randn(3, requires_grad=True), torch.randn(3)

    def make() -> torch.Tensor | None:
        return linear.once((b_ih, b_hh), torch.add)

    assert make() is not make()
    with linear.repeated():
        first = make()
        assert first is make() and linear.once((b_hh, b_ih), torch.add) is not first
        with torch.autocast("cpu", torch.bfloat16):
            assert make() is not first
    with linear.repeated():
        assert make() is not first
    torch.testing.assert_close(first, b_ih + b_hh)
    assert linear.once((None, None), lambda *_: None) is None


def test_a_pass_that_leaves_a_gradient_out_keeps_nothing_alive() -> None:
    weight, x = torch.randn(5, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)

    def count() -> int:
        gc.collect()
        return sum(type(thing) is linear._Uses for thing in gc.get_objects())

    before = count()
    with linear.repeated():
        y = linear.linear(torch.tanh(linear.linear(x, weight)), weight)
    torch.autograd.grad(y.sum(), x)
    del y
    assert count() == before


def test_many_gradients_at_once_are_the_same_as_one_by_one() -> None:
    x = torch.randn(2, 5)

    def loop(weight: Tensor, bias: Tensor, matrices: Tensor) -> Tensor:
        y = x
        with linear.repeated():
            for _ in range(3):
                y = linear.linear(y, weight, bias).tanh()
                attended = linear.bmm(y.unsqueeze(1), matrices, transposed=True)
                y = y + linear.bmm(attended, matrices).squeeze(1)
        return y

    inputs = torch.randn(5, 5), torch.randn(5), torch.randn(2, 3, 5)
    jacobians = [
        torch.autograd.functional.jacobian(loop, inputs, vectorize=vectorize)
        for vectorize in (False, True)
    ]
    torch.testing.assert_close(*jacobians)


def test_a_loop_on_the_meta_device_is_as_anywhere() -> None:
    weight = torch.randn(5, 5, device="meta", requires_grad=True)
    with linear.repeated():
        assert linear.linear(torch.randn(3, 5, device="meta"), weight).shape == (3, 5)


def test_a_loop_under_autocast_is_as_without_it() -> None:
    layer, x = torch.nn.Linear(5, 5), torch.randn(3, 5)
    results = []
    for product in (linear.linear, torch.nn.functional.linear):
        with torch.autocast("cpu", torch.bfloat16), linear.repeated():
            y = product(product(x, layer.weight, layer.bias), layer.weight)
        results.append((y, *torch.autograd.grad(y.float().sum(), list(layer.parameters()))))
    torch.testing.assert_close(*results)


def test_a_pass_within_a_pass_takes_nothing_of_it() -> None:
    weight, x = torch.randn(5, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    passes = []

    def loop(product):
        first = torch.tanh(product(x, weight))
        second = torch.tanh(product(first, weight))
        return second, torch.tanh(product(second, weight)).square().sum()

    def run():
        return torch.autograd.grad(loss, [weight, x], retain_graph=True)

    def once_more(_: object) -> None:
        if not passes:
            passes.append(())  # this pass comes here too
            passes[0] = run()

    expected = torch.autograd.grad(loop(torch.nn.functional.linear)[1], [weight, x])
    with linear.repeated():
        between, loss = loop(linear.linear)
    between.register_hook(once_more)
    outer = run()
    torch.testing.assert_close([outer, *passes], [expected, expected])
