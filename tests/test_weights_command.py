"""The results of `fairseq-wsum weights`, and its messages for bad input."""

import importlib.util
import sys
from pathlib import Path

import numpy
import pytest
import torch

pytest.importorskip("fairseq")
from commands import ROOT, run, train
from translation_corpus import TINY
from weights_checkpoints import SENTENCE, fails, main

from fairseq_wsum.weights import command
from fairseq_wsum.weights.models import Line, Reader
from fairseq_wsum.weights.picture import draw
from fairseq_wsum.weights.sentences import Model


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


def test_a_table_that_is_a_link_is_written_where_it_leads(models, tmp_path) -> None:
    folder, table = tmp_path / "tables", tmp_path / "words"
    folder.mkdir()
    (folder / "words.tsv").symlink_to(table)
    main(models["lm"], "--sentence", "w1 w4", "--tables", folder, "--overwrite")
    assert (folder / "words.tsv").is_symlink() and table.read_text().startswith("side\t")


def test_options_without_an_effect_or_room_are_rejected(
    models, tmp_path, capsys, monkeypatch
) -> None:
    words = ("--sentence", "w1 w4", "--arrays", tmp_path / "a.npz")
    message = fails(capsys, models["lm"], *words, "--beam", 3)
    assert "--beam is for translations that the model makes itself" in message
    monkeypatch.setattr(command, "MOST_NORMS", 2)
    message = fails(capsys, models["lm"], *words)
    assert "--sentence has 3 tokens" in message and "split it, or give only --tables" in message
    assert not list(tmp_path.iterdir())


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
    assert command._names([Path("/runs/caf\udce9/a.pt")]) == ["caf\ufffd"]  # not UTF-8


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


def test_a_text_of_5000_words_goes_into_tables(models, tmp_path) -> None:
    long = " ".join(["w1", "w4", "w2"] * 1667)
    main(models["lm"], "--sentence", long, "--tables", tmp_path / "t")
    assert (tmp_path / "t" / "words.tsv").read_text().count("w4") == 2  # of each layer


def test_a_target_is_for_translation_models(models, tmp_path, capsys) -> None:
    options = ["--sentence", "w1", "--target-sentence", "w2", "--arrays", tmp_path / "a.npz"]
    expected = "--sentence has a translation, and this is a language model: omit --target-sentence"
    assert expected in fails(capsys, models["lm"], *options)


def test_languages_are_for_translation_models(models, tmp_path, capsys) -> None:
    languages = ["--source-lang", "en", "--target-lang", "de"]
    options = ["--sentence", "w1", *languages, "--arrays", tmp_path / "a.npz"]
    message = fails(capsys, models["lm"], *options)
    assert "--source-lang and --target-lang are for translation models" in message


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


def test_the_help_needs_no_fairseq() -> None:
    code = "import sys\nfrom fairseq_wsum import cli\ntry:\n cli.main(['weights', '--help'])\n"
    code += "except SystemExit:\n assert 'fairseq' not in sys.modules"
    assert "--carry-state" in run(sys.executable, "-c", code)
