"""--bf16 in fairseq-generate, fairseq-interactive and fairseq-eval-lm, which ignore it."""

from __future__ import annotations

import functools
from typing import Any

from fairseq.models import BaseFairseqModel


def apply() -> None:
    """Convert models to bfloat16 before decoding, where fairseq converts them for --fp16."""
    prepare = BaseFairseqModel.prepare_for_inference_

    @functools.wraps(prepare)
    def prepare_in_bf16(self: BaseFairseqModel, cfg: Any) -> None:
        path = getattr(getattr(cfg, "common_eval", None), "path", None)
        # without a path it is the configuration of the training, as in `from_pretrained`
        if path and cfg.common.bf16:
            self.bfloat16()
        prepare(self, cfg)

    BaseFairseqModel.prepare_for_inference_ = prepare_in_bf16
