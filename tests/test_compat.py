"""The shims for fairseq that its commands use on GPUs, for --bf16, --store-ema and languages."""

import inspect
from argparse import Namespace
from functools import partial
from unittest.mock import Mock

import pytest
import torch

pytest.importorskip("fairseq")
import language_models
import transformer_models
import translation
from fairseq import checkpoint_utils, options
from fairseq.dataclass.configs import EMAConfig
from fairseq.models.ema import EMA
from fairseq.optim import AMPOptimizer
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

from fairseq_wsum.plugin.compat import averages


@pytest.mark.parametrize("named", [False, True], ids=["by place", "by name"])
@pytest.mark.parametrize("tpu", [False, True], ids=["without", "with"])
def test_bf16_needs_a_tpu_only_if_one_was_asked_for(tpu, named) -> None:
    parser = options.get_training_parser()
    given = ["data", "--arch", "wsum_lstm", "--bf16", *(["--tpu"] if tpu else [])]
    parse = options.parse_args_and_arch
    args = parse(parser, input_args=given) if named else parse(parser, given)
    assert args.bf16 and args.tpu == tpu


def amp_optimizer(weight: torch.nn.Parameter, scale: float) -> AMPOptimizer:
    """fairseq's SGD for --amp, with loss scaling on the CPU."""
    sgd = {"_name": "sgd", "lr": [0.5], "momentum": 0.9, "weight_decay": 0.0}
    amp = {"fp16_init_scale": 128, "min_loss_scale": 1e-4}
    config = OmegaConf.create({"optimizer": sgd, "common": amp})
    optimizer = AMPOptimizer.build_optimizer(config, [weight])
    optimizer._grad_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return optimizer


def test_one_language_alone_is_refused(prepared) -> None:
    for one in ({"source_lang": "de"}, {"target_lang": "en"}):
        with pytest.raises(ValueError, match="give both --source-lang and --target-lang"):
            TranslationTask.setup_task(TranslationConfig(data=str(prepared), **one))


def test_a_checkpoint_keeps_the_loss_scale_of_amp() -> None:
    weight = torch.nn.Parameter(torch.randn(5))
    first, second = amp_optimizer(weight, 64), amp_optimizer(weight, 2)
    state = first.state_dict()
    second.load_state_dict({name: part for name, part in state.items() if name != "grad_scaler"})
    assert second.scaler.get_scale() == 2
    second.load_state_dict(state)
    assert second.scaler.get_scale() == 64


def test_loss_scaling_does_not_change_the_updates() -> None:
    start, x = torch.randn(5), torch.randn(5)
    weights = []
    for scale in (1, 128):
        weight = torch.nn.Parameter(start.clone())
        optimizer = amp_optimizer(weight, scale)
        for _ in range(2):
            optimizer.zero_grad()
            optimizer.backward((weight * x).sum().square())
            optimizer.clip_grad_norm(0.3)
            optimizer.step()
        weights.append(weight.detach())
    torch.testing.assert_close(*weights)
    assert not torch.allclose(weights[0], start)


def test_fairseq_finds_out_that_a_task_knows_of_checkpoints() -> None:
    """It then drops the options that a model no longer has."""
    assert "from_checkpoint" in inspect.getfullargspec(TranslationTask.build_model).args


# Moving averages

PRE_NORM = dict(encoder_normalize_before=True, decoder_normalize_before=True)
ADAPTIVE = dict(criterion="adaptive_loss", adaptive_softmax_cutoff="15")
MODELS = {
    "wsum_lstm": lambda: translation.make_model(cell="no-srnn-hidden"),
    "wsum_transformer": lambda: transformer_models.make_model(**PRE_NORM),
    "adaptive": lambda: language_models.make_lstm(**ADAPTIVE),
}


def average_of(model, decay, **options):
    return EMA(model, Namespace(**vars(EMAConfig(store_ema=True, ema_decay=decay, **options))))


def test_a_resumed_average_is_updated_when_an_uninterrupted_one_is() -> None:
    whole, resumed = (average_of(translation.make_model(), 0.5, ema_update_freq=3) for _ in "ab")
    models = [translation.make_model() for _ in range(8)]
    resumed.restore(models[0].state_dict())
    whole.restore(models[0].state_dict())
    for updates, model in enumerate(models, start=1):
        whole.step(model, updates)
        if updates == 5:  # with what a checkpoint has
            resumed.restore(whole.get_model().state_dict())
        if updates > 5:
            resumed.step(model, updates)
    for one, other in zip(*(e.get_model().parameters() for e in (whole, resumed)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_an_average_without_a_past_computes_what_the_model_computes(make) -> None:
    model = make().eval()
    average = average_of(make(), decay=0.0)
    average.step(model, 1)
    assert average.get_model().state_dict().keys() == model.state_dict().keys()
    is_language_model = isinstance(model, language_models.WsumLSTMLanguageModel)
    batch = (language_models.make_tokens(),) if is_language_model else translation.make_batch()
    torch.testing.assert_close(average.get_model().eval()(*batch)[0], model(*batch)[0])


def test_a_shared_embedding_is_averaged_once() -> None:
    make = partial(transformer_models.make_model, share_decoder_input_output_embed=True)
    average, model = average_of(make(), decay=0.75), make()
    start = average.get_model().decoder.embed_tokens.weight.clone()
    average.step(model, 1)
    expected = 0.75 * start + 0.25 * model.decoder.embed_tokens.weight
    torch.testing.assert_close(average.get_model().decoder.output_projection.weight, expected)


def test_no_copy_in_32_bits_of_a_shared_embedding_is_left_behind() -> None:
    make = partial(transformer_models.make_model, share_decoder_input_output_embed=True)
    average = average_of(make().bfloat16(), decay=0.75, ema_fp32=True)
    average.step(make().bfloat16(), 1)
    averaged = average.get_model().state_dict()
    for name, copy in average.fp32_params.items():
        torch.testing.assert_close(copy.to(averaged[name]), averaged[name])


def test_the_weights_of_a_checkpoint_do_not_stay_in_memory(monkeypatch) -> None:
    """fairseq keeps what this returns until the end of a training."""
    monkeypatch.setattr(Trainer, "load_checkpoint", lambda _, extra_state: extra_state)
    monkeypatch.setattr(checkpoint_utils, "load_checkpoint_to_cpu", Mock())
    averages._begin_with_the_weights()
    load = partial(Trainer.load_checkpoint, None)
    assert load({"ema": {"w": torch.ones(1)}, "best": 1}) == {"best": 1} and load(None) is None
