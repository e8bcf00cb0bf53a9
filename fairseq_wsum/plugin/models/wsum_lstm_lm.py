"""`--arch wsum_lstm_lm`: language models with ablated LSTMs."""

from __future__ import annotations

from typing import Any

from fairseq.models import FairseqLanguageModel, register_model, register_model_architecture
from fairseq.tasks import FairseqTask

from .initial_values import embedding, init_uniform, load_embedding
from .options import check_task
from .presets import default, use_preset
from .wsum_lstm_lm_config import WsumLSTMLMConfig, read_config
from .wsum_lstm_lm_decoder import WsumLMDecoder


@register_model("wsum_lstm_lm", dataclass=WsumLSTMLMConfig)
class WsumLSTMLanguageModel(FairseqLanguageModel):
    """A language model with ablated LSTMs (Zaremba et al., 2014; Levy et al., ACL 2018).

    If a task passes it a `CarriedState`, as `--task wsum_language_modeling` does, it continues from
    its previous final state.
    """

    carries_state = True  # the decoder takes a `carried_state`

    @classmethod
    def build_model(cls, args: Any, task: FairseqTask) -> WsumLSTMLanguageModel:
        """Build the model that `args` (a dataclass, `DictConfig` or `Namespace`) describes.

        Raises:
            ValueError: an option is invalid, or options are incompatible; the message names them.
        """
        cfg = read_config(args)
        check_task(task, "wsum_lstm_lm")
        source, target = task.source_dictionary, task.target_dictionary
        if len(source) != len(target):  # a truncated dictionary compares equal
            raise ValueError(
                "--output-dictionary-size: this model predicts the words that it reads; omit this "
                "option, or limit the dictionary with fairseq-preprocess --nwordssrc"
            )
        embed_tokens = embedding(source, cfg.decoder_embed_dim)
        model = cls(WsumLMDecoder(cfg, source, embed_tokens))
        init_uniform(model, cfg.init_range, zero_biases=True)
        load_embedding(cfg.decoder_embed_path, source, embed_tokens)
        embed_tokens.weight.requires_grad_(not cfg.decoder_freeze_embed)
        return model


def _ptb(args: Any, name: str, size: int, dropout: float, init_range: float) -> None:
    use_preset(args, f"wsum_lstm_lm_ptb_{name}", dropout=dropout, init_range=init_range)
    default(args, decoder_embed_dim=size, decoder_hidden_size=size, decoder_layers=2)


@register_model_architecture("wsum_lstm_lm", "wsum_lstm_lm_ptb_small")
def wsum_lstm_lm_ptb_small(args: Any) -> None:
    """The small model of Zaremba et al. (2014)."""
    _ptb(args, "small", size=200, dropout=0.0, init_range=0.1)


@register_model_architecture("wsum_lstm_lm", "wsum_lstm_lm_ptb_medium")
def wsum_lstm_lm_ptb_medium(args: Any) -> None:
    """The medium model of Zaremba et al. (2014)."""
    _ptb(args, "medium", size=650, dropout=0.5, init_range=0.05)


@register_model_architecture("wsum_lstm_lm", "wsum_lstm_lm_ptb_large")
def wsum_lstm_lm_ptb_large(args: Any) -> None:
    """The large model of Zaremba et al. (2014)."""
    _ptb(args, "large", size=1500, dropout=0.65, init_range=0.04)


@register_model_architecture("wsum_lstm_lm", "wsum_lstm_lm_gbw")
def wsum_lstm_lm_gbw(args: Any) -> None:
    """LSTM-2048-512 of Jozefowicz et al. (2016), for the One Billion Word benchmark."""
    use_preset(args, "wsum_lstm_lm_gbw", decoder_layers=1, dropout=0.1, init_range=0.05)
    default(args, decoder_embed_dim=512, decoder_hidden_size=2048, decoder_proj_size=512)
