"""fairseq's moving average of a model (--store-ema)."""

from argparse import Namespace

import pytest
import torch

pytest.importorskip("fairseq")
import test_language_model as language_model
import transformer_models
import translation
from fairseq.dataclass.configs import EMAConfig
from fairseq.models.ema import EMA

PRE_NORM = dict(encoder_normalize_before=True, decoder_normalize_before=True)
ADAPTIVE = dict(criterion="adaptive_loss", adaptive_softmax_cutoff="15")
MODELS = {
    "wsum_lstm": lambda: translation.make_model(cell="no-srnn-hidden"),
    "wsum_transformer": lambda: transformer_models.make_model(**PRE_NORM),
    "adaptive": lambda: language_model.make_model(**ADAPTIVE),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def average_of(model, decay, **options):
    return EMA(model, Namespace(**vars(EMAConfig(store_ema=True, ema_decay=decay, **options))))


@every_model
def test_an_average_without_a_past_computes_what_the_model_computes(make) -> None:
    model = make().eval()
    average = average_of(make(), decay=0.0)
    average.step(model, 1)
    assert average.get_model().state_dict().keys() == model.state_dict().keys()
    is_language_model = isinstance(model, language_model.WsumLSTMLanguageModel)
    batch = (language_model.make_tokens(),) if is_language_model else translation.make_batch()
    torch.testing.assert_close(average.get_model().eval()(*batch)[0], model(*batch)[0])
