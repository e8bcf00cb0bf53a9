"""The parts of the models, by hand."""

import torch

from fairseq_wsum.plugin.modules import ATTENTION_TYPES, Attention


def test_attention_equals_its_equations() -> None:
    queries, values = torch.randn(2, 1, 4), torch.randn(1, 3, 4)
    for kind in ATTENTION_TYPES:
        attention = Attention(4, 4, kind)
        padding = torch.zeros(3, 1, dtype=torch.bool)
        outputs, weights = attention(queries, values, attention.keys(values), padding)
        for query, output, weight in zip(queries[:, 0], outputs[:, 0], weights[0], strict=True):
            if kind == "mlp":
                hidden = [attention.query_proj(query) + attention.source_proj(s) for s in values[0]]
                scores = torch.cat([attention.score(torch.tanh(h)) for h in hidden])
            else:
                scores = values[0] @ (attention.query_proj(query) if kind == "general" else query)
            expected = scores.softmax(0)
            torch.testing.assert_close(weight, expected)
            joined = torch.cat((expected @ values[0], query))
            torch.testing.assert_close(output, torch.tanh(attention.output_proj(joined)))
