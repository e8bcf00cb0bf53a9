"""`--arch wsum_transformer_lm`: fairseq's language model with recurrent layers for attention."""

from argparse import Namespace
from dataclasses import replace
from typing import Any

from fairseq.models import register_model
from fairseq.models.transformer import TransformerConfig
from fairseq.models.transformer_lm import TransformerLanguageModel
from fairseq.tasks import FairseqTask

from ..modules.dropout import use_dropout
from .options import check_task
from .wsum_transformer_lm_config import WsumTransformerLMConfig, read_config
from .wsum_transformer_lm_decoder import WsumTransformerLMDecoder


@register_model("wsum_transformer_lm", dataclass=WsumTransformerLMConfig)
class WsumTransformerLanguageModel(TransformerLanguageModel):
    """fairseq's Transformer language model, with recurrent layers in place of self-attention.

    If a task passes it a `CarriedState`, as `--task wsum_language_modeling` does, it continues from
    its previous final state. Layers that keep self-attention have no such state, and positions
    would start again with every part of the text.
    """

    carries_state = True

    @classmethod
    def build_model(cls, args: Any, task: FairseqTask) -> "WsumTransformerLanguageModel":
        """Build the model that `args` (a dataclass, `DictConfig` or `Namespace`) describes.

        Raises:
            ValueError: an option is invalid, or options are incompatible; the message names them.
        """
        cfg, recurrent = read_config(args)
        check_task(task, "wsum_transformer_lm")
        embed_tokens = super().build_model(_without_layers(cfg), task).decoder.embed_tokens
        nested = TransformerConfig.from_namespace(Namespace(**vars(cfg)))
        nested.decoder.recurrent = recurrent
        model = cls(
            WsumTransformerLMDecoder(
                nested, task.target_dictionary, embed_tokens, no_encoder_attn=True
            )
        )
        use_dropout(model)
        model.carries_state = not recurrent.attention_layers and cfg.no_token_positional_embeddings
        return model


def _without_layers(cfg: WsumTransformerLMConfig) -> WsumTransformerLMConfig:
    """The options of the smallest model, which is built for its embeddings.

    fairseq has no function for them. The output shares the embedding where it can, so that no
    second one is made.
    """
    own_output = cfg.adaptive_input or cfg.character_embeddings
    changes: dict[str, Any] = {
        "decoder_layers": 0,
        "decoder_layers_to_keep": None,
        "base_layers": 0,
        "share_decoder_input_output_embed": not own_output,
    }
    return replace(cfg, **changes)
