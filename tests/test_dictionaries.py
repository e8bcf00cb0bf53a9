"""Models reject the weights of another dictionary, by the buffer `words` of encoder and decoder."""

from argparse import Namespace
from functools import partial

import pytest
import torch

pytest.importorskip("fairseq")
import transformer_models
from fairseq.models import build_model
from translation import make_dictionary, make_model, make_task

TASK = make_task(make_dictionary(20), make_dictionary(30))
OTHER = make_dictionary(28)
OTHER.add_symbol("another")
OTHER.add_symbol("word")


def language_model(arch, task):
    words = task.target_dictionary
    return build_model(Namespace(arch=arch, decoder_embed_dim=8), make_task(words, words))


MODELS = {"lstm": make_model, "transformer": transformer_models.make_model}
MODELS |= {arch: partial(language_model, arch) for arch in ("wsum_lstm_lm", "wsum_transformer_lm")}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


@every_model
def test_another_dictionary_is_rejected(make) -> None:
    weights = make(TASK).state_dict()
    sides = {name.split(".")[0] for name in weights}
    assert {name for name in weights if "words" in name} == {f"{side}.words" for side in sides}
    make(TASK).load_state_dict(weights)
    for words in (OTHER, make_dictionary(26)):  # of the same size, and a smaller one
        with pytest.raises(ValueError, match="trained with other words"):
            make(make_task(TASK.source_dictionary, words)).load_state_dict(weights)


def test_weights_are_loaded_into_a_model_made_without_memory() -> None:
    weights, model = make_model(TASK).state_dict(), make_model(TASK)
    model.to("meta").to_empty(device="cpu").load_state_dict(weights)
    assert torch.equal(model.state_dict()["encoder.words"], weights["encoder.words"])


KEPT = {
    "half": lambda entries: entries[0].half(),
    "bfloat16": lambda entries: entries[0].bfloat16(),
    "mean": lambda entries: sum(entries) / len(entries),
    "moving average": lambda entries: entries[0].clone().mul_(0.999).add_(entries[1], alpha=0.001),
}


@pytest.mark.parametrize("change", KEPT.values(), ids=KEPT)
def test_the_hash_survives_what_programs_do_with_weights(change) -> None:
    models = [make_model(TASK) for _ in range(3)]
    weights = models[0].state_dict()
    weights["decoder.words"] = change([model.state_dict()["decoder.words"] for model in models])
    models[0].load_state_dict(weights)
    with pytest.raises(ValueError, match="trained with other words"):
        make_model(make_task(TASK.source_dictionary, OTHER)).load_state_dict(weights)


@every_model
def test_weights_without_a_hash_load_and_leave_the_models_own(make) -> None:
    model = make(TASK)
    before = {name: entry.clone() for name, entry in model.state_dict().items()}
    model.load_state_dict({name: one for name, one in before.items() if "words" not in name})
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
