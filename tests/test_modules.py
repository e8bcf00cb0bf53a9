"""The parts of the models, by hand."""

import torch
import torch.nn.functional as F

from fairseq_wsum.plugin.modules.attention import ATTENTIONS, make_attention


def test_attention_equals_its_equations() -> None:
    queries, values = torch.randn(2, 1, 4), torch.randn(1, 3, 4)
    for kind in ATTENTIONS:
        attention = make_attention(kind, 4, 4)
        padding = torch.zeros(3, 1, dtype=torch.bool)
        outputs, weights = attention(queries, values, attention.project(values), padding)
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


def test_several_heads_equal_torchs_attention() -> None:
    attention = make_attention("general", 6, 5, heads=3).double()
    query, source = (torch.randn(n, 2, k, dtype=torch.float64) for n, k in ((4, 6), (7, 5)))
    padding = torch.zeros(7, 2, dtype=torch.bool)
    padding[:3, 0] = True
    values = source.transpose(0, 1).contiguous()
    output, weights = attention(query, values, attention.project(values), padding)
    maps = (attention.query_proj.weight, *attention.source_proj.weight.chunk(2))
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    context, expected = F.multi_head_attention_forward(
        *(query, source, source, 6, 3, None, None, None, None, False, 0.0),
        *(torch.eye(6, dtype=torch.float64), None),
        key_padding_mask=padding.t(),
        use_separate_proj_weight=True,
        **dict(zip(names, maps, strict=True)),
    )
    torch.testing.assert_close(weights, expected)
    joined = torch.cat((context, query), dim=-1)
    torch.testing.assert_close(output, torch.tanh(attention.output_proj(joined)))
