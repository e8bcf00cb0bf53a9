"""The benchmark of single decoding steps: its searches, its state, its table and its picture."""

import pytest
import torch

pytest.importorskip("fairseq")
import decoding_steps
from decoding_steps import Batch, Search, Words, build
from systems import transformers


def test_the_state_grows_with_attention_alone(tmp_path) -> None:
    sizes = {}
    for batch in (Batch(2, 3), Batch(1, 1)):
        models = {s.name: build(s, vocabulary=9) for s in transformers(["no-srnn-hidden"])}
        found = decoding_steps.measure(models, batch, 9, positions=5, window=2, rounds=2)
        assert [(w.first, w.last) for w in found] == [(1, 2), (3, 4), (5, 5)]
        assert all(seconds > 0 for w in found for seconds in w.seconds.values())
        # the keys, the values and the padding mask of the source in each of four layers
        source = 4 * batch.sentences * decoding_steps.SOURCE_WORDS * (128 + 128 + 1) * 4
        vectors = 4 * batch.hypotheses * 2 * 128 * 4  # a key and a value, or h and c
        sizes = [tuple(w.state.values()) for w in found]
        assert sizes == [(source + n * vectors, source + vectors) for n in (2, 4, 5)]


@pytest.fixture(scope="module")
def models() -> list[torch.nn.Module]:
    """fairseq's Transformer, and one with recurrent layers."""
    return [build(system, vocabulary=9) for system in transformers(["no-srnn-hidden"])]


def test_both_models_differ_in_self_attention_alone(models) -> None:
    theirs, ours = (
        {name: p.shape for name, p in model.named_parameters() if ".self_attn." not in name}
        for model in models
    )
    assert theirs == ours and "decoder.layers.1.fc1.weight" in ours


@pytest.mark.parametrize("number", [0, 1], ids=["attention", "gated-sum"])
def test_a_search_computes_the_scores_of_its_hypotheses(number, models) -> None:
    model, batch = models[number], Batch(sentences=2, beam=3)
    words = Words.random(batch, vocabulary=9, positions=4)
    search = Search(model, batch, words)
    history = torch.empty(6, 0, dtype=torch.long)
    for t in range(4):
        if t > 0:
            history = history[words.continued[t]]
        history = torch.cat((history, words.target[:, t : t + 1]), dim=1)
        scores = search.step(t)
    source = words.source[batch.sentence_of_each]
    lengths = torch.full((6,), source.size(1))
    whole, _ = model(source, lengths, history)
    torch.testing.assert_close(scores[:, 0], whole[:, -1], rtol=1e-4, atol=1e-4)


def test_times_and_states_are_printed_and_drawn(tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "steps.svg"
    command = ["--vocabulary", "9", "--rounds", "1", "--positions", "3", "--window", "2"]
    decoding_steps.main([*command, "--batches", "1,2", "2,2", "--picture", str(picture)])
    printed = capsys.readouterr().out
    assert "| 1 | 2 | 1 to 2 |" in printed and "| 2 | 2 | 3 to 3 |" in printed
    drawn = picture.read_text()
    shown = ("2 hypotheses", "time of a step, ms", "state, MB", "no-srnn-hidden")
    assert all(f">{text}</text>" in drawn for text in shown)


def test_ratios_are_above_one_if_ours_is_faster() -> None:
    seconds, state = {"self-attention": 0.004, "mingru": 0.002}, {"self-attention": 25, "mingru": 5}
    row = decoding_steps.Window(Batch(1, 1), 1, 20, seconds, state).row()
    assert list(row.values()) == ["1", "1", "1 to 20", "4.00", "2.00", "2.00", "0.000", "0.000"]
