"""The shims for fairseq that its commands use on GPUs, and for --bf16."""

import pytest
import torch

pytest.importorskip("fairseq")

from fairseq import options
from fairseq.optim import AMPOptimizer
from omegaconf import OmegaConf

import fairseq_wsum.plugin  # noqa: F401  # applies them


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
