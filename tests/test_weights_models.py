"""What `fairseq-wsum weights` computes from checkpoints of every kind."""

import math
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch

pytest.importorskip("fairseq")
from commands import train
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from fairseq.tasks import FairseqTask
from shell import lines
from weights_checkpoints import SENTENCE, main, traced

from fairseq_wsum.weights import reconstruction_error
from fairseq_wsum.weights.models import Reader
from fairseq_wsum.weights.vocabulary import Vocabulary

LAYERS = {  # those with weights: side, number, directions
    "translator": [("encoder", 1, 2), ("decoder", 1, 1), ("decoder", 2, 1)],
    "parallel": [("encoder", 1, 1), ("encoder", 2, 1), ("decoder", 1, 1)],
    "half": [("decoder", 1, 1)],
    "transformer": [("encoder", 1, 2), ("encoder", 3, 2), *(("decoder", k, 1) for k in (1, 2, 3))],
    "lm": [("decoder", 1, 1), ("decoder", 2, 1)],
}
FEEDS = ("translator", "half")  # whose decoders run step by step


@pytest.mark.parametrize("target", [None, "der Mann sieht den Hund ."], ids=["own", "given"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_sum_explains_what_every_layer_of_a_model_computes(models, name, target) -> None:
    reader = Reader(models[name])
    line = ("w1 w4 w2 w7", None) if name == "lm" else (SENTENCE, target)
    sentence = traced(reader, *line)
    found = [(view.side, view.layer, len(view.directions)) for view in sentence.views]
    assert found == LAYERS[name]
    for view in sentence.views:
        for one in view.directions:
            assert len(one.cells) == len(view.text.tokens)
            assert max(reconstruction_error(one)) < 1e-5
    reads = sentence.views[-1].text.tokens  # what it predicted one step before
    assert reads == ("</s>", *sentence.target.tokens[:-1])

    calls = {layer.module: [] for layer in reader.layers}  # the result of each
    for module in calls:
        module.register_forward_hook(lambda module, _, result: calls[module].append(result))
    read = torch.tensor([[reader.task.target_dictionary.index(token) for token in reads]])
    if name == "lm":
        reader.model(read)
    else:
        indices = [reader.task.source_dictionary.index(token) for token in sentence.source.tokens]
        reader.model(torch.tensor([indices]), torch.tensor([len(indices)]), read)
        tokens = (len(reads), len(indices))
        assert sentence.attention.shape == tokens
        torch.testing.assert_close(sentence.attention.sum(1), torch.ones(tokens[0]))
    views = {(view.side, view.layer): view.directions for view in sentence.views}
    for side, number, module in reader.layers:
        if not module.cell.has_memory:
            continue
        outputs, states = zip(*calls[module], strict=True)
        assert len(outputs) == (len(reads) if side == "decoder" and name in FEEDS else 1)
        layers = [views[side, number + k] for k in range(module.num_layers)]
        found = torch.cat([one.outputs for one in layers[-1]], dim=-1)
        torch.testing.assert_close(found, torch.cat(outputs))
        h_n, _ = states[-1]
        for one, h in zip((one for layer in layers for one in layer), h_n, strict=True):
            torch.testing.assert_close(one.outputs[0 if one.reverse else -1], h)


def test_text_that_is_segmented_already_stays_so(models) -> None:
    reader = Reader(models["half"])
    plain = traced(reader, SENTENCE, "der hund .")
    assert len(plain.source.tokens) > len(plain.source.words) == len(SENTENCE.split()) + 1
    segmented = traced(
        reader, *(" ".join(text.tokens[:-1]) for text in (plain.source, plain.target))
    )
    assert segmented.source == plain.source and segmented.target == plain.target
    # of sentencepiece, whose text may have the mark of subword_nmt
    marked = reader.vocabularies["encoder"].encode(f"{SENTENCE} @@ .").text.tokens
    assert marked[: len(plain.source.tokens) - 1] == plain.source.tokens[:-1]


def test_only_a_dictionary_of_subwords_has_segmented_text(tmp_path) -> None:
    bpe = SimpleNamespace(encode=lambda text: text.replace("cab", "c@@ ab"))
    stray = [*(f"w{k}" for k in range(300)), "@@", "▁▂▃"]  # a mark in a text of words
    for symbols, text, tokens, words, counts in (
        (["c@@", "ab"], "cab", ["c@@", "ab"], ["cab"], None),
        (["c@@", "ab"], "c@@ ab", ["c@@", "ab"], ["cab"], None),
        (["cab", "ab"], "cab", ["cab"], ["cab"], {"cab": 1, "ab": 1}),
        (stray, "w1 @@ w2", ["w1", "@@", "w2"], ["w1", "@@", "w2"], dict.fromkeys(stray, 1)),
    ):
        dictionary = Dictionary()
        for symbol in symbols:
            dictionary.add_symbol(symbol)
        vocabulary = Vocabulary(dictionary, tmp_path)
        vocabulary.bpe = vocabulary.kind and bpe
        found = vocabulary.encode(text).text
        assert found.tokens == (*tokens, "</s>") and found.words == (*words, "</s>")
        assert vocabulary.counts() == counts


def test_unknown_words_are_shown_with_a_warning(models, tmp_path, capsys) -> None:
    main(models["lm"], "--sentence", "Straße w1 <unk> über", "--arrays", tmp_path / "a.npz")
    assert "warning" not in capsys.readouterr().err  # half of the words are known
    with numpy.load(tmp_path / "a.npz") as arrays:
        shown = ["Straße <unk>", "w1", "<unk>", "über <unk>", "</s>"]
        assert arrays["0/target"].tolist() == shown
    texts = ["--sentence", "the man", "--target-sentence", "漢字 仮名"]
    main(models["translator"], *texts, "--tables", tmp_path / "t")
    shown = capsys.readouterr().err
    assert "warning: the decoder's dictionary lacks 2 of 2 words. Does the text" in shown
    assert "encoder's" not in shown


def test_a_language_model_can_carry_its_state(models) -> None:
    reader = Reader(models["lm"])
    lines = [reader.encode(words) for words in ("w1 w4 w2", "w7 w0")]
    for carries in (True, False):
        first, second = reader.sentences(lines, carry_state=carries)
        for before, after in zip(first.views, second.views, strict=True):
            last, start = before.directions[0].c_n, after.directions[0].c_0
            assert torch.equal(last, start) == carries
    together = traced(reader, "w1 w4 w2 </s> w7 w0")
    *_, second = reader.sentences(lines, carry_state=True)
    for one, parts in zip(together.views, second.views, strict=True):
        cells = one.directions[0].cells[-3:]
        torch.testing.assert_close(cells, parts.directions[0].cells)


def test_a_language_model_begins_as_in_fairseq_interactive(models, tmp_path) -> None:
    options = ["--task", "language_modeling", "--arch", "wsum_lstm_lm", "--decoder-embed-dim", 8]
    options += ["--sample-break-mode", "eos", "--add-bos-token", "--optimizer", "sgd"]
    options += ["--batch-size", 3, "--max-update", 1]
    train(models["lm"].parents[1] / "data", tmp_path, *options)
    for checkpoint, first in ((models["lm"], "</s>"), (tmp_path / "checkpoint_last.pt", "<s>")):
        reader = Reader(checkpoint)
        sentence = traced(reader, "w1 w4")
        assert sentence.views[0].text.tokens == (first, "w1", "w4")
        indices = reader.encode("w1 w4")["decoder"].indices
        data = reader.task.build_dataset_for_inference([indices], [3])
        read = data.collater([data[0]])["net_input"]["src_tokens"]
        dictionary = reader.task.source_dictionary
        assert sentence.views[0].text.tokens == tuple(dictionary[int(k)] for k in read[0])
        x = reader.model.decoder.embed_tokens(read).transpose(0, 1)
        layer = reader.layers[0].module
        torch.testing.assert_close(sentence.views[-1].directions[0].outputs, layer(x)[0])


def test_a_translation_is_searched_with_the_beam_that_was_asked_for(
    models, tmp_path, monkeypatch
) -> None:
    beams = []
    build = FairseqTask.build_generator
    monkeypatch.setattr(
        FairseqTask,
        "build_generator",
        lambda task, models, args: beams.append(args.beam) or build(task, models, args),
    )
    for options in ([], ["--beam", 3]):
        given = (models["half"], "--sentence", SENTENCE, *options, "--overwrite")
        main(*given, "--arrays", tmp_path / "a.npz")
    assert beams == [5, 3]


def test_frequencies_are_counts_in_the_training_text(models, tmp_path) -> None:
    assert {"w2 15", "w0 13"} < {*lines(models["lm"].parents[1] / "data" / "dict.txt")}
    # <unk> is a word of no training text, and an entry of every dictionary
    main(models["lm"], "--sentence", "w0 w2 <unk>", "--tables", tmp_path)
    header, *rows = (line.split("\t") for line in lines(tmp_path / "frequency.tsv"))
    columns = [header.index(name) for name in ("layer", "rarest", "most_frequent", "types")]
    found = [[row[k] for k in columns] for row in rows]
    assert found == [[layer, n, n, "1"] for layer in "12" for n in ("15", "13", "0")]


def test_targets_are_those_that_were_given(models, tmp_path) -> None:
    (tmp_path / "en").write_text("the man sees\nthe dog\n")
    (tmp_path / "de").write_text("der Mann sieht\nder Hund\n")
    options = ["--input", tmp_path / "en", "--target", tmp_path / "de"]
    main(models["half"], *options, "--arrays", tmp_path / "a.npz")
    one = ["--sentence", "the dog", "--target-sentence", "der Hund"]
    main(models["half"], *one, "--arrays", tmp_path / "b.npz")
    with numpy.load(tmp_path / "a.npz") as arrays, numpy.load(tmp_path / "b.npz") as single:
        assert len(arrays["0/target"]) > len(arrays["1/target"])
        assert arrays["1/target"].tolist() == single["0/target"].tolist()
        assert "".join(single["0/target"][:-1]).replace("▁", "").startswith("der")


def test_the_dictionaries_are_enough_with_the_names_of_the_languages(
    models, prepared, tmp_path
) -> None:
    for name in ("dict.en.txt", "dict.de.txt", "spm.model"):
        shutil.copy(prepared / name, tmp_path)
    languages = ["--source-lang", "en", "--target-lang", "de"]
    text = ["--sentence", SENTENCE, "--arrays"]
    main(models["half"], *text, tmp_path / "a.npz", "--data", tmp_path, *languages)
    main(models["half"], *text, tmp_path / "b.npz")
    assert same_arrays(tmp_path / "a.npz", tmp_path / "b.npz")


def same_arrays(one: Path, other: Path) -> bool:
    with numpy.load(one) as arrays, numpy.load(other) as others:
        return all((arrays[name] == others[name]).all() for name in {*arrays, *others})


def test_a_model_needs_no_file_of_embeddings(models, tmp_path) -> None:
    moved = torch.load(models["half"], weights_only=False)
    for side in ("encoder", "decoder"):
        moved["cfg"]["model"][f"{side}_embed_path"] = str(tmp_path / "gone.txt")
    torch.save(moved, tmp_path / "moved.pt")
    for name, checkpoint in (("a", models["half"]), ("b", tmp_path / "moved.pt")):
        main(checkpoint, "--sentence", SENTENCE, "--arrays", tmp_path / f"{name}.npz")
    assert same_arrays(tmp_path / "a.npz", tmp_path / "b.npz")


@pytest.mark.parametrize("name", ["translator", "transformer", "lm"])
def test_a_loaded_model_can_be_pickled(models, name) -> None:
    """As `torch.save(model)` and multiprocessing do it."""
    (model,), *_ = checkpoint_utils.load_model_ensemble_and_task([str(models[name])])
    clone = pickle.loads(pickle.dumps(model))
    for key, value in model.state_dict().items():
        assert torch.equal(clone.state_dict()[key], value)


def test_a_model_that_diverged_is_named(models) -> None:
    reader = Reader(models["lm"])
    for parameter in reader.model.parameters():
        parameter.data.fill_(math.nan)
    with pytest.raises(ValueError, match="layer 1 of the decoder: its memory is not finite"):
        list(reader.sentences([reader.encode("w1 w4")]))
