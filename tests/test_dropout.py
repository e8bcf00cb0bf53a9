"""Dropout by the C++ kernel, against its generator in Python and torch's dropout."""

import functools

import pytest
import torch
from cpp_oracle import every_dtype, every_vector_set, instruction_set, needs_kernels

from fairseq_wsum import WsumLSTM
from fairseq_wsum.training.dropout import dropout

MASK = 2**32 - 1


def threefry(counter: tuple[int, int], key: tuple[int, int]) -> tuple[int, int]:
    """Threefry-2x32-20 (Salmon et al., 2011), one counter at a time."""
    keys = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    a, b = ((word + key) & MASK for word, key in zip(counter, keys, strict=False))
    for group in range(1, 6):
        for bits in (13, 15, 26, 6) if group % 2 else (17, 29, 16, 24):
            a = (a + b) & MASK
            b = ((b << bits | b >> (32 - bits)) & MASK) ^ a
        a = (a + keys[group % 3]) & MASK
        b = (b + keys[(group + 1) % 3] + group) & MASK
    return a, b


@functools.cache
def words(size: int, seed: int) -> list[int]:
    """The random word of each position: a counter serves positions i and i + 16 of 32."""
    found = [0] * (size + 32)
    for block in range(0, size, 32):
        for i in range(16):
            both = threefry((block // 2 + i, 0), (seed & MASK, seed >> 32))
            found[block + i], found[block + 16 + i] = both
    return found[:size]


def seed_after(value: int) -> int:
    """The seed that `dropout` draws after `torch.manual_seed(value)`."""
    torch.manual_seed(value)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    torch.manual_seed(value)
    return seed


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((MASK, MASK), (MASK, MASK), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_the_generator_here_gives_the_known_answers(counter, key, expected) -> None:
    """Of Random123, the authors' library."""
    assert threefry(counter, key) == expected


@needs_kernels
@every_vector_set
@every_dtype
@pytest.mark.parametrize("p", [0.1, 0.999])
@pytest.mark.parametrize("size", [1, 33, 5003])
def test_it_equals_the_definition(size, p, dtype, name) -> None:
    x = torch.randn(size).to(dtype)
    kept = torch.tensor([word < (1 - p) * 2**32 for word in words(size, seed_after(size))])
    expected = (x.float() * torch.tensor(1 / (1 - p))).to(dtype).masked_fill(~kept, 0)
    with instruction_set(name):
        torch.testing.assert_close(dropout(x, p), expected, rtol=2e-7, atol=0)


@needs_kernels
def test_the_number_of_threads_changes_nothing() -> None:
    x, results = torch.randn(70_001), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        results.append(dropout(x, 0.3))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@needs_kernels
def test_the_operator_passes_opcheck() -> None:
    inputs = (torch.randn(5, 7, requires_grad=True), 0.3, torch.tensor(3))
    torch.library.opcheck(torch.ops.fairseq_wsum.dropout, inputs)


@needs_kernels
def test_the_gradient_has_the_same_mask() -> None:
    x = torch.randn(7, 3, 40, dtype=torch.float32).transpose(0, 2).requires_grad_()
    weight = torch.randn_like(x)
    y = dropout(x, 0.4)
    (gradient,) = torch.autograd.grad((y * weight).sum(), x, create_graph=True)
    factor = torch.where(y == 0, 0, 1 / 0.6)
    torch.testing.assert_close(y, x * factor)
    torch.testing.assert_close(gradient, weight * factor)
    assert not gradient.requires_grad


@needs_kernels
def test_nan_stays_nan_and_the_input_stays_as_it_is() -> None:
    x = torch.full((100,), torch.nan)
    assert dropout(x, 0.5).isnan().all()
    x = torch.randn(100)
    before = x.clone()
    dropout(x, 0.5)
    assert torch.equal(x, before)


OTHERS = [(0.0, torch.float32), (1.0, torch.float32), (0.5, torch.float64), (0.5, torch.float16)]


@pytest.mark.parametrize(("p", "dtype"), OTHERS, ids=str)
def test_certain_probabilities_and_other_dtypes_use_torchs_dropout(p, dtype) -> None:
    x, found = torch.randn(50).to(dtype), []
    for function in (dropout, torch.nn.functional.dropout):
        torch.manual_seed(3)
        found.append(function(x, p))
    assert torch.equal(*found)


def test_it_works_in_transformations() -> None:
    x, v = torch.randn(50), torch.ones(50)
    y, tangent = torch.func.jvp(lambda x: dropout(x, 0.5), (x,), (v,))
    assert torch.equal(tangent, torch.where(y == 0, 0.0, 2.0))
    compiled = torch.compile(lambda x: dropout(x, 0.5), backend="aot_eager", fullgraph=True)
    assert set((compiled(v)).tolist()) == {0.0, 2.0}


def test_a_layer_drops_in_training_only() -> None:
    layer, x = WsumLSTM(3, 5, num_layers=2, dropout=0.5, cell="no-srnn-hidden"), torch.ones(4, 2, 3)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])
