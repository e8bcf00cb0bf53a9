"""The translation model: fairseq's contract, and fairseq's own LSTM as its oracle."""

from argparse import Namespace
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

pytest.importorskip("fairseq")
from fairseq import utils
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY, build_model
from fairseq.models.lstm import LSTMModel
from fairseq.sequence_generator import SequenceGenerator

import fairseq_wsum  # registers the architectures
from fairseq_wsum import linear, products
from fairseq_wsum.ablation import ABLATIONS
from fairseq_wsum.models import wsum_decoder
from fairseq_wsum.models.wsum_lstm import WsumLSTMModel
from fairseq_wsum.models.wsum_lstm_config import WsumLSTMConfig, resolve
from fairseq_wsum.modules.attention import ATTENTION_TYPES

SMALL = dict(
    encoder_embed_dim=6,
    decoder_embed_dim=6,
    encoder_hidden_size=5,
    decoder_hidden_size=7,
    encoder_layers=2,
    decoder_layers=2,
)


def make_dictionary(words: int) -> Dictionary:
    dictionary = Dictionary()
    for k in range(words):
        dictionary.add_symbol(f"w{k}")
    return dictionary


SOURCE, TARGET = make_dictionary(20), make_dictionary(30)
PAD, EOS = SOURCE.pad(), SOURCE.eos()


def make_task(source: Dictionary = SOURCE, target: Dictionary = TARGET) -> SimpleNamespace:
    return SimpleNamespace(source_dictionary=source, target_dictionary=target)


def make_model(task=None, **options) -> WsumLSTMModel:
    args = Namespace(**{**SMALL, **options})
    return WsumLSTMModel.build_model(args, task or make_task()).double().eval()


def make_batch(lengths=(5, 3, 4), target_length: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """src_tokens with padding on the left, src_lengths, prev_output_tokens."""
    src = torch.full((len(lengths), max(lengths)), PAD)
    for row, n in zip(src, lengths, strict=True):
        row[-n:] = torch.randint(4, len(SOURCE), (n,))
        row[-1] = EOS
    prev = torch.randint(4, len(TARGET), (len(lengths), target_length))
    prev[:, 0] = EOS
    return src, torch.tensor(lengths), prev


def make_generation(replace_unk=None, print_alignment=None) -> Namespace:
    """The options of fairseq-generate that the models read."""
    options = dict(replace_unk=replace_unk, print_alignment=print_alignment)
    return Namespace(generation=Namespace(beam=5, **options))


def step_by_step(model: WsumLSTMModel, src: Tensor, prev: Tensor) -> tuple[Tensor, Tensor | None]:
    """Scores and attention of incremental decoding, one token at a time."""
    encoder_out = model.encoder(src)
    state: dict = {}
    steps = [
        model.decoder(prev[:, : t + 1], encoder_out=encoder_out, incremental_state=state)
        for t in range(prev.size(1))
    ]
    attention = None if steps[0][1] is None else torch.cat([s[1] for s in steps], dim=1)
    return torch.cat([s[0] for s in steps], dim=1), attention


VARIANTS = {
    "plain": dict(),
    "bidirectional": dict(encoder_bidirectional=True),
    "deeper-encoder": dict(encoder_layers=3, decoder_layers=1),
    "deeper-decoder": dict(encoder_layers=1, decoder_layers=3, residuals=True),
    "coupled": dict(coupled_gates=True, ablation="no-srnn"),
    "dot": dict(decoder_attention="dot", encoder_hidden_size=7),
    "mlp": dict(decoder_attention="mlp"),
    "no-attention": dict(decoder_attention="none"),
    "out-embedding": dict(decoder_out_embed_dim=4),
    "shared-output": dict(share_decoder_input_output_embed=True),
    "adaptive": dict(criterion="adaptive_loss", adaptive_softmax_cutoff="8,16"),
    "mixed-cells": dict(encoder_ablation="no-gates", decoder_ablation="no-srnn-out"),
    "other-mix": dict(encoder_ablation="no-srnn-hidden", decoder_ablation="no-gates"),
}
every_feeding = pytest.mark.parametrize("feeding", ["True", "False"], ids=["feeding", "parallel"])
every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
every_ablation = pytest.mark.parametrize("ablation", ABLATIONS)


# Decoding


@every_feeding
@pytest.mark.parametrize(
    "options",
    [*VARIANTS.values(), *(dict(ablation=name) for name in ABLATIONS)],
    ids=[*VARIANTS, *ABLATIONS],
)
def test_incremental_decoding_equals_full_decoding(options, feeding) -> None:
    model = make_model(decoder_input_feeding=feeding, **options)
    src, lengths, prev = make_batch()
    full, attention = model(src, lengths, prev)
    scores, step_attention = step_by_step(model, src, prev)
    torch.testing.assert_close(scores, full)
    torch.testing.assert_close(step_attention, attention)


@every_feeding
@pytest.mark.parametrize("attention", [*ATTENTION_TYPES, "none"])
@pytest.mark.parametrize("both", [True, False], ids=["bidirectional", "one-way"])
def test_beam_search_may_reorder_drop_and_repeat_hypotheses(feeding, attention, both) -> None:
    sizes = dict(encoder_hidden_size=6 if both else 12, decoder_hidden_size=12)  # for `dot`
    options = dict(decoder_attention=attention, encoder_bidirectional=both, **sizes)
    model = make_model(decoder_input_feeding=feeding, **options)
    src, _, prev = make_batch()
    encoder_out, state = model.encoder(src), {}
    for t in range(1, 4):
        model.decoder(prev[:, :t], encoder_out=encoder_out, incremental_state=state)
    order = torch.tensor([2, 0, 2, 1, 0])
    model.decoder.reorder_incremental_state_scripting(state, order)
    encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)
    scores, _ = model.decoder(prev[order][:, :4], encoder_out, state)
    expected, _ = model(src[order], None, prev[order][:, :4])
    torch.testing.assert_close(scores[:, -1], expected[:, -1])


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")
@every_feeding
@every_variant
def test_in_decoding_all_weights_are_kept_ready(options, feeding, monkeypatch) -> None:
    monkeypatch.setattr(products, "_choices", {"product": True})
    model = make_model(decoder_input_feeding=feeding, **options).float()
    src, _, prev = make_batch()
    with torch.no_grad():
        encoder_out = model.encoder(src)
        expected, _ = model.decoder(prev, encoder_out)
        model.prepare_for_inference_(make_generation())
        monkeypatch.setattr(products, "uses_onednn", lambda *_: pytest.fail("not kept ready"))
        state: dict = {}
        steps = [model.decoder(prev[:, : t + 1], encoder_out, state)[0] for t in range(6)]
    torch.testing.assert_close(torch.cat(steps, dim=1), expected)


@every_variant
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
def test_a_weight_of_the_loop_has_one_product_for_its_gradient(options, dtype, monkeypatch) -> None:
    """That of all steps together is the sum of the steps'."""
    model = make_model(decoder_input_feeding="True", **options).to(dtype)
    src, lengths, prev = make_batch()
    calls: list[int] = []
    monkeypatch.setattr(linear, "outer", lambda a, b: calls.append(len(a)) or a.t() @ b)
    gradients = []
    for context in (linear.repeated, nullcontext):
        monkeypatch.setattr(wsum_decoder, "repeated", context)
        y = model(src, lengths, prev)[0]
        loss = (y * torch.linspace(-1, 1, y.numel(), dtype=dtype).view_as(y)).sum()
        gradients.append(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))
    torch.testing.assert_close(*gradients)
    matrices = sum(p.dim() == 2 for p in model.decoder.parameters())
    assert 0 < len(calls) <= matrices and max(calls) >= prev.numel()


def test_keys_of_attention_are_computed_once_in_decoding() -> None:
    model = make_model(decoder_attention="mlp")
    calls = []
    model.decoder.attention.source_proj.register_forward_hook(lambda *_: calls.append(1))
    src, _, prev = make_batch()
    step_by_step(model, src, prev)
    assert len(calls) == 1


@every_feeding
@every_variant
def test_a_sentence_in_a_batch_is_scored_as_it_is_alone(options, feeding) -> None:
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
def test_padding_on_the_left_of_the_target_changes_nothing(feeding) -> None:
    model = make_model(decoder_input_feeding=feeding)
    src, lengths, prev = make_batch()
    padded = torch.cat((torch.full((len(prev), 2), PAD), prev), dim=1)
    torch.testing.assert_close(model(src, lengths, padded)[0][:, 2:], model(src, lengths, prev)[0])


def test_attention_is_returned_only_where_it_is_asked_for() -> None:
    model = make_model()
    src, lengths, prev = make_batch()
    attention = model(src, lengths, prev)[1]
    assert attention.shape == (3, 6, 5)
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, 6, dtype=torch.float64))
    model.decoder.make_generation_fast_(need_attn=False)
    assert model(src, lengths, prev)[1] is None
    model.decoder.make_generation_fast_(need_attn=True)
    assert model.train()(src, lengths, prev)[1] is None


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (dict(replace_unk=None, print_alignment=None), False),
        (dict(replace_unk="", print_alignment=None), True),
        (dict(replace_unk=None, print_alignment="hard"), True),
    ],
)
def test_fairseq_generate_gets_the_attention_that_its_options_need(options, wanted) -> None:
    model = make_model()
    model.prepare_for_inference_(make_generation(**options))
    assert model.decoder.need_attn == wanted


@pytest.mark.parametrize("option", ["replace_unk", "print_alignment"])
def test_asking_a_model_without_attention_for_alignments_is_an_error(option) -> None:
    model = make_model(decoder_attention="none")
    with pytest.raises(ValueError, match=f"--{option.replace('_', '-')} needs attention"):
        model.prepare_for_inference_(make_generation(**{option: "x"}))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_feeding
def test_in_16_bits_too_incremental_decoding_equals_full_decoding(feeding, dtype) -> None:
    model = make_model(decoder_input_feeding=feeding).to(dtype)
    src, lengths, prev = make_batch()
    full, _ = model(src, lengths, prev)
    scores, _ = step_by_step(model, src, prev)
    torch.testing.assert_close(scores, full, rtol=0.02, atol=0.01)


@every_feeding
@pytest.mark.parametrize("ensemble", [1, 2])
def test_beam_search_finds_what_a_search_over_all_outputs_finds(ensemble, feeding) -> None:
    # three words that can come out at all, and a beam as wide as all their sequences: beam search
    # is then an exhaustive search (fairseq's beam is never wider than the dictionary)
    words = make_dictionary(16)
    task = make_task(SOURCE, words)
    models = [
        make_model(task, decoder_input_feeding=feeding, init_range=1.0) for _ in range(ensemble)
    ]
    possible = [words.index(f"w{k}") for k in range(3)]
    for model in models:
        impossible = [s for s in range(len(words)) if s not in (*possible, EOS)]
        model.decoder.fc_out.bias.data[impossible] = -1e4
    src, lengths, _ = make_batch((4, 2))
    generator = SequenceGenerator(
        models, words, beam_size=16, max_len_b=2, normalize_scores=False, min_len=1
    )
    sample = {"net_input": {"src_tokens": src, "src_lengths": lengths}}
    found = generator.generate(models, sample)
    for b in range(2):
        best = max(
            score_of(models, src[b : b + 1], [*sequence, EOS])
            for n in (1, 2)
            for sequence in product(possible, repeat=n)
        )
        torch.testing.assert_close(found[b][0]["score"].item(), best)


def score_of(models: list[WsumLSTMModel], src: Tensor, target: list[int]) -> float:
    prev = torch.tensor([[EOS, *target[:-1]]])
    probabilities = torch.stack([m(src, None, prev)[0].softmax(-1) for m in models]).mean(0)
    steps = probabilities[0].gather(1, torch.tensor(target).unsqueeze(1))
    return steps.log().sum().item()


@every_feeding
@every_variant
def test_the_model_runs_under_autocast(options, feeding) -> None:
    model = make_model(decoder_input_feeding=feeding, **options).float()
    src, lengths, prev = make_batch()
    exact, _ = model(src, lengths, prev)
    with torch.autocast("cpu", torch.bfloat16):
        scores, _ = model(src, lengths, prev)
        scores.float().sum().backward()
    torch.testing.assert_close(scores.float(), exact, rtol=0.05, atol=0.02)


# fairseq's own LSTM


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-direction", "two-directions"])
@pytest.mark.parametrize("attention", ["1", "0"], ids=["attention", "no-attention"])
def test_lstm_with_input_feeding_equals_the_lstm_of_fairseq(attention, bidirectional) -> None:
    options = dict(
        SMALL,
        decoder_attention=attention,
        encoder_bidirectional=bidirectional,
        decoder_out_embed_dim=4,
        share_decoder_input_output_embed=False,
        criterion="cross_entropy",
    )
    theirs = LSTMModel.build_model(Namespace(**options), make_task()).double().eval()
    ours = make_model(**options)
    ours.load_state_dict(renamed(theirs.state_dict()))
    src, lengths, prev = make_batch((5, 4, 2))
    scores, attn = ours(src, lengths, prev)
    scores_theirs, attn_theirs = theirs(src, lengths, prev)
    torch.testing.assert_close(scores, scores_theirs)
    if attention == "1":  # theirs has moved the padding to the right
        for b, n in enumerate(lengths):
            torch.testing.assert_close(attn[b, :, -n:], attn_theirs[b, :, :n])
    for k, (part, part_theirs) in enumerate(
        zip(ours.encoder(src), theirs.encoder(src, lengths), strict=True)
    ):
        if k in (1, 2):  # final states
            torch.testing.assert_close(part, part_theirs)
        assert part.shape == part_theirs.shape and part.dtype == part_theirs.dtype


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of fairseq's LSTM under our names."""
    result = {}
    for name, value in state.items():
        if name.startswith("encoder.lstm."):
            parameter, _, rest = name.removeprefix("encoder.lstm.").rpartition("_l")
            layer, _, direction = rest.partition("_")
            suffix = "_l0" + ("_reverse" if direction else "")
            name = f"encoder.lstm.layers.{layer}.{parameter}{suffix}"
        elif name.startswith("decoder.layers."):
            name = name.replace("decoder.layers.", "decoder.lstm.layers.") + "_l0"
        name = name.replace("encoder_hidden_proj", "hidden_bridge.proj")
        name = name.replace("encoder_cell_proj", "cell_bridge.proj")
        result[name.replace("attention.input_proj", "attention.query_proj")] = value
    return result


def test_every_option_of_the_lstm_of_fairseq_exists() -> None:
    from argparse import ArgumentParser

    theirs, ours = ArgumentParser(), ArgumentParser()
    LSTMModel.add_args(theirs)
    WsumLSTMModel.add_args(ours)
    missing = set(theirs._option_string_actions) - set(ours._option_string_actions)
    assert not missing
    assert "--criterion" not in ours._option_string_actions  # fairseq's, only read here


# Building


@pytest.mark.parametrize("encoder", ABLATIONS)
@pytest.mark.parametrize("decoder", ABLATIONS)
def test_every_parameter_is_used(decoder, encoder) -> None:
    # what is never used would be dead weight, and an error in distributed training
    for attention in ("general", "none"):
        options = dict(encoder_ablation=encoder, decoder_ablation=decoder)
        unlinked = encoder == "no-gates" and decoder in ("no-srnn-hidden", "no-srnn-out-hidden")
        if attention == "none" and unlinked:
            continue  # an error, see BAD_OPTIONS
        model = make_model(decoder_attention=attention, **options).train()
        assert not unused_parameters(model)


@every_feeding
@every_variant
def test_every_parameter_of_a_variant_is_used(options, feeding) -> None:
    if "criterion" not in options:  # an adaptive softmax needs the targets
        model = make_model(decoder_input_feeding=feeding, **options).train()
        assert not unused_parameters(model)


def unused_parameters(model: WsumLSTMModel) -> list[str]:
    src, lengths, prev = make_batch()
    model(src, lengths, prev)[0].sum().backward()
    return [name for name, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize("encoder", ["lstm", "no-gates"])
@every_ablation
def test_the_decoder_starts_from_every_state_that_both_sides_have(ablation, encoder) -> None:
    model = make_model(encoder_ablation=encoder, decoder_ablation=ablation)
    cell = ABLATIONS[ablation]
    assert (model.decoder.hidden_bridge is not None) == cell.is_recurrent
    assert (model.decoder.cell_bridge is not None) == (cell.gates and encoder != "no-gates")


def test_encoder_and_decoder_may_have_cells_of_their_own() -> None:
    model = make_model(ablation="no-srnn", decoder_ablation="no-gates")
    assert {layer.ablation for layer in model.encoder.lstm.layers} == {"no-srnn"}
    assert {layer.ablation for layer in model.decoder.lstm.layers} == {"no-gates"}


def test_residuals_add_the_input_of_a_layer_to_its_output() -> None:
    model = make_model(residuals=True, encoder_layers=2)
    stack = model.encoder.lstm
    x = torch.randn(4, 2, 6, dtype=torch.float64)
    first, _ = stack.layers[0](x)
    second, _ = stack.layers[1](first)
    torch.testing.assert_close(stack(x)[0], second + first)


def test_all_parameters_start_within_the_init_range_but_padding_at_zero() -> None:
    model = make_model(init_range=0.01)
    assert all(p.abs().max() <= 0.01 for p in model.parameters())
    for embedding in (model.encoder.embed_tokens, model.decoder.embed_tokens):
        assert (embedding.weight[PAD] == 0).all() and (embedding.weight[PAD + 1] != 0).any()


def test_shared_embeddings_are_one_tensor() -> None:
    model = make_model(make_task(SOURCE, SOURCE), share_all_embeddings=True)
    assert model.encoder.embed_tokens is model.decoder.embed_tokens
    assert not hasattr(model.decoder, "fc_out")
    assert "decoder.fc_out.weight" not in model.state_dict()


def test_pretrained_embeddings_are_read_and_may_be_frozen(tmp_path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("2 6\nw3 1 2 3 4 5 6\nunheard-of 0 0 0 0 0 0\n")
    model = make_model(encoder_embed_path=str(path), encoder_freeze_embed=True)
    weight = model.encoder.embed_tokens.weight
    assert weight[SOURCE.index("w3")].tolist() == [1, 2, 3, 4, 5, 6]
    assert weight[SOURCE.index("w4")].abs().max() <= 0.1
    assert not weight.requires_grad and model.decoder.embed_tokens.weight.requires_grad


def test_the_adaptive_softmax_gives_probabilities_and_trains() -> None:
    from fairseq.criterions.adaptive_loss import AdaptiveLoss

    model = make_model(criterion="adaptive_loss", adaptive_softmax_cutoff="8,16")
    src, lengths, prev = make_batch()
    output = model(src, lengths, prev)
    log_probs = model.get_normalized_probs(output, log_probs=True)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(3, 6, dtype=torch.float64))
    net_input = {"src_tokens": src, "src_lengths": lengths, "prev_output_tokens": prev}
    target = prev.roll(-1, 1)
    # fairseq's criterion takes the second word after a cutoff for padding, and leaves it out
    target[(target == 8 + PAD) | (target == 16 + PAD)] = 20
    sample = {"net_input": net_input, "target": target, "ntokens": 18}
    criterion = AdaptiveLoss(SimpleNamespace(target_dictionary=TARGET), sentence_avg=False)
    loss, _, _ = criterion(model, sample)
    expected = -log_probs.gather(-1, target.unsqueeze(-1)).sum()
    torch.testing.assert_close(loss.squeeze(), expected)


# Compatibility


def test_an_alignment_of_any_form_gives_source_positions() -> None:
    words = ("<unk> b <unk>", "x y")
    forms = (
        torch.tensor([1, 0, 0]),  # of beam search, from attention
        [(1, 0), (0, 1), (0, 2)],  # hard: source, target
        [["0.1", "0.2", "0.7"], ["0", "1", "0"], ["0.6", "0.1", "0.3"]],  # soft, with </s>
    )
    for alignment in forms:
        assert utils.replace_unk(*words, alignment, {"y": "Y"}, "<unk>") == "Y b x"
    assert utils.replace_unk(*words, torch.empty(0), {}, "<unk>") == words[0]


# Options


def test_every_ablation_has_a_preset() -> None:
    for name in ABLATIONS:
        arch = "wsum_lstm" if name == "lstm" else "wsum_lstm_" + name.replace("-", "_")
        assert ARCH_MODEL_REGISTRY[arch] is WsumLSTMModel
        args = Namespace()
        ARCH_CONFIG_REGISTRY[arch](args)
        assert resolve(args).decoder_ablation == name


def test_a_preset_gives_way_to_what_the_user_says() -> None:
    args = Namespace(ablation="no-out")
    ARCH_CONFIG_REGISTRY["wsum_lstm_no_srnn"](args)
    assert args.ablation == "no-out"


def test_the_preset_for_multi30k_is_the_model_of_the_example_for_hydra() -> None:
    from omegaconf import OmegaConf

    example = Path(__file__).parents[1] / "examples" / "translation_multi30k" / "strong.yaml"
    named = OmegaConf.load(example).model
    args = Namespace(ablation=named.ablation)
    ARCH_CONFIG_REGISTRY["wsum_lstm_multi30k"](args)
    assert resolve(args) == resolve(named)


def test_the_dropouts_of_the_preset_for_multi30k_follow_dropout() -> None:
    args = Namespace(dropout=0.1, decoder_dropout_in=0.2)
    ARCH_CONFIG_REGISTRY["wsum_lstm_multi30k"](args)
    cfg = resolve(args)
    assert (cfg.encoder_dropout_in, cfg.encoder_dropout_out, cfg.decoder_dropout_in) == (
        *(0.1, 0.1),
        0.2,
    )
    assert cfg.decoder_dropout_out == cfg.encoder_layer_dropout == 0.1


def test_the_default_is_the_readme_model_of_opennmt() -> None:
    cfg = resolve(Namespace())
    assert (cfg.encoder_layers, cfg.decoder_layers) == (2, 2)
    assert cfg.encoder_embed_dim == cfg.encoder_hidden_size == cfg.decoder_hidden_size == 500
    assert cfg.decoder_out_embed_dim == 500 and cfg.attention == "general" and cfg.input_feeding
    dropouts = (cfg.encoder_layer_dropout, cfg.decoder_layer_dropout, cfg.decoder_dropout_out)
    assert dropouts == (0.3, 0.3, 0.3)
    assert (cfg.encoder_dropout_in, cfg.encoder_dropout_out, cfg.decoder_dropout_in) == (0, 0, 0)


def test_dropout_out_is_also_between_layers_as_in_fairseq() -> None:
    cfg = resolve(Namespace(dropout=0.1, encoder_dropout_out=0.2, decoder_dropout_out=0.4))
    assert (cfg.encoder_layer_dropout, cfg.encoder_dropout_out) == (0.2, 0.2)
    assert (cfg.decoder_layer_dropout, cfg.decoder_dropout_out) == (0.4, 0.4)


def test_a_model_is_built_from_a_dataclass_a_namespace_and_a_dict_config() -> None:
    from omegaconf import OmegaConf

    expected = sum(p.numel() for p in make_model().parameters())
    named = OmegaConf.create({"_name": "wsum_lstm", **SMALL})
    for model in (
        WsumLSTMModel.build_model(WsumLSTMConfig(**SMALL), make_task()),
        build_model(Namespace(arch="wsum_lstm", **SMALL), make_task()),
        build_model(named, make_task()),
        WsumLSTMModel.build_model(OmegaConf.structured(WsumLSTMConfig(**SMALL)), make_task()),
    ):
        assert sum(p.numel() for p in model.parameters()) == expected


BAD_OPTIONS = {
    "unlinked": (
        dict(
            decoder_attention="none",
            encoder_ablation="no-gates",
            decoder_ablation="no-srnn-out-hidden",
        ),
        "the decoder would know nothing of the source",
    ),
    "ablation": (dict(ablation="nope"), "--ablation nope: choose one of lstm, no-srnn"),
    "encoder": (dict(encoder_ablation="nope"), "--encoder-ablation nope"),
    "coupled": (
        dict(coupled_gates=True, decoder_ablation="no-gates"),
        "--coupled-gates with --decoder-ablation no-gates",
    ),
    "attention": (dict(decoder_attention="soft"), "--decoder-attention soft: choose one of"),
    "dot": (dict(decoder_attention="dot"), r"--decoder-attention dot needs as many .*\(5"),
    "feeding": (dict(decoder_input_feeding="maybe"), "--decoder-input-feeding maybe: give True"),
    "layers": (dict(encoder_layers=0), "--encoder-layers 0: give at least 1"),
    "backend": (dict(lstm_backend="fpga"), "--lstm-backend fpga: choose one of auto"),
    "init": (dict(init_range=0.0), "--init-range 0.0: give a number larger than 0"),
    "joined": (dict(share_all_embeddings=True), "requires a joined dictionary"),
    "widths": (
        dict(share_all_embeddings=True, encoder_embed_dim=8),
        "--encoder-embed-dim 8 to match --decoder-embed-dim 6",
    ),
    "output": (
        dict(share_decoder_input_output_embed=True, decoder_out_embed_dim=4),
        "--decoder-embed-dim 6 to match --decoder-out-embed-dim 4",
    ),
    "cutoffs": (
        dict(criterion="adaptive_loss", adaptive_softmax_cutoff="10,100"),
        "a cutoff is larger than the target dictionary, which has 34",
    ),
    "cutoff": (
        dict(criterion="adaptive_loss", adaptive_softmax_cutoff="ten"),
        "--adaptive-softmax-cutoff ten: give whole numbers",
    ),
    "adaptive": (
        dict(
            criterion="adaptive_loss",
            adaptive_softmax_cutoff="8",
            share_decoder_input_output_embed=True,
        ),
        "does not go with --criterion adaptive_loss",
    ),
}


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_options_that_do_not_fit_are_an_error_that_names_them(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(**options)


def test_the_package_names_its_parts() -> None:
    assert set(fairseq_wsum.__all__) >= {"WsumLSTM", "ABLATIONS"}
