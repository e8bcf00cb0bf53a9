"""Attention to the source in decoding, in C++, against float64 and fairseq's attention."""

import pytest
import torch
from cpp_oracle import every_dtype, every_vector_set, instruction_set, needs_kernels
from torch import Tensor

pytest.importorskip("fairseq")
from fairseq.modules import MultiheadAttention

from fairseq_wsum.plugin.modules import source_attention
from fairseq_wsum.plugin.modules.source_attention import SourceAttention

# sources, hypotheses of each, positions, heads, features of a head: around rows and vectors, and
# large enough for several threads
SHAPES = [(1, 1, 1, 1, 1), (2, 3, 5, 2, 3), (3, 4, 16, 4, 16), (2, 5, 17, 4, 32), (5, 9, 33, 3, 40)]
SHAPES += [(20, 6, 21, 4, 32)]


def exact(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    q, keys, values = q.double(), keys.double(), values.double()
    sources, heads, size, _ = keys.shape
    scores = q.view(sources, -1, heads, 1, size) @ keys.unsqueeze(1)
    weights = scores.masked_fill(mask.bool()[:, None, None, None], -torch.inf).softmax(-1)
    y = weights @ values.unsqueeze(1)
    return y.reshape(len(q), -1), weights.reshape(len(q), heads, -1)


def make_input(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    sources, hypotheses, length, heads, size = shape
    q = torch.randn(sources * hypotheses, heads * size).to(dtype)
    keys = torch.randn(sources, heads, size, length).to(dtype)
    values = torch.randn(sources, heads, length, size).to(dtype)
    mask = torch.arange(length) > torch.randint(length, (sources, 1))  # one position remains
    return q, keys, values, mask.float()


def assert_exact(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    given = make_input(shape, dtype)
    y, weights = source_attention.attend(*given)
    expected, their_weights = exact(*given)
    tolerance = dict(rtol=1e-5, atol=1e-5) if dtype == torch.float32 else dict(rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(y.double(), expected, **tolerance)
    torch.testing.assert_close(weights.double(), their_weights, rtol=1e-5, atol=1e-5)


@needs_kernels
@every_dtype
@every_vector_set
def test_every_instruction_set_and_number_of_threads_agrees(name, dtype) -> None:
    with instruction_set(name):
        for count in (1, 3):
            torch.set_num_threads(count)
            for shape in SHAPES:
                assert_exact(shape, dtype)


# The module, beside fairseq's

E, HEADS, LENGTH, SENTENCES, BEAM = 12, 3, 5, 4, 2


def make_pair() -> tuple[SourceAttention, MultiheadAttention]:
    made = []
    for kind in (SourceAttention, MultiheadAttention):
        module = kind(E, HEADS, kdim=8, vdim=8, encoder_decoder_attention=True).float().eval()
        made.append(module)
    made[1].load_state_dict(made[0].state_dict())
    return made[0], made[1]


@needs_kernels
@torch.no_grad()
@pytest.mark.parametrize("share", [False, True], ids=["a source each", "shared sources"])
@pytest.mark.parametrize(
    "need", [{}, {"need_weights": False}, {"need_head_weights": True}], ids=str
)
def test_decoding_equals_fairseqs(need, share, monkeypatch) -> None:
    """Three steps, after the second of which two sentences have ended."""
    calls = []
    attend = source_attention.attend
    monkeypatch.setattr(source_attention, "attend", lambda *a: calls.append(1) or attend(*a))
    source = torch.randn(LENGTH, SENTENCES, 8).repeat_interleave(BEAM, 1)
    mask = torch.arange(LENGTH) >= torch.tensor([5, 2, 4, 3]).repeat_interleave(BEAM).unsqueeze(1)
    queries = [torch.randn(1, SENTENCES * BEAM, E) for _ in range(2)]
    rest = torch.tensor([1, 0, 4, 5])  # hypotheses of the first and the third sentence
    queries.append(torch.randn(1, len(rest), E))
    results = []
    for module in make_pair():
        torch.manual_seed(0)
        module.set_beam_size(BEAM if share else 1)
        state: dict = {}
        x, padding = source, mask
        for step, query in enumerate(queries):
            if step == 2:
                module.reorder_incremental_state(state, rest)
                x, padding = x[:, rest], padding[rest]
            given = dict(key_padding_mask=padding, incremental_state=state, static_kv=True)
            results.append(module(query, x, x, **given, **need))
    assert len(calls) == 2  # the first step of a sentence is fairseq's
    for ours, theirs in zip(results[:3], results[3:], strict=True):
        torch.testing.assert_close(ours, theirs)


@needs_kernels
@pytest.mark.parametrize("case", ["gradients", "dropout", "float64", "autocast", "two positions"])
def test_what_the_kernel_does_not_do_is_left_to_fairseq(case, monkeypatch) -> None:
    monkeypatch.setattr(source_attention, "attend", None)
    module, theirs = make_pair()
    x, query = torch.randn(LENGTH, 3, 8), torch.randn(2 if case == "two positions" else 1, 3, E)
    if case == "dropout":
        module.dropout_module.p, module.dropout_module.apply_during_inference = 0.5, True
        theirs.dropout_module = module.dropout_module
    if case == "float64":
        module, theirs, x, query = module.double(), theirs.double(), x.double(), query.double()
    results = []
    with (
        torch.set_grad_enabled(case == "gradients"),
        torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"),
    ):
        for each in (module, theirs):
            state: dict = {}
            for seed in range(2):
                torch.manual_seed(seed)
                y = each(query, x, x, incremental_state=state, static_kv=True)
            results.append(y)
    torch.testing.assert_close(*results, rtol=0, atol=0)
