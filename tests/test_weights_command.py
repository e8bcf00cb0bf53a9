"""`fairseq-wsum weights`: what it computes from checkpoints, its results and messages."""

import math
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch

pytest.importorskip("fairseq")
from commands import ROOT, run, train
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from fairseq.tasks import FairseqTask
from shell import lines, refuses
from text_corpora import made_up
from translation_corpus import TINY

from fairseq_wsum import cli
from fairseq_wsum.weights import reconstruction_error
from fairseq_wsum.weights.reader import Reader
from fairseq_wsum.weights.vocabulary import Vocabulary

SENTENCE = "the man sees the dog ."
OPTIONS = {
    "translator": ["--cell", "no-srnn-hidden", "--encoder-bidirectional", "--decoder-layers", 2],
    "parallel": ["--cell", "lstm", "--encoder-layers", 2, "--decoder-input-feeding", "False"],
    "half": ["--encoder-cell", "no-gates", "--decoder-cell", "no-srnn"],
    "none": ["--cell", "no-gates"],
}


@pytest.fixture(scope="module")
def models(prepared, tmp_path_factory) -> dict[str, Path]:
    """A checkpoint of each kind, trained for a moment, by name."""
    folder = tmp_path_factory.mktemp("models")
    for name, options in OPTIONS.items():
        train(prepared, folder / name, *TINY.split(), *options, "--max-update", 2)
    lm = ["--task", "wsum_language_modeling", "--arch", "wsum_lstm_lm", "--decoder-embed-dim", 8]
    lm += ["--decoder-layers", 2, "--decoder-proj-size", 4, "--optimizer", "sgd", "--lr", 1.0]
    lm += ["--batch-size", 3, "--tokens-per-sample", 7, "--max-update", 4]
    mixed = ["--arch", "wsum_transformer", "--cell", "mingru", "--encoder-attention-layers", 1]
    mixed += ["--token-positional-embeddings"]
    for side, text in (("encoder", "source"), ("decoder", "target")):
        mixed += [f"--{side}-embed-dim", 8, f"--{side}-layers", 3, f"--{side}-attention-heads", 2]
        mixed += [f"--{side}-learned-pos", f"--max-{text}-positions", 250]
    train(prepared, folder / "transformer", *TINY.split(), *mixed, "--max-update", 2)
    text = folder / "text"
    text.write_bytes(made_up(40, seed=0))
    prefixes = [f"--{split}pref={text}" for split in ("train", "valid")]
    run("fairseq-preprocess", "--only-source", "--destdir", folder / "data", *prefixes)
    train(folder / "data", folder / "lm", *lm)
    return {name: folder / name / "checkpoint_last.pt" for name in (*OPTIONS, "transformer", "lm")}


def main(*words) -> None:
    cli.main(["weights", *map(str, words)])


def fails(capsys, *words) -> str:
    return refuses(cli.main, capsys, "weights", *words)


def traced(reader, text: str, target: str | None = None):
    """A sentence, as a `Reader` reads it."""
    (sentence,) = reader.sentences([reader.encode(text, target)])
    return sentence


# What it computes

LAYERS = {  # those with weights: side, number, directions
    "translator": [("encoder", 1, 2), ("decoder", 1, 1), ("decoder", 2, 1)],
    "parallel": [("encoder", 1, 1), ("encoder", 2, 1), ("decoder", 1, 1)],
    "half": [("decoder", 1, 1)],
    "transformer": [("encoder", 1, 2), ("encoder", 3, 2), *(("decoder", k, 1) for k in (1, 2, 3))],
    "lm": [("decoder", 1, 1), ("decoder", 2, 1)],
}
FEEDS = ("translator", "half")  # whose decoders run step by step


GIVEN = "der Mann sieht den Hund ."


@pytest.mark.parametrize("target", [None, GIVEN], ids=["own", "given"])
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
    # `new` is a word of no training text; <unk> stands for many words
    main(models["lm"], "--sentence", "w0 w2 <unk> new", "--tables", tmp_path)
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


def test_the_dictionaries_are_enough(models, prepared, tmp_path) -> None:
    for name in ("dict.en.txt", "dict.de.txt", "spm.model"):
        shutil.copy(prepared / name, tmp_path)
    text = ["--sentence", SENTENCE, "--arrays"]
    main(models["half"], *text, tmp_path / "a.npz", "--data", tmp_path)
    main(models["half"], *text, tmp_path / "b.npz")
    assert same_arrays(tmp_path / "a.npz", tmp_path / "b.npz")


def same_arrays(one: Path, other: Path) -> bool:
    with numpy.load(one) as arrays, numpy.load(other) as others:
        return all((arrays[name] == others[name]).all() for name in {*arrays, *others})


def test_a_model_needs_neither_its_file_of_embeddings_nor_its_backend(models, tmp_path) -> None:
    moved = torch.load(models["half"], weights_only=False)
    for side in ("encoder", "decoder"):
        moved["cfg"]["model"][f"{side}_embed_path"] = str(tmp_path / "gone.txt")
    moved["cfg"]["model"]["lstm_backend"] = "triton"
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


# Its results and messages

FILES = {"--picture": "p.png", "--page": "p.html", "--arrays": "a.npz", "--tables": "t"}


def outputs(folder: Path) -> list[object]:
    """Options that write every result to a folder."""
    return [word for option, name in FILES.items() for word in (option, folder / name)]


def test_all_results_are_written(models, tmp_path, capsys) -> None:
    inputs, tags = tmp_path / "text", tmp_path / "tags"
    inputs.write_text(f"{SENTENCE}\na boy has 3 tree .\n")
    tags.write_text("D N V D N .\nD N V X N .\n")
    given = (models["translator"], "--input", inputs, *outputs(tmp_path))
    main(*given, "--tags", tags, "--join-subwords")
    printed = capsys.readouterr().out
    for name in FILES.values():
        assert f"wrote {tmp_path / name}" in printed and (tmp_path / name).exists()
    assert not list(tmp_path.glob(".partial*"))
    assert "\tV\t" in (tmp_path / "t" / "tags.tsv").read_text()
    with numpy.load(tmp_path / "a.npz") as arrays:
        steps = len(arrays["1/encoder/1/tokens"])
        assert arrays["1/encoder/1/backward/norms"].shape == (steps, steps)
        assert arrays["0/attention"].shape == (len(arrays["0/target"]), len(arrays["0/source"]))
    main(*given, "--overwrite")


@pytest.mark.parametrize("option", FILES)
def test_what_exists_is_replaced_with_overwrite_only(models, tmp_path, capsys, option) -> None:
    path = tmp_path / FILES[option]
    kept = path / "mine" if option == "--tables" else path
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    message = fails(capsys, models["lm"], "--sentence", "w1 w4", option, path)
    assert f"{option} {path} exists: give another name, or --overwrite" in message
    assert kept.read_text() == "mine"


def test_nothing_is_written_if_one_result_cannot_be(models, tmp_path, capsys) -> None:
    given = (models["lm"], "--sentence", "w1 w4", "--unit", 700, *outputs(tmp_path))
    message = fails(capsys, *given)
    assert "--unit 700: layer 1 of the decoder has the units 0 to 7" in message
    assert not list(tmp_path.iterdir())


def test_a_link_is_followed_and_never_replaced(models, tmp_path, capsys) -> None:
    link, page = tmp_path / "link.html", tmp_path / "page.html"
    link.symlink_to(page)  # which does not exist yet
    folder, table = tmp_path / "tables", tmp_path / "words"
    folder.mkdir()
    (folder / "words.tsv").symlink_to(table)
    words = (models["lm"], "--sentence", "w1 w4", "--page", link, "--tables", folder)
    assert "exists: give another name, or --overwrite" in fails(capsys, *words)
    main(*words, "--overwrite")
    assert link.is_symlink() and page.read_text().startswith("<!DOCTYPE html>")
    assert (folder / "words.tsv").is_symlink() and table.read_text().startswith("side\t")


def test_a_picture_is_drawn_as_its_options_say(models, tmp_path) -> None:
    text = ["--sentence", SENTENCE, "--target-sentence", "der Hund .", "--overwrite"]
    pictures = set()
    for options, shown in (
        ("", "encoder, layer 1, cell no-srnn-hidden<"),
        ("--side decoder", "decoder, layer 1, cell no-srnn-hidden<"),
        ("--layer 2", "decoder, layer 2, cell no-srnn-hidden<"),  # the encoder has one layer
        ("--unit 3", "encoder, layer 1, cell no-srnn-hidden, unit 3<"),
        ("--join-subwords", ">sees<"),
    ):
        main(models["translator"], *text, *options.split(), "--picture", tmp_path / "p.svg")
        picture = (tmp_path / "p.svg").read_text()
        assert shown in picture, options
        pictures.add(picture)
    assert len(pictures) == 5


def test_two_models_are_compared_on_one_page(models, tmp_path) -> None:
    page, one = tmp_path / "new" / "page.html", models["parallel"]
    for other, names in (
        (models["translator"], "translator, parallel"),
        (one, f"{one}, {one}"),  # both in a folder of the same name
    ):
        main(other, one, "--sentence", SENTENCE, "--page", page, "--overwrite")
        assert f"<title>Weights of {names}</title>" in page.read_text()


def test_the_command_takes_standard_input_and_a_cell_of_your_own(prepared, tmp_path) -> None:
    own = ROOT / "examples" / "own_cell"
    given = [*TINY.split(), "--user-dir", own, "--cell", "own-mingru", "--max-update", 1]
    train(prepared, tmp_path, *given)
    words = [tmp_path / "checkpoint_last.pt", "--user-dir", own, "--input", "-"]
    run("fairseq-wsum", "weights", *words, "--arrays", tmp_path / "a.npz", stdin=f"{SENTENCE}\n")
    with numpy.load(tmp_path / "a.npz") as arrays:
        gates = [arrays[f"0/encoder/1/forward/{gate}_gates"] for gate in ("input", "forget")]
    numpy.testing.assert_allclose(sum(gates), 1, rtol=1e-6)


PAGE = "--page {}/new/p.html "
ONE = f"{PAGE} --sentence a "


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("half", "", "nothing to write: give --picture, --page, --arrays or --tables"),
        ("half", "--sentence a --picture {}/x.foo", "Format 'foo' is not supported (supp"),
        ("half", PAGE, "no sentences: give --sentence TEXT, --input FILE or"),
        ("half", PAGE + "--input {}/none", "No such file or directory: '{}/none'"),
        ("half", PAGE + "--input {}/latin", "'utf-8' codec can't decode byte 0xe9"),
        ("half", PAGE + "--input {}/many", "at most 200 sentences of 200 tokens, not 201 of up"),
        ("half", PAGE + "--input {}/long", "at most 200 sentences of 200 tokens, not 1 of up to"),
        ("half", ONE + "--sentence a --target-sentence b", "1 translations for 2 sentences"),
        ("half", ONE + "--target {}/empty", "0 translations for 1 sentences"),
        ("half", ONE + "--tags {}/empty", "--tags {}/empty has 0 lines for 1 sentences"),
        ("half", "--tables {}/new --sentence a --tags {}/tags", "sentence 1 has 2 tags; give one"),
        ("half", ONE + "--data {}/none", "{}/none/dict.en.txt'; dictionaries are found by --data"),
        ("half", ONE + "--data {}/dict", "/dict.de.txt'; dictionaries are found by --data"),
        ("half", ONE + "--user-dir {}/none", "{}/none"),
        ("half", ONE + "--bpe-model {}/none", "{}/none not found"),
        ("lm", ONE + "--bpe-model {}/none", "none: no dictionary of the model has subwords"),
        ("half", ONE + "--carry-state", "--carry-state: this model does not carry a state"),
        ("lm", ONE + "--target-sentence b", "this model has no --target-sentence and no"),
        ("none", ONE, "(wsum_lstm) is a WsumLSTM with a memory cell, so there are no weights"),
        ("half", "--sentence a --page {}/dict", "--page {}/dict is a folder: give the name of a"),
        ("half", "--sentence a --tables {}/two", "--tables {}/two is a file: give the name of a"),
        ("lm", "--treebank {}/tree --tables {}/new", "a word of 'New York' has a space, which"),
        ("lm", "--treebank {}/tree.gz --tables {}/new", "/tree.gz is damaged: Not a gzipped file"),
        ("half", "{} --tables {}/p", "several checkpoints: give --page and --picture only"),
        ("half", "{}/none.pt " + ONE, "{}/none.pt"),
    ],
)
def test_wrong_input_is_named(models, tmp_path, capsys, model, options, message) -> None:
    files = {
        "empty": b"",
        "two": b"x\ny\n",
        "tags": b"X Y\n",
        "many": b"x\n" * 201,
        "long": b"man " * 200,
        "tree": b"1\tNew York" + b"\t_" * 4 + b"\t0\troot\t_\t_\n",
        "tree.gz": b"1\tman\n",
    }
    for name, content in {**files, "latin": "caf\u00e9\n".encode("latin-1")}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "dict").mkdir()
    (tmp_path / "dict" / "dict.en.txt").touch()
    words = options.replace("{}", str(tmp_path)).split()
    assert message.replace("{}", str(tmp_path)) in fails(capsys, models[model], *words)
    assert not (tmp_path / "new").exists()


def test_lines_are_those_of_any_editor(models, tmp_path) -> None:
    """A byte-order mark, CRLF, and characters that are a line's end or a blank elsewhere."""
    (tmp_path / "text").write_bytes("\ufeffw1\tw2\r\nw1\rw4\xa0w2\u2028w1\r\n".encode())
    main(models["lm"], "--input", tmp_path / "text", "--arrays", tmp_path / "a.npz")
    with numpy.load(tmp_path / "a.npz") as arrays:
        assert arrays["0/target"].tolist() == ["w1", "w2", "</s>"]
        assert arrays["1/target"].tolist() == ["w1", "w4", "w2", "w1", "</s>"]
        assert "2/target" not in arrays


def test_a_text_of_5000_words_goes_into_tables(models, tmp_path) -> None:
    long = " ".join(["w1", "w4", "w2"] * 1667)
    main(models["lm"], "--sentence", long, "--tables", tmp_path / "t")
    assert (tmp_path / "t" / "words.tsv").read_text().count("w4") == 2  # of each layer
