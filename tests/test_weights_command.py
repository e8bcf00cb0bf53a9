"""`fairseq-wsum weights` on checkpoints of every kind, and its messages for bad input."""

import importlib.util
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import numpy
import pytest
import torch

pytest.importorskip("fairseq")
from commands import ROOT, run, train
from fairseq.data import Dictionary
from fairseq.tasks import FairseqTask
from shell import lines
from text_corpora import made_up
from translation_corpus import TINY

from fairseq_wsum import cli
from fairseq_wsum.weights import command, reconstruction_error
from fairseq_wsum.weights.models import Line, Reader
from fairseq_wsum.weights.picture import draw
from fairseq_wsum.weights.sentences import Model
from fairseq_wsum.weights.vocabulary import Vocabulary

BLOCKS = ["--decoder-layers", 2, "--layer-norm", "--residuals", "--encoder-ffn-embed-dim", 16]
SENTENCE = "the man sees the dog ."
OPTIONS = {
    "translator": ["--cell", "no-srnn-hidden", "--encoder-bidirectional", *BLOCKS],
    "parallel": ["--cell", "lstm", "--encoder-layers", 2, "--decoder-input-feeding", "False"],
    "half": ["--encoder-cell", "no-gates", "--decoder-cell", "no-srnn"],
    "none": ["--cell", "no-gates"],
}


@pytest.fixture(scope="session")
def models(prepared, tmp_path_factory):
    """A checkpoint of each kind, trained for a moment."""
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
    with pytest.raises(SystemExit) as error:
        main(*words)
    return f"{error.value}{capsys.readouterr().err}"


@pytest.mark.parametrize("name", ["translator", "parallel", "half", "transformer", "lm"])
@pytest.mark.parametrize("target", [None, "der Mann sieht den Hund ."])
def test_the_sum_explains_every_layer_of_a_checkpoint(models, name, target) -> None:
    reader = Reader(models[name])
    if reader.is_language_model:
        target = None
    (sentence,) = reader.sentences([reader.encode(Line(SENTENCE, target, "here"))])
    expected = {
        "translator": [("encoder", 1, 2), ("decoder", 1, 1), ("decoder", 2, 1)],
        "parallel": [("encoder", 1, 1), ("encoder", 2, 1), ("decoder", 1, 1)],
        "half": [("decoder", 1, 1)],
        "transformer": [
            ("encoder", 1, 2),
            ("encoder", 3, 2),
            *(("decoder", k, 1) for k in (1, 2, 3)),
        ],
        "lm": [("decoder", 1, 1), ("decoder", 2, 1)],
    }
    found = [(view.side, view.layer, len(view.directions)) for view in sentence.views]
    assert found == expected[name]
    for view in sentence.views:
        for one in view.directions:
            assert len(one.cells) == len(view.text.tokens)
            assert max(reconstruction_error(one)) < 1e-5
    if sentence.attention is not None:
        tokens = (len(sentence.target.tokens), len(sentence.source.tokens))
        assert sentence.attention.shape == tokens
        torch.testing.assert_close(sentence.attention.sum(1), torch.ones(tokens[0]))


FEEDS = ("translator", "half")  # whose decoders run step by step


@pytest.mark.parametrize("name", ["translator", "parallel", "half", "transformer", "lm"])
def test_the_views_are_of_what_the_model_itself_computes(models, name) -> None:
    reader = Reader(models[name])
    line = ("w1 w4 w2 w7", None) if name == "lm" else (SENTENCE, "der Mann sieht den Hund .")
    (sentence,) = reader.sentences([reader.encode(Line(*line, "here"))])
    calls = {layer.module: [] for layer in reader.layers}  # the result of each
    for module in calls:
        module.register_forward_hook(lambda module, _, result: calls[module].append(result))
    reads = ("</s>", *sentence.target.tokens[:-1])
    read = torch.tensor([[reader.task.target_dictionary.index(token) for token in reads]])
    if name == "lm":
        reader.model(read)
    else:
        indices = [reader.task.source_dictionary.index(token) for token in sentence.source.tokens]
        reader.model(torch.tensor([indices]), torch.tensor([len(indices)]), read)
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
    (plain,) = reader.sentences([reader.encode(Line(SENTENCE, "der hund .", "here"))])
    assert len(plain.source.tokens) > len(plain.source.words) == len(SENTENCE.split()) + 1
    texts = (" ".join(text.tokens[:-1]) for text in (plain.source, plain.target))
    (segmented,) = reader.sentences([reader.encode(Line(*texts, "here"))])
    assert segmented.source == plain.source and segmented.target == plain.target


def test_only_the_mark_of_its_own_segmentation_shows_that_text_is_segmented(models) -> None:
    reader = Reader(models["half"])  # of sentencepiece
    texts = (SENTENCE, f"{SENTENCE} @@ .")
    plain, marked = (reader.vocabulary.encode("encoder", text) for text in texts)
    assert marked.text.tokens[: len(plain.text.tokens) - 1] == plain.text.tokens[:-1]


def test_a_stray_mark_makes_no_subwords(tmp_path) -> None:
    dictionary = Dictionary()
    for word in (*(f"w{k}" for k in range(300)), "@@", "▁▂▃"):
        dictionary.add_symbol(word)
    vocabulary = Vocabulary({"decoder": dictionary}, tmp_path)
    assert not vocabulary.needs_segmentation
    assert vocabulary.encode("decoder", "w1 w2 @@ w3").words == ("w1", "w2", "@@", "w3")
    assert vocabulary.word_counts("decoder")["▁▂▃"] == 1


def test_the_decoder_reads_what_it_predicted_one_step_before(models) -> None:
    reader = Reader(models["half"])
    (sentence,) = reader.sentences([reader.encode(Line(SENTENCE, "der Hund .", "here"))])
    (view,) = sentence.views
    assert view.text.tokens[0] == "</s>" and sentence.target.tokens[-1] == "</s>"
    assert view.text.tokens[1:] == sentence.target.tokens[:-1]


def test_a_language_model_can_carry_its_state(models) -> None:
    reader = Reader(models["lm"])
    lines = [reader.encode(Line(words, None, "here")) for words in ("w1 w4 w2", "w7 w0")]
    for carries in (True, False):
        first, second = reader.sentences(lines, carry_state=carries)
        for before, after in zip(first.views, second.views, strict=True):
            last, start = before.directions[0].c_n, after.directions[0].c_0
            assert torch.equal(last, start) == carries
    whole = reader.encode(Line("w1 w4 w2 </s> w7 w0", None, "here"))
    (together,) = reader.sentences([whole])
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
        line = reader.encode(Line("w1 w4", None, "here"))
        (sentence,) = reader.sentences([line])
        assert sentence.views[0].text.tokens == (first, "w1", "w4")
        data = reader.task.build_dataset_for_inference([line.sides["decoder"].indices], [3])
        read = data.collater([data[0]])["net_input"]["src_tokens"]
        dictionary = reader.task.source_dictionary
        assert sentence.views[0].text.tokens == tuple(dictionary[int(k)] for k in read[0])
        x = reader.model.decoder.embed_tokens(read).transpose(0, 1)
        layer = reader.layers[0].module
        torch.testing.assert_close(sentence.views[-1].directions[0].outputs, layer(x)[0])


def test_a_model_with_attention_cannot_carry_its_state(models, tmp_path, capsys) -> None:
    mixed = ["--task", "language_modeling", "--arch", "wsum_transformer_lm", "--optimizer", "sgd"]
    mixed += ["--decoder-embed-dim", 8, "--decoder-layers", 2, "--decoder-attention-heads", 2]
    mixed += ["--decoder-attention-layers", 1, "--batch-size", 3, "--max-update", 1]
    train(models["lm"].parents[1] / "data", tmp_path, *mixed, "--sample-break-mode", "eos")
    page = ["--page", tmp_path / "p.html", "--sentence", "w1 w4"]
    message = "--carry-state: this model does not carry a state; omit the option"
    assert message in fails(capsys, tmp_path / "checkpoint_last.pt", *page, "--carry-state")
    main(tmp_path / "checkpoint_last.pt", *page)


def test_all_results_are_written(models, tmp_path, capsys) -> None:
    inputs, tags = tmp_path / "text", tmp_path / "tags"
    inputs.write_text(f"{SENTENCE}\na boy has 3 tree .\n")
    tags.write_text("D N V D N .\nD N V X N .\n")
    files = {"--picture": "p.png", "--page": "p.html", "--arrays": "a.npz", "--tables": "t"}
    outputs = [word for option, name in files.items() for word in (option, tmp_path / name)]
    main(models["translator"], "--input", inputs, "--tags", tags, "--join-subwords", *outputs)
    printed = capsys.readouterr().out
    for name in files.values():
        assert f"wrote {tmp_path / name}" in printed and (tmp_path / name).exists()
    assert not list(tmp_path.glob(".partial*"))
    assert (tmp_path / "t" / "tags.tsv").is_file()
    with numpy.load(tmp_path / "a.npz") as arrays:
        i, f = (arrays[f"1/encoder/1/backward/{gate}_gates"] for gate in ("input", "forget"))
        norms, tokens = arrays["1/encoder/1/backward/norms"], arrays["1/encoder/1/tokens"]
        assert tokens[-1] == "</s>" and norms.shape == (len(tokens), len(tokens))
        assert norms[0, 1] == pytest.approx(numpy.linalg.norm(i[1] * f[0]), rel=1e-5)
        assert arrays["0/attention"].shape == (len(arrays["0/target"]), len(arrays["0/source"]))
    message = fails(capsys, models["translator"], "--input", inputs, *outputs)
    assert f"--picture {tmp_path / 'p.png'} exists: give another name, or --overwrite" in message
    main(models["translator"], "--input", inputs, *outputs, "--overwrite")


def test_nothing_is_written_if_the_picture_cannot_be(models, tmp_path, capsys) -> None:
    (tmp_path / "text").write_text(200 * (10 * SENTENCE + "\n"))
    files = {"--picture": "p.png", "--page": "p.html", "--arrays": "a.npz", "--tables": "t"}
    outputs = [word for option, name in files.items() for word in (option, tmp_path / name)]
    message = fails(capsys, models["lm"], "--input", tmp_path / "text", *outputs)
    assert "--picture: 200 sentences do not fit into a .png file" in message
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_a_link_is_followed_and_never_replaced(models, tmp_path, capsys) -> None:
    link, page = tmp_path / "link.html", tmp_path / "page.html"
    link.symlink_to(page)
    words = (models["lm"], "--sentence", "w1 w4", "--page", link)
    assert f"--page {link} exists: give another name, or --overwrite" in fails(capsys, *words)
    main(*words, "--overwrite")
    assert link.is_symlink() and page.read_text().startswith("<!DOCTYPE html>")


def test_a_picture_is_drawn_as_its_options_say(models, tmp_path) -> None:
    reader = Reader(models["translator"])
    text = ["--sentence", SENTENCE, "--target-sentence", "der Hund ."]
    sentences = list(reader.sentences([reader.encode(Line(SENTENCE, "der Hund .", "here"))]))
    model = Model("translator", reader.architecture, reader.cell_names, sentences)
    shown, drawn = tmp_path / "shown.svg", tmp_path / "drawn.svg"
    pictures = set()
    for options, named in (
        ([], {}),
        (["--side", "decoder"], {"side": "decoder"}),
        (["--side", "decoder", "--layer", 2], {"side": "decoder", "layer": 2}),
        (["--unit", 3], {"unit": 3}),
        (["--join-subwords"], {"join": True}),
    ):
        main(models["translator"], *text, *options, "--picture", shown, "--overwrite")
        draw(drawn, model, **named)
        assert shown.read_bytes() == drawn.read_bytes(), options
        pictures.add(shown.read_bytes())
    assert len(pictures) == 5


@pytest.mark.parametrize(("options", "beam"), [([], 5), (["--beam", 3], 3)], ids=["default", "3"])
def test_a_translation_is_searched_with_the_beam_that_was_asked_for(
    models, tmp_path, monkeypatch, options, beam
) -> None:
    beams = []
    build = FairseqTask.build_generator

    def recording(*arguments, **named):
        generator = build(*arguments, **named)
        beams.append(generator.beam_size)
        return generator

    monkeypatch.setattr(FairseqTask, "build_generator", recording)
    main(models["half"], "--sentence", SENTENCE, *options, "--arrays", tmp_path / "a.npz")
    assert beams == [beam]


def test_frequencies_are_counts_in_the_training_text_of_a_side(tmp_path) -> None:
    (tmp_path / "train.en").write_text("a a b\na a b\na b c c\n")  # 5, 3, 2
    (tmp_path / "train.de").write_text("x x x\nx y\nx\n")  # 5, 1
    prefixes = [f"--{split}pref={tmp_path}/train" for split in ("train", "valid")]
    languages = ["--source-lang", "en", "--target-lang", "de"]
    run("fairseq-preprocess", *languages, "--destdir", tmp_path / "data", *prefixes)
    cell = ["--cell", "no-srnn-hidden", "--max-update", 1]
    train(tmp_path / "data", tmp_path / "run", *TINY.split(), *cell)
    # <unk> is a word of no training text, and an entry of every dictionary
    text = ["--sentence", "b c a <unk>", "--target-sentence", "y x"]
    main(tmp_path / "run/checkpoint_last.pt", *text, "--tables", tmp_path / "t")
    header, *rows = lines(tmp_path / "t/frequency.tsv")
    rows = [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]
    found = [(row["side"], row["rarest"], row["most_frequent"], row["types"]) for row in rows]
    counts = [("encoder", "5"), ("encoder", "3"), ("encoder", "2"), ("encoder", "0")]
    counts += [("decoder", "5"), ("decoder", "1")]
    assert found == [(side, count, count, "1") for side, count in counts]


def test_two_models_are_compared_on_one_page(models, tmp_path) -> None:
    page = tmp_path / "new" / "page.html"
    both = (models["translator"], models["parallel"])
    main(*both, "--sentence", SENTENCE, "--page", page)
    assert "translator" in page.read_text() and "parallel" in page.read_text()


def test_two_checkpoints_have_different_names() -> None:
    paths = ["/runs/lstm/seed-1/a.pt", "/runs/gru/seed-1/a.pt", "/runs/gru/seed-1/b.pt"]
    names = [command._names([Path(paths[k]), Path(paths[n])]) for k, n in ((0, 1), (1, 2))]
    assert names == [["lstm/seed-1", "gru/seed-1"], ["a", "b"]]
    assert command._names([Path(paths[0])]) == ["seed-1"]


def test_the_command_takes_standard_input_and_a_cell_of_your_own(prepared, tmp_path) -> None:
    own = ROOT / "examples" / "own_cell"
    given = [*TINY.split(), "--user-dir", own, "--cell", "own-mingru", "--max-update", 1]
    train(prepared, tmp_path, *given)
    words = [tmp_path / "checkpoint_last.pt", "--user-dir", own, "--input", "-"]
    run("fairseq-wsum", "weights", *words, "--arrays", tmp_path / "a.npz", stdin=f"{SENTENCE}\n")
    with numpy.load(tmp_path / "a.npz") as arrays:
        gates = [arrays[f"0/encoder/1/forward/{gate}_gates"] for gate in ("input", "forget")]
    numpy.testing.assert_allclose(sum(gates), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to write: give --picture, --page, --arrays or --tables"),
        (["--page", "x.htm"], "--page x.htm: the name must end with .html"),
        (["--picture", "x.jpg"], "the name must end with .png, .svg or .pdf"),
        (
            ["--page", "{}/file/x.html"],
            "--page: cannot write to the folder {}/file: {}/file is a file",
        ),
        (["--tables", "{}/file"], "--tables {}/file is a file: give a folder"),
        (["--page", "{}/p.html"], "no sentences: give --sentence TEXT or --input FILE"),
        (["--page", "{}/folder.html", "--overwrite"], "--page {}/folder.html is a folder: give"),
        (["--page", "{}/p.html", "--input", "{}/none"], "--input {}/none: "),
        (["--page", "{}/p.html", "--input", "{}/empty"], "--input {}/empty has no sentences"),
        (["--page", "{}/p.html", "--input", "{}/latin"], "--input {}/latin is not UTF-8 ('utf-8' "),
        (["--page", "{}/p.html", "--sentence", "caf\udce9"], "--sentence is not UTF-8: convert it"),
        (["--page", "{}/p.html", "--input", "{}/gap"], "--input {}/gap, line 2 is empty: remove"),
        (
            ["--page", "{}/p.html", "--input", "{}/three", "--target", "{}/gap"],
            "--target {}/gap, line 2 is empty: remove it from both files",
        ),
        (
            ["--page", "{}/p.html", "--sentence", "a", "--target-sentence", ""],
            "--target-sentence is empty: give the translation, or omit every --target-sentence",
        ),
        (
            ["--page", "{}/p.html", "--sentence", "a", "--sentence", "b", "--sentence", " "],
            "--sentence number 3 is empty: remove it",
        ),
        (
            ["--page", "{}/p.html", "--input", "{}/two", "--target", "{}/file"],
            "--target {}/file has",
        ),
        (["--page", "{}/p.html", "--sentence", "a", "--tags", "{}/two"], "--tags is for --tables"),
        (["--tables", "{}/t", "--sentence", "a", "--tags", "{}/two"], "has 2 lines for 1"),
        (["--page", "{}/p.html", "--input", "{}/many"], "--page shows at most 200 sentences"),
        (["--picture", "{}/p.png", "--sentence", "{long}"], "--sentence has 201 tokens, and"),
        (
            ["--page", "{}/p.html", "--sentence", "a", "--target-sentence", "{long}"],
            "the translation of --sentence has 201 tokens, and",
        ),
        (
            ["--arrays", "{}/p.npz", "--tables", "{}/p.npz", "--sentence", "a"],
            "two results have the same name",
        ),
        (["--page", "{}/p.html", "--sentence", "a", "--data", "{}/a:b"], "has a colon in its name"),
        (["--page", "{}/p.html", "--sentence", "a", "--carry-state"], "--carry-state is for"),
        (["--page", "{}/new/p.html", "--sentence", "a", "--data", "{}"], "--data {} has no dict"),
        (
            ["--page", "{}/p.html", "--sentence", "a", "--data", "{}/dict"],
            "--source-lang and --target-lang",
        ),
        (
            ["--page", "{}/p.html", "--sentence", "a", "--source-lang", "fr"],
            "--source-lang fr needs --target-lang",
        ),
        (
            ["--page", "{}/p.html", "--sentence", "a", "--user-dir", "{}/none"],
            "--user-dir {}/none: there is no such folder",
        ),
        (
            ["--page", "{}/p.html", "--sentence", "a", "--data", "{}/half"],
            "has no dict.de.txt: give",
        ),
        (["--page", "{}/p.html", "--sentence", "a", "--bpe", "subword_nmt"], "needs --bpe-model"),
        (
            ["--page", "{}/p.html", "--sentence", "a", "--bpe-model", "{}/two"],
            "needs --bpe: choose",
        ),
        (
            ["--page", "{}/p.html", *("--sentence", "a") * 2, "--target-sentence", "b"],
            "give as many --target-sentence as --sentence",
        ),
        (
            ["--page", "{}/p.html", "--sentence", "a", "--target", "{}/two"],
            "--target belongs to --input",
        ),
        (
            [
                *("--page", "{}/p.html", "--sentence", "a"),
                *("--input", "{}/two", "--target", "{}/two"),
            ],
            "give a target for every sentence, or for none",
        ),
        (
            [
                *("--page", "{}/p.html", "--sentence", "a"),
                *("--bpe", "sentencepiece", "--bpe-model", "{}/two"),
            ],
            "--bpe-model {}/two: not a model of sentencepiece (",
        ),
        pytest.param(
            ["--page", "{}/p.html", "--device", "cuda"],
            "--device cuda: torch sees no GPU here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        (
            [
                *("--arrays", "{}/new/a.npz", "--picture", "{}/new/p.png"),
                *("--sentence", "a", "--layer", "7"),
            ],
            "--layer 7",
        ),
        (["--page", "{}/p.html", "--sentence", "a", "--layer", "1"], "--layer is for --picture"),
        (["--page", "{}/p.html", "--sentence", "a", "--unit", "0"], "--unit is for --picture"),
        (["--picture", "{}/p.png", "--sentence", "a", "--unit", "700"], "--unit 700"),
    ],
)
def test_wrong_input_is_named(models, tmp_path, capsys, options, message) -> None:
    (tmp_path / "file").write_text("x\n")
    (tmp_path / "two").write_text("x\ny\n")
    (tmp_path / "three").write_text("x\ny\nz\n")
    (tmp_path / "gap").write_text("x\n\ny\n")
    (tmp_path / "many").write_text("x\n" * 201)
    (tmp_path / "empty").touch()
    (tmp_path / "latin").write_bytes("café\n".encode("latin-1"))
    for folder in ("half", "dict", "folder.html"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "dict.en.txt").touch()
    (tmp_path / "half" / "train.en-de.en.bin").touch()
    long = " ".join(["man"] * 200)  # and </s>
    options = [option.replace("{}", str(tmp_path)).replace("{long}", long) for option in options]
    assert message.replace("{}", str(tmp_path)) in fails(capsys, models["half"], *options)
    assert not any((tmp_path / result).exists() for result in ("p.html", "p.png", "new"))


def test_a_page_shows_a_sentence_of_200_tokens(models, tmp_path) -> None:
    sentence = " ".join(["man"] * 199)  # and </s>
    main(models["half"], "--sentence", sentence, "--page", tmp_path / "page.html")
    assert (tmp_path / "page.html").exists()


def test_lines_are_those_of_any_editor(models, tmp_path) -> None:
    """A byte-order mark, CRLF, and characters that are a line's end or a blank elsewhere."""
    (tmp_path / "text").write_bytes("\ufeffw1\tw2\r\nw1\rw4\xa0w2\u2028w1\r\n".encode())
    main(models["lm"], "--input", tmp_path / "text", "--arrays", tmp_path / "a.npz")
    with numpy.load(tmp_path / "a.npz") as arrays:
        assert arrays["0/target"].tolist() == ["w1", "w2", "</s>"]
        assert arrays["1/target"].tolist() == ["w1", "w4", "w2", "w1", "</s>"]
        assert "2/target" not in arrays


def test_a_missing_matplotlib_is_named(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = fails(capsys, "any.pt", "--sentence", "a", "--picture", tmp_path / "p.png")
    assert "pip install matplotlib" in message


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_text_beyond_the_learned_positions_is_named(models, tmp_path, capsys, side) -> None:
    text = {"encoder": "the man", "decoder": "der Mann"}
    text[side] = " ".join(["x"] * 260)
    options = ["--sentence", text["encoder"], "--target-sentence", text["decoder"]]
    message = fails(capsys, models["transformer"], *options, "--tables", tmp_path / "t")
    assert f"the {side} of this model has learned positions for 250" in message
    assert not (tmp_path / "t").exists()


def test_a_text_of_5000_words_goes_into_tables(models, tmp_path) -> None:
    long = " ".join(["w1", "w4", "w2"] * 1667)
    main(models["lm"], "--sentence", long, "--tables", tmp_path / "t")
    assert (tmp_path / "t" / "words.tsv").read_text().count("w4") == 2  # of each layer


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
    with numpy.load(tmp_path / "a.npz") as arrays, numpy.load(tmp_path / "b.npz") as usual:
        assert set(arrays) == set(usual)
        for name in usual:
            assert (arrays[name] == usual[name]).all(), name


def test_a_target_is_for_translation_models(models, tmp_path, capsys) -> None:
    options = ["--sentence", "w1", "--target-sentence", "w2", "--arrays", tmp_path / "a.npz"]
    expected = "--sentence has a translation, and this is a language model: omit --target-sentence"
    assert expected in fails(capsys, models["lm"], *options)


def test_languages_are_for_translation_models(models, tmp_path, capsys) -> None:
    languages = ["--source-lang", "en", "--target-lang", "de"]
    options = ["--sentence", "w1", *languages, "--arrays", tmp_path / "a.npz"]
    message = fails(capsys, models["lm"], *options)
    assert "--source-lang and --target-lang are for translation models" in message


def test_the_word_pad_is_an_unknown_word(models, tmp_path) -> None:
    for name, word in (("pad", "<pad>"), ("unknown", "nobody-knows-this")):
        options = ["--sentence", f"w1 {word} w2", "--arrays", tmp_path / f"{name}.npz"]
        main(models["lm"], *options)
    with numpy.load(tmp_path / "pad.npz") as pad, numpy.load(tmp_path / "unknown.npz") as unknown:
        assert pad["0/target"].tolist() == ["w1", "<pad> <unk>", "w2", "</s>"]
        for name in set(pad) - {"0/target", *(key for key in pad if key.endswith("tokens"))}:
            if pad[name].dtype.kind == "f":
                assert (pad[name] == unknown[name]).all(), name


def changed(checkpoint: Path, to: Path, change) -> Path:
    """A copy of a checkpoint after `change(state)`."""
    state = torch.load(checkpoint, weights_only=False)
    change(state)
    torch.save(state, to)
    return to


def test_a_model_that_diverged_is_refused(models, tmp_path, capsys) -> None:
    def diverge(state) -> None:
        for name, weight in state["model"].items():
            if name.startswith("decoder.") and "weight_hh" in name:
                weight.fill_(float("nan"))

    bad = changed(models["half"], tmp_path / "bad.pt", diverge)
    for option, name in (("--picture", "p.png"), ("--arrays", "a.npz"), ("--tables", "t")):
        message = fails(capsys, bad, "--sentence", SENTENCE, option, tmp_path / name)
        assert f"checkpoint {bad}: not all of its parameters are finite numbers" in message


def test_a_model_needs_no_file_of_embeddings(models, tmp_path) -> None:
    def name_files(state) -> None:
        for side in ("encoder", "decoder"):
            state["cfg"]["model"][f"{side}_embed_path"] = str(tmp_path / "gone.txt")

    moved = changed(models["half"], tmp_path / "moved.pt", name_files)
    for name, checkpoint in (("a", models["half"]), ("b", moved)):
        main(checkpoint, "--sentence", SENTENCE, "--arrays", tmp_path / f"{name}.npz")
    with numpy.load(tmp_path / "a.npz") as usual, numpy.load(tmp_path / "b.npz") as arrays:
        assert all((arrays[name] == usual[name]).all() for name in usual)


def test_an_unknown_task_is_named_with_the_cure(models, tmp_path, capsys) -> None:
    def rename(state) -> None:
        state["cfg"]["task"]["_name"] = "of-mine"

    own = changed(models["half"], tmp_path / "own.pt", rename)
    message = fails(capsys, own, "--sentence", SENTENCE, "--arrays", tmp_path / "a.npz")
    cure = "there is no task of-mine here; if it is your own, give its folder with --user-dir"
    assert f"checkpoint {own}: {cure}" in message


def test_a_task_without_a_dataclass_is_read(models, tmp_path) -> None:
    def without_dataclass(state) -> None:  # its options are saved as a Namespace
        task = state["cfg"]["task"]
        state["cfg"]["task"] = Namespace(task=task["_name"], **task)

    old = changed(models["half"], tmp_path / "old.pt", without_dataclass)
    for name, checkpoint in (("a", models["half"]), ("b", old)):
        main(checkpoint, "--sentence", SENTENCE, "--arrays", tmp_path / f"{name}.npz")
    with numpy.load(tmp_path / "a.npz") as usual, numpy.load(tmp_path / "b.npz") as arrays:
        assert all((arrays[name] == usual[name]).all() for name in usual)


def test_pictures_and_arrays_are_of_one_model(models, tmp_path, capsys) -> None:
    two = [models["half"], models["translator"]]
    for option, name in (("--picture", "p.png"), ("--arrays", "a.npz")):
        message = fails(
            capsys, *two, "--sentence", "a", "--page", tmp_path / "p.html", option, name
        )
        assert "--picture, --arrays and --tables are for one checkpoint" in message


def test_a_wrong_number_of_tags_is_found_before_any_sentence_runs(
    models, tmp_path, capsys, monkeypatch
) -> None:
    tags = tmp_path / "tags"
    tags.write_text("X X\nX\n")
    monkeypatch.setattr(Reader, "sentences", None)
    given = ["--sentence", "a b", "--sentence", "c d", "--tables", tmp_path / "t", "--tags", tags]
    assert "--tags, line 2: give one tag for each of the 2 words instead of 1: c" in fails(
        capsys, models["lm"], *given
    )


def test_mostly_unknown_words_give_one_warning(models, tmp_path, capsys) -> None:
    given = ["--tables", tmp_path / "t", "--overwrite"]
    texts = ["--sentence", "a man 漢字", "--sentence", "漢字 仮名 ."]
    main(models["translator"], *texts, *given)
    assert "--sentence number 2: the dictionary lacks 2 of its 3 words." in capsys.readouterr().err
    main(models["translator"], "--sentence", "the man", "--target-sentence", "漢字 仮名", *given)
    shown = capsys.readouterr().err
    assert "the translation of --sentence: the dictionary lacks 2 of its 2 words" in shown


def test_unknown_words_are_shown_with_a_warning(models, tmp_path, capsys) -> None:
    main(models["lm"], "--sentence", "Straße über", "--arrays", tmp_path / "a.npz")
    assert (
        "--sentence: the dictionary lacks 2 of its 2 words. Does the text"
        in capsys.readouterr().err
    )
    with numpy.load(tmp_path / "a.npz") as arrays:
        assert arrays["0/target"].tolist() == ["Straße <unk>", "über <unk>", "</s>"]


def test_a_model_without_a_weighted_sum_is_refused(models, tmp_path, capsys, prepared) -> None:
    options = ["--sentence", SENTENCE, "--page", tmp_path / "p.html"]
    message = fails(capsys, models["none"], *options)
    assert "cell no-gates has no memory cell, so it computes no weighted sum" in message
    train(prepared, tmp_path, *TINY.replace("wsum_lstm", "lstm").split(), "--max-update", 1)
    message = fails(capsys, tmp_path / "checkpoint_last.pt", *options)
    assert "no layer of this model (lstm) is a WsumLSTM: give a checkpoint of wsum_lstm" in message
    message = fails(capsys, tmp_path, *options)
    assert f"{tmp_path} is a folder: give a checkpoint in it, such as checkpoint_best.pt" in message
    message = fails(capsys, tmp_path / "none.pt", *options)
    assert f"there is no checkpoint {tmp_path / 'none.pt'}" in message
    broken = tmp_path / "broken.pt"
    broken.write_bytes(models["half"].read_bytes()[:1000])
    assert "broken.pt cannot be used: it is truncated" in fails(capsys, broken, *options)
    for beside in ({}, {"cfg": {"dim": 8}}):
        torch.save({"model": {}, **beside}, tmp_path / "other.pt")
        message = fails(capsys, tmp_path / "other.pt", *options)
        assert "other.pt is not fairseq's: it names no architecture" in message


def test_the_help_needs_no_fairseq() -> None:
    code = "import sys\nfrom fairseq_wsum import cli\ntry:\n cli.main(['weights', '--help'])\n"
    code += "except SystemExit:\n assert 'fairseq' not in sys.modules"
    assert "--carry-state" in run(sys.executable, "-c", code)
