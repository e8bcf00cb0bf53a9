"""The benchmark of single decoding steps: its searches, its state, its table and its picture."""

import importlib.util
import json

import pytest
import torch

pytest.importorskip("fairseq")
import decoding_steps
from decoding_steps import Batch, Search, Words, build, table
from systems import Sizes, transformers

TINY = ["--layers", "1", "--units", "8", "--feed-forward", "6", "--heads", "2"]
TINY += ["--vocabulary", "9", "--rounds", "2"]


def test_the_state_grows_with_attention_alone(capsys, tmp_path) -> None:
    path = tmp_path / "steps.json"
    options = ["--positions", "5", "--window", "2", "--batches", "2,3", "1,1", "--json", str(path)]
    decoding_steps.main([*TINY, *options])
    record = json.loads(path.read_text())
    printed = capsys.readouterr().out
    assert record["title"] in printed and "| 2 | 3 | 1 to 2 |" in printed
    for sentences, beam in ((2, 3), (1, 1)):
        batch = {"sentences": sentences, "beam": beam}
        sizes = {}
        for system in ("self-attention", "no-srnn-hidden"):
            found = [r for r in record["results"] if (r["system"], r["batch"]) == (system, batch)]
            assert [(r["first"], r["last"]) for r in found] == [(1, 2), (3, 4), (5, 5)]
            assert all(r["seconds"] > 0 for r in found)
            sizes[system] = [r["state"] for r in found]
        # the keys, the values and the padding mask of the source
        source = sentences * decoding_steps.SOURCE_WORDS * (8 + 8 + 1) * 4
        vectors = sentences * beam * 2 * 8 * 4  # a key and a value, or h and c
        assert sizes["self-attention"] == [source + n * vectors for n in (2, 4, 5)]
        assert sizes["no-srnn-hidden"] == [source + vectors] * 3


@pytest.fixture(scope="module")
def models() -> list[torch.nn.Module]:
    """fairseq's Transformer, and one with recurrent layers."""
    sizes = Sizes(layers=2, units=8, feed_forward=6, heads=2)
    return [build(system, vocabulary=9) for system in transformers(["no-srnn-hidden"], sizes)]


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


def test_the_table_has_windows_1_2_4_8_and_the_last() -> None:
    results = [
        decoding_steps.Window(name, Batch(1, 1), first, first, seconds, 2_500_000)
        for first in range(1, 11)
        for name, seconds in (("self-attention", 0.004), ("mingru", 0.002))
    ]
    lines = table(results).splitlines()
    assert [line.split(" | ")[2] for line in lines[2:]] == [f"{n} to {n}" for n in (1, 2, 4, 8, 10)]
    assert lines[-1] == "| 1 | 1 | 10 to 10 | 4.00 | 2.00 | 2.00 | 2.500 | 2.500 |"


def test_the_picture_is_drawn_or_names_the_missing_package(tmp_path) -> None:
    picture = tmp_path / "steps.svg"
    command = [*TINY, "--positions", "3", "--batches", "1,2", "--picture", str(picture)]
    if importlib.util.find_spec("matplotlib"):
        decoding_steps.main(command)
        drawn = picture.read_text()
        shown = ("2 hypotheses", "time of a step, ms", "state, MB", "no-srnn-hidden")
        assert all(f">{text}</text>" in drawn for text in shown)
    else:
        with pytest.raises(ValueError, match="--picture needs matplotlib: pip install"):
            decoding_steps.main(command)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batches", "16"], "'16' is not SENTENCES,BEAM"),
        (["--batches", "0,1"], "'0,1' is not SENTENCES,BEAM"),
        (["--units", "10"], "--units 10 is not a multiple of --heads 4"),
        (["--picture", "steps.gif"], "--picture steps.gif: the name must end with"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_are_named(options, message, capsys) -> None:
    with pytest.raises((SystemExit, ValueError)) as stopped:
        decoding_steps.main(options)
    assert message in f"{stopped.value}{capsys.readouterr().err}"
