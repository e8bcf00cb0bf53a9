"""Decoding with the translation model: step by step, in a beam, with attention."""

import pytest
import torch

pytest.importorskip("fairseq")
from translation import (
    HEADS,
    PAD,
    VARIANTS,
    every_feeding,
    every_variant,
    make_batch,
    make_model,
    relative_error,
    step_by_step,
)

from fairseq_wsum.cells import CELLS
from fairseq_wsum.plugin.modules.attention import ATTENTIONS

plain_or_heads = pytest.mark.parametrize("options", [{}, HEADS], ids=["plain", "heads"])

OTHERS = [name for name in CELLS if name != "lstm"]  # which is "plain"


@every_feeding
@pytest.mark.parametrize(
    "options", [*VARIANTS.values(), *(dict(cell=name) for name in OTHERS)], ids=[*VARIANTS, *OTHERS]
)
def test_incremental_decoding_equals_full_decoding(options, feeding) -> None:
    model = make_model(decoder_input_feeding=feeding, **options)
    src, lengths, prev = make_batch()
    full, attention = model(src, lengths, prev)
    scores, step_attention = step_by_step(model, src, prev)
    torch.testing.assert_close(scores, full)
    torch.testing.assert_close(step_attention, attention)


REORDERED = {name: dict(decoder_attention=name) for name in (*ATTENTIONS, "none")}
REORDERED |= {"heads": dict(decoder_attention_heads=3), "windows": dict(cell="qrnn", window=2)}


@every_feeding
@pytest.mark.parametrize("options", REORDERED.values(), ids=REORDERED)
def test_beam_search_can_reorder_drop_and_repeat_hypotheses(feeding, options) -> None:
    sizes = dict(encoder_hidden_size=6, decoder_hidden_size=12)  # for `dot`
    options = dict(options, encoder_bidirectional=True, **sizes)
    model = make_model(decoder_input_feeding=feeding, **options)
    src, _, prev = make_batch()
    encoder_out, state = model.encoder(src), {}
    for t in range(1, 4):
        model.decoder(prev[:, :t], encoder_out=encoder_out, incremental_state=state)
    order = torch.tensor([2, 0, 2, 1, 0])
    model.decoder.reorder_incremental_state_scripting(state, order)
    encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)
    scores, _ = model.decoder(prev[order][:, :4], encoder_out, incremental_state=state)
    expected, _ = model(src[order], None, prev[order][:, :4])
    torch.testing.assert_close(scores[:, -1], expected[:, -1])


@every_feeding
@every_variant
def test_a_sentence_gets_the_same_score_in_a_batch_as_alone(options, feeding) -> None:
    model = make_model(decoder_input_feeding=feeding, **options)
    src, lengths, prev = make_batch()
    scores, attention = model(src, lengths, prev)
    for b, n in enumerate(lengths):
        alone, attention_alone = model(src[b : b + 1, -n:], lengths[b : b + 1], prev[b : b + 1])
        torch.testing.assert_close(scores[b], alone[0])
        if attention is not None:
            torch.testing.assert_close(attention[b, :, -n:], attention_alone[0])
            assert (attention[b, :, :-n] == 0).all()


@every_feeding
@plain_or_heads
def test_padding_on_the_left_of_the_target_changes_nothing(options, feeding) -> None:
    model = make_model(decoder_input_feeding=feeding, **options)
    src, lengths, prev = make_batch()
    padded = torch.cat((torch.full((len(prev), 2), PAD), prev), dim=1)
    torch.testing.assert_close(model(src, lengths, padded)[0][:, 2:], model(src, lengths, prev)[0])


def test_attention_is_returned_only_on_request() -> None:
    model = make_model()
    src, lengths, prev = make_batch()
    attention = model(src, lengths, prev)[1]
    assert attention.shape == (3, 6, 5)
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, 6, dtype=torch.float64))
    model.decoder.make_generation_fast_(need_attn=False)
    assert model(src, lengths, prev)[1] is None
    model.decoder.make_generation_fast_(need_attn=True)
    assert model.train()(src, lengths, prev)[1] is None


def test_16_bit_decoding_keeps_the_memory_cell_in_32_bits() -> None:
    model, (src, _, prev), state = make_model().to(torch.bfloat16), make_batch(), {}
    model.decoder(prev[:, :1], model.encoder(src), incremental_state=state)
    cached = model.decoder.get_incremental_state(state, "cached_state")
    assert cached["prev_cells"].dtype == torch.float32


# measured with five seeds: at most 0.05 and 0.003
@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 0.1), (torch.float16, 0.01)])
@every_feeding
@plain_or_heads
def test_incremental_decoding_equals_full_decoding_in_16_bits(
    options, feeding, dtype, most
) -> None:
    model = make_model(decoder_input_feeding=feeding, init_range=1.0, **options).to(dtype)
    src, lengths, prev = make_batch()
    full, _ = model(src, lengths, prev)
    scores, _ = step_by_step(model, src, prev)
    assert relative_error(scores, full) < most
