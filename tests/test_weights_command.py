"""The results of `fairseq-wsum weights`, and its messages for bad input."""

import sys
from pathlib import Path

import numpy
import pytest

pytest.importorskip("fairseq")
from commands import ROOT, run, train
from translation_corpus import TINY
from weights_checkpoints import SENTENCE, fails, main

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
    assert (tmp_path / "t" / "tags.tsv").is_file()
    with numpy.load(tmp_path / "a.npz") as arrays:
        i, f = (arrays[f"1/encoder/1/backward/{gate}_gates"] for gate in ("input", "forget"))
        norms, tokens = arrays["1/encoder/1/backward/norms"], arrays["1/encoder/1/tokens"]
        assert tokens[-1] == "</s>" and norms.shape == (len(tokens), len(tokens))
        assert norms[0, 1] == pytest.approx(numpy.linalg.norm(i[1] * f[0]), rel=1e-5)
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
    assert "--unit 700: layer 1 of the decoder has the units 0 to 7" in fails(capsys, *given)
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
        ("half", ONE + "--target {}/two", "2 translations for 1 sentences"),
        ("half", ONE + "--tags {}/two", "--tags {}/two has 2 lines for 1 sentences"),
        ("half", "--tables {}/new --sentence a --tags {}/tags", "sentence 1 has 2 tags; give one"),
        ("half", ONE + "--data {}/none", "'{}/none'; dictionaries are found by --data"),
        ("half", ONE + "--data {}/dict", "found by --data, --source-lang and --target-lang"),
        ("half", ONE + "--user-dir {}/none", "{}/none"),
        ("half", ONE + "--bpe-model {}/none", "{}/none not found"),
        ("half", ONE + "--carry-state", "--carry-state: this model does not carry a state"),
        ("lm", ONE + "--target-sentence b", "this model has no --target-sentence and no"),
        ("none", ONE, "(wsum_lstm) is a WsumLSTM with a memory cell, so there are no weights"),
        ("half", "{} --tables {}/p", "several checkpoints: give --page and --picture only"),
        ("half", "{}/none.pt " + ONE, "{}/none.pt"),
    ],
)
def test_wrong_input_is_named(models, tmp_path, capsys, model, options, message) -> None:
    files = {"two": b"x\ny\n", "tags": b"X Y\n", "many": b"x\n" * 201, "long": b"man " * 200}
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


def test_the_help_needs_no_fairseq() -> None:
    code = "import sys\nfrom fairseq_wsum import cli\ntry:\n cli.main(['weights', '--help'])\n"
    code += "except SystemExit:\n assert 'fairseq' not in sys.modules"
    assert "--carry-state" in run(sys.executable, "-c", code)
