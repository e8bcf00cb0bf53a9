"""Products by oneDNN against torch's own."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.utils import prune

from fairseq_wsum import products

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN"
)


@pytest.fixture
def onednn(monkeypatch):
    monkeypatch.setattr(products, "_choose", lambda name: True)


@needs_onednn
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("shape", [(4, 3, 5), (1, 8, 5)], ids=str)
def test_onednn_gives_the_product_and_its_gradients(onednn, shape, bias) -> None:
    module = torch.nn.Linear(5, 7, bias=bias)
    results = []
    for run in (partial(products.linear, module), module):
        torch.manual_seed(1)
        x = torch.randn(shape, requires_grad=True)
        y = run(x)
        gradients = torch.autograd.grad(y, [x, *module.parameters()], torch.randn_like(y))
        results.append((y, *gradients))
    torch.testing.assert_close(*results)


@needs_onednn
@pytest.mark.parametrize("bias", [torch.arange(14.0)[::2], torch.ones(1).expand(7), torch.ones(())])
def test_the_bias_may_have_any_stride(onednn, bias) -> None:
    x, weight = torch.randn(8, 5), torch.randn(7, 5)
    expected = torch.nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(products.product(x, weight, bias), expected)
    if bias.dim():
        torch.testing.assert_close(torch.ops.fairseq_wsum.linear(x, weight, bias), expected)


@needs_onednn
def test_shapes_that_do_not_fit_are_named(onednn) -> None:
    with pytest.raises(RuntimeError, match="8x6 and 5x7"):
        products.product(torch.randn(8, 6), torch.randn(7, 5))
    with pytest.raises(RuntimeError, match=r"7.*must match"):
        products.product(torch.randn(8, 5), torch.randn(7, 5), torch.randn(6))


@needs_onednn
def test_the_operator_passes_torchs_opcheck() -> None:
    x, weight, bias = (torch.randn(size, requires_grad=True) for size in ((4, 3, 5), (7, 5), (7,)))
    torch.library.opcheck(torch.ops.fairseq_wsum.linear, (x, weight, bias))
    torch.library.opcheck(torch.ops.fairseq_wsum.linear, (x[0], weight, None))


@needs_onednn
def test_its_second_derivative_is_correct(onednn) -> None:
    x, weight = torch.randn(9, 5, requires_grad=True), torch.randn(7, 5, requires_grad=True)
    results = []
    for product in (products.product, torch.nn.functional.linear):
        (dx,) = torch.autograd.grad(product(x, weight).pow(3).sum(), x, create_graph=True)
        results.append(torch.autograd.grad(dx.square().sum(), (x, weight)))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_onednn_gets_only_whole_matrices(onednn, monkeypatch) -> None:
    """oneDNN needs seconds for strided matrices instead of milliseconds."""
    product, weights = torch.ops.mkldnn._linear_pointwise, []

    def spy(x, weight, *others):
        weights.append(weight)
        return product(x, weight, *others)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", spy)
    x, whole = torch.randn(8, 5, requires_grad=True), torch.randn(7, 10, requires_grad=True)
    y = products.product(x, whole[:, 5:])
    torch.autograd.grad(y.sum(), (x, whole))
    products.weight_gradient(torch.randn(4, 14)[:, ::2], torch.randn(4, 10)[:, :5])
    assert len(weights) == 4
    assert all(w.is_contiguous() or w.t().is_contiguous() for w in weights)


def test_other_types_and_empty_input_use_torch(onednn) -> None:
    x, weight = (torch.randn(n, 5, dtype=torch.float64, requires_grad=True) for n in (9, 7))
    assert gradcheck(products.product, (x, weight))
    assert products.weight_gradient(torch.zeros(0, 7), torch.zeros(0, 5)).shape == (7, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert products.product(torch.zeros(9, 5), torch.zeros(7, 5)).dtype == torch.bfloat16


choose = products._choose.__wrapped__  # without its cache
CPUINFO = "processor : 0\nvendor_id : {}\ncpu family : {}\nflags : fpu {} vme\n\nprocessor : 1\n"


@pytest.mark.parametrize(
    ("vendor", "family", "flag", "product", "gradient"),
    [
        ("AuthenticAMD", 25, "avx2", False, False),
        ("AuthenticAMD", 25, "avx512f", True, False),
        ("AuthenticAMD", 26, "avx512f", True, True),
        ("GenuineIntel", 6, "avx512f", False, False),
    ],
    ids=["zen-3", "zen-4", "zen-5", "intel"],
)
def test_the_processor_determines_the_library(
    vendor, family, flag, product, gradient, monkeypatch, tmp_path
) -> None:
    monkeypatch.delenv(products.VARIABLE, raising=False)
    monkeypatch.setattr(products, "_has_onednn", lambda: True)
    monkeypatch.setattr(products, "CPUINFO", tmp_path / "cpuinfo")
    for text in (CPUINFO.format(vendor, family, flag), None):
        if text is None:  # a system that does not say
            (tmp_path / "cpuinfo").unlink()
        else:
            (tmp_path / "cpuinfo").write_text(text)
        assert choose("product") == (product and text is not None)
        assert choose("weight_gradient") == (gradient and text is not None)


@needs_onednn
def test_the_environment_overrides_the_choice(monkeypatch) -> None:
    for value, expected in (("mkl", False), ("onednn", True)):
        monkeypatch.setenv(products.VARIABLE, value)
        assert choose("product") is expected
    monkeypatch.setenv(products.VARIABLE, "openblas")
    with pytest.raises(ValueError, match="FAIRSEQ_WSUM_PRODUCTS=openblas: choose from mkl, onednn"):
        choose("product")


# Modules and weights that other programs have changed


@needs_onednn
def test_weights_with_rules_of_their_own_take_torchs_operator(onednn, monkeypatch) -> None:
    """Such as quantised ones, whose classes have `F.linear` alone."""
    monkeypatch.setattr(products, "_linear", None)
    x, weight = torch.randn(9, 5), torch.randn(7, 5)
    found = products.product(x, weight.as_subclass(type("Own", (Tensor,), {})))
    torch.testing.assert_close(found.as_subclass(Tensor), x @ weight.t())


@needs_onednn
def test_hooks_of_a_linear_map_run(onednn) -> None:
    module, x = torch.nn.Linear(5, 7), torch.randn(9, 5)
    prune.random_unstructured(module, "weight", 0.5)
    module.weight_orig.data.mul_(2)  # as training does; a hook computes `weight`
    torch.testing.assert_close(products.linear(module, x), module(x), rtol=0, atol=0)
    module.register_forward_hook(lambda *_: torch.zeros(9, 7))
    assert products.linear(module, x).eq(0).all()
    patched = torch.nn.Linear(5, 7)
    patched.forward = lambda x: torch.zeros(9, 7)
    assert products.linear(patched, x).eq(0).all()
    seen = torch.nn.modules.module.register_module_forward_hook(lambda *_: torch.zeros(9, 7))
    assert products.linear(torch.nn.Linear(5, 7), x).eq(0).all()
    seen.remove()


# Products of few rows with a matrix that does not change


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("shape", [(4, 1, 5), (1, 64, 5), (2, 3, 5)], ids=str)
@torch.no_grad()
def test_a_copy_of_the_matrix_gives_the_same_product(shape, bias, monkeypatch) -> None:
    monkeypatch.setattr(products, "_choose", lambda name: False)
    module = torch.nn.Linear(5, 9, bias=bias)
    copy, x = products.ForFewRows(module.weight), torch.randn(shape).transpose(0, 1)
    assert copy.serves(x, module.weight)
    torch.testing.assert_close(products.linear(module, x, copy), module(x))


@torch.no_grad()
def test_the_copy_is_not_used_once_the_matrix_has_changed(monkeypatch) -> None:
    monkeypatch.setattr(products, "_choose", lambda name: False)
    module, x = torch.nn.Linear(5, 9), torch.randn(6, 5)
    copy = products.ForFewRows(module.weight)
    module.weight.mul_(2)
    torch.testing.assert_close(products.linear(module, x, copy), module(x), rtol=0, atol=0)
    copy = products.ForFewRows(module.weight)
    module.weight.data = 3 * module.weight.data  # which has the same version
    torch.testing.assert_close(products.linear(module, x, copy), module(x), rtol=0, atol=0)
    other = torch.nn.Linear(5, 9)
    torch.testing.assert_close(products.linear(other, x, copy), other(x), rtol=0, atol=0)
    copy = products.ForFewRows(module.weight)
    module.bfloat16()
    y = products.linear(module, x.bfloat16(), copy)
    torch.testing.assert_close(y, module(x.bfloat16()), rtol=0, atol=0)


@pytest.mark.parametrize("rows", [3, 65])
def test_other_numbers_of_rows_and_types_take_no_copy(rows, monkeypatch) -> None:
    monkeypatch.setattr(products, "_choose", lambda name: False)
    weight = torch.randn(9, 5)
    copy = products.ForFewRows(weight)
    with torch.no_grad():
        assert not copy.serves(torch.randn(rows, 5), weight)
        for dtype in (torch.bfloat16, torch.float64):
            other = weight.to(dtype)
            assert not products.ForFewRows(other).serves(torch.randn(6, 5, dtype=dtype), other)
    assert not copy.serves(torch.randn(6, 5), weight)  # gradients are wanted


@torch.inference_mode()
def test_a_matrix_made_in_inference_mode_takes_no_copy(monkeypatch) -> None:
    """It has no version, so a change would not be noticed."""
    monkeypatch.setattr(products, "_choose", lambda name: False)
    x, weight = torch.randn(6, 5), torch.randn(9, 5)
    copy = products.ForFewRows(weight)
    assert not copy.serves(x, weight)
    torch.testing.assert_close(products.product(x, weight, None, copy), x @ weight.t())
