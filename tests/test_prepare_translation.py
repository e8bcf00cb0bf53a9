"""Text for translation: Multi30k, and prepare.sh translation for a corpus of one's own."""

import dataclasses
import gzip
import hashlib
import json
import os
import re
import shutil
import tempfile

import pytest

pytest.importorskip("fairseq")
pytest.importorskip("sentencepiece")
from commands import run
from shell import fails, lines, names_in, prepare_here, refuses, succeeds, times_in
from translation_corpus import FORMS, PUBLISHED, joined, prepare_options

from fairseq_wsum.experiments.corpora import bpe, prepare
from fairseq_wsum.experiments.program import UserError


def rewrite(corpus, change, pattern="*"):
    """Change the text of files, some of which are packed."""
    for path in corpus.glob(pattern):
        packed = path.suffix == ".gz"
        raw = path.read_bytes()
        raw = change(gzip.decompress(raw) if packed else raw)
        path.write_bytes(gzip.compress(raw) if packed else raw)


@pytest.fixture
def other(corpus, tmp_path):
    """A copy of the corpus, to change."""
    return shutil.copytree(corpus, tmp_path / "other")


def test_every_sentence_is_kept_and_its_bpe_can_be_undone(prepared, corpus):
    record = json.loads((prepared / "prepared.json").read_text())
    assert record["sentences"] == {"train": 60, "valid": 9, "test": 7}
    for split, published in (("valid", "val"), ("test", "test_2016_flickr")):
        for lang in ("en", "de"):
            units = lines(prepared / "text" / f"{split}.{lang}")
            assert joined(units) == lines(corpus / f"{published}.lc.norm.tok.{lang}")
            for form, infix in FORMS.items():
                reference = prepared / "reference" / f"{split}.{form}.{lang}"
                source = corpus / f"{published}{infix}.{lang}"
                assert reference.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("units", ["bpe", "words"])
def test_the_data_are_those_of_fairseq_preprocess(units, prepared, corpus, tmp_path):
    data, options = prepared, ["--joined-dictionary", "--srcdict", prepared / "dict.en.txt"]
    if units == "words":
        data, options = tmp_path / "data", ["--nwordssrc", "24", "--nwordstgt", "24"]
        own = ["--data", corpus, "--units", "words", "--nwords", 24, "--out", data]
        prepare_here("translation", *own)
    prefixes = [f"--{split}pref={data / 'text' / split}" for split in ("train", "valid", "test")]
    options += ["-s", "en", "-t", "de", "--destdir", tmp_path / "theirs"]
    run("fairseq-preprocess", *prefixes, *options)
    theirs = [path for path in (tmp_path / "theirs").iterdir() if path.name != "preprocess.log"]
    assert len(theirs) == 14
    for path in theirs:
        assert (data / path.name).read_bytes() == path.read_bytes()


def test_the_bpe_dictionary_holds_every_piece_of_the_model(prepared):
    model = bpe.load(prepared / "spm.model")
    pieces = {model.id_to_piece(i) for i in range(model.get_piece_size())}
    for lang in ("en", "de"):
        entries = {line.split(" ")[0] for line in lines(prepared / f"dict.{lang}.txt")}
        assert pieces - {"<unk>", "<s>", "</s>"} <= entries
        assert (len(entries) + 4) % 8 == 0


def test_equal_texts_give_equal_models(tmp_path, monkeypatch):
    """--like compares them."""
    models = [tmp_path / name for name in ("first", "second")]
    (other := tmp_path / "für später").mkdir()
    for model, temporary in zip(models, (None, str(other)), strict=True):
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        bpe.learn(model, ["a b c ab ac"] * 9, 9, 1)
        assert len(bpe.pieces(bpe.load(model))) == 6
    assert models[0].read_bytes() == models[1].read_bytes()


def test_multi30k_is_downloaded_once_and_checked(corpus, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sacremoses")
    site, cache, sums = tmp_path / "site", tmp_path / "cache", {}
    for name in ("raw", "tok"):
        (site / name).mkdir(parents=True)
    for split in PUBLISHED:
        for lang in ("en", "de"):
            for infix in FORMS.values():
                text = corpus / f"{split}{infix}.{lang}"
                packed = text.with_name(f"{text.name}.gz")
                raw = gzip.decompress(packed.read_bytes()) if packed.exists() else text.read_bytes()
                sums[text.name] = hashlib.sha256(raw).hexdigest()
                if infix:
                    (site / "tok" / text.name).write_bytes(raw)
                else:
                    (site / "raw" / packed.name).write_bytes(gzip.compress(raw))
    tiny = dataclasses.replace(prepare.MULTI30K, sha256=sums, url="file:///none")
    monkeypatch.setitem(prepare.CORPORA, "multi30k", tiny)
    options = ["--text", "raw", "--units", "words", "--max-words", "10"]
    options += ["--cache", cache, "--out", tmp_path / "out"]
    with pytest.raises(UserError, match=r"cannot download file:///none/raw/train\.en\.gz .*--data"):
        prepare_here("multi30k", *options)
    assert not names_in(cache)
    there = dataclasses.replace(tiny, url=site.as_uri())
    monkeypatch.setitem(prepare.CORPORA, "multi30k", there)
    prepare_here("multi30k", *options)
    assert len(names_in(cache)) == 10
    assert lines(tmp_path / "out/text/valid.de")[3] == "Der Baum liebt 3 Mann , so ."
    assert len({(tmp_path / f"out/dict.{lang}.txt").read_text() for lang in ("en", "de")}) == 2
    shutil.rmtree(tmp_path / "out")
    capsys.readouterr()
    prepare_here("multi30k", *options)
    assert "downloading" not in capsys.readouterr().out


def test_preparing_again_is_skipped_and_never_overwrites(prepared, corpus, other):
    before = times_in(prepared)
    assert "already done" in succeeds(
        "prepare.sh", "translation", *prepare_options(corpus, prepared)
    )
    words = ["translation", "--out", prepared, "--data"]
    for options, message in (
        (["--units", "words"], "units is bpe there"),
        (["--bpe-size", 90, "--character-coverage", 0.99], r"coverage is 1\.0 there, 0\.99 now"),
    ):
        with pytest.raises(UserError, match=message):
            prepare_here(*words, corpus, *options)
    (other / "val.de").write_text("ein anderer Satz\n" * 9)
    with pytest.raises(UserError, match=r"from other files than those given now: val\.de;"):
        prepare_here(*words, other, "--bpe-size", 90)
    assert times_in(prepared) == before


def test_the_splits_may_have_different_kinds_of_names(prepared, other, tmp_path):
    for path in other.glob(f"{TEST}.*"):
        path.rename(path.with_name(path.name.replace(TEST, "test")))
    out = tmp_path / "out"
    prepare_here("translation", *prepare_options(other, out))
    for name in ("valid.de", "test.de"):
        assert lines(out / "text" / name) == lines(prepared / "text" / name)


def test_other_programs_read_every_space_as_the_preparation_does(prepared) -> None:
    model = bpe.load(prepared / "spm.model")
    line = "die\u00a0Frau\t!\u3000\u2028so"
    assert model.encode(line) == model.encode(" ".join(line.split()))


def test_pairs_that_are_empty_or_too_long_are_left_out_of_the_training_text(
    other, tmp_path, capsys
):
    emptied = {"en": {2: "", 5: ""}, "de": {5: "", 7: " \xa0\u2028"}}
    for lang, changed in emptied.items():
        for pattern in (f"train.lc*.{lang}*", f"val.lc*.{lang}*"):

            def change(raw, changed=changed):
                text = raw.decode().removesuffix("\n").split("\n")
                text = [changed.get(i, line) for i, line in enumerate(text)]
                return "".join(f"{line}\n" for line in text).encode()

            rewrite(other, change, pattern)
    rewrite(other, lambda raw: raw.replace(b"so .", b"so so .", 11), "*.lc*.de*")  # 9 words
    out = tmp_path / "out"
    options = ["--data", other, "--out", out, "--units", "words", "--max-words", 8]
    prepare_here("translation", *options)
    record = json.loads((out / "prepared.json").read_text())
    assert record["left_out"] == {"empty": 3, "max_words": 10}
    assert record["sentences"] == {"train": 47, "valid": 9, "test": 7}
    printed = capsys.readouterr().out
    assert "training pairs left out: 3 with an empty side, 10 by --max-words" in printed
    for lang in ("en", "de"):
        raw = gzip.decompress((other / f"train.lc.norm.tok.{lang}.gz").read_bytes())
        assert lines(out / f"text/train.{lang}") == raw.decode().split("\n")[13:-1]


def test_rare_characters_can_be_left_out_of_the_bpe(other, tmp_path):
    rewrite(other, lambda raw: raw.replace(b"so", "s\u0436".encode(), 1), "train.lc*.de*")
    for value, known in ((0.98, False), (1, True)):
        out = tmp_path / str(value)
        prepare_here("translation", *prepare_options(other, out), "--character-coverage", value)
        assert ("\u0436" in (out / "dict.de.txt").read_text("utf-8")) == known


def test_a_long_line_is_part_of_the_text_for_the_bpe(tmp_path) -> None:
    model = tmp_path / "spm.model"
    bpe.learn(model, ["a b", "\u0436 " * 3000], 8, 1.0)
    assert bpe.load(model).encode("\u0436", out_type=str) == ["\u2581\u0436"]


def test_bpe_splits_fairseqs_symbols_like_other_text(other, tmp_path):
    rewrite(other, lambda raw: raw.replace(b"so .", b"<s> x<pad> </s> ."), "*.lc*")
    out = tmp_path / "out"
    prepare_here("translation", *prepare_options(other, out))
    for split in ("train", "valid", "test"):
        assert "<s> x<pad> </s>" in joined(lines(out / "text" / f"{split}.de"))[0]


# --like


@pytest.fixture(scope="module")
def talks(corpus, tmp_path_factory):
    """Other text, as it is used to fine-tune a model, with a word and characters of its own."""
    folder = shutil.copytree(corpus, tmp_path_factory.mktemp("talks") / "corpus")
    balloon = "\u0436 balloon".encode()
    rewrite(folder, lambda raw: raw.replace(b"ball", balloon).replace(b"so", b"dog man"))
    return folder


@pytest.mark.parametrize("units", ["bpe", "words"])
def test_another_corpus_gets_the_vocabulary_of_a_folder(
    units, prepared, corpus, talks, tmp_path, capsys
):
    first, out = prepared, tmp_path / "out"
    names = ["dict.en.txt", "dict.de.txt"]
    if units == "words":
        first = tmp_path / "first"
        options = ["--data", corpus, "--units", "words", "--nwords", 24]
        prepare_here("translation", *options, "--out", first)
    else:
        names.append("spm.model")
    like = ["translation", "--data", talks, "--out", out, "--like", first]
    prepare_here(*like)
    assert "learning" not in capsys.readouterr().out
    for name in names:
        assert (out / name).read_bytes() == (first / name).read_bytes()
    old, record = (json.loads((folder / "prepared.json").read_text()) for folder in (first, out))
    size = "nwords" if units == "words" else "bpe_size"
    assert record[size] == old[size] and record["units"] == units and record["like"]
    assert record["sentences"] == old["sentences"]
    cut = lines(out / "text" / "train.en")
    text = gzip.decompress((talks / "train.lc.norm.tok.en.gz").read_bytes()).decode()
    assert (cut if units == "words" else joined(cut)) == text.removesuffix("\n").split("\n")

    before = times_in(out)
    prepare_here(*like)
    assert "already done" in capsys.readouterr().out
    with pytest.raises(UserError, match="like is "):
        prepare_here(*like[:5], "--units", units)
    assert times_in(out) == before

    alone = tmp_path / "alone"
    alone.mkdir()
    for path in talks.glob("test_2016_flickr.*"):
        shutil.copy(path, alone)
    prepare_here(*like[:2], alone, "--out", tmp_path / "scored", *like[5:])
    assert "sentences: test" in capsys.readouterr().out
    name = "test.en-de.de.bin"
    assert (tmp_path / "scored" / name).read_bytes() == (out / name).read_bytes()


# Mistakes

TEST = "test_2016_flickr"


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"train.lc.norm.tok.de.gz": None}, [], r"neither train\.lc\.norm\.tok\.de nor .*\.gz;"),
        ({"val.lc.norm.tok.de": "s\n" * 8}, [], r"\.en has 9 lines, val\.lc\.norm\.tok\.de has 8"),
        ({f"{TEST}.{lang}": "a\n" * 5 for lang in ("en", "de")}, [], "do not match: .* has 5"),
        ({"val.lc.norm.tok.de": "a <s>\n" * 9}, ["--units", "words"], "line 1: <s> is a symbol"),
        ({}, ["--max-words", 1], "--max-words 1 leaves no training pairs"),
        ({}, ["--bpe-size", 20], r"at least --bpe-size \d+, or a --character-coverage such as 0"),
        ({}, ["--character-coverage", 1.1], r"--character-coverage 1\.1 does not suit this text"),
        ({}, ["--units", "words", "--bpe-size", 90], "--bpe-size 90 does not go with --units wo"),
        ({}, ["--nwords", 10], "--nwords 10 does not go with --units bpe"),
        ({}, ["--target-lang", "en"], "--source-lang and --target-lang are both en"),
        ({}, ["--target-lang", "pt-BR"], "'pt-BR' is not the code of a language, such as fr or"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, (dict, list)) else "",
)
def test_a_mistake_is_named_and_leaves_nothing(other, tmp_path, capsys, files, options, message):
    for name, text in files.items():
        (other / name).unlink() if text is None else (other / name).write_text(text)
    size = ["--bpe-size", 90] if "--units" not in options else []
    given = ["translation", "--data", other, "--out", tmp_path / "out", *size, *options]
    assert re.search(message, refuses(prepare.main, capsys, *given))
    assert os.listdir(tmp_path) == ["other"]


def test_a_symbol_that_bpe_keeps_whole_is_rejected(other, tmp_path):
    letters = str.maketrans("padPAD", "\u0431" * 6)  # no character of <pad> is left
    rewrite(other, lambda raw: raw.decode().translate(letters).encode())
    rewrite(other, lambda raw: raw.replace(b" .", b" <pad>", 3), f"{TEST}.lc*.en")
    with pytest.raises(UserError, match=rf"{TEST}\.lc\.norm\.tok\.en, line 1: <pad> is a symbol"):
        prepare_here("translation", *prepare_options(other, tmp_path / "out"))


@pytest.mark.parametrize("options", [["--bpe-size", "80"], ["--target-lang", "fr"]])
def test_an_option_that_contradicts_like_is_rejected(options, prepared, talks, tmp_path, capsys):
    given = ["translation", "--data", talks, "--like", prepared, "--out", tmp_path / "out"]
    named = f"{' '.join(options)} with --like {prepared}, which was made with {options[0]} "
    assert named in refuses(prepare.main, capsys, *given, *options)
    assert not list(tmp_path.iterdir())


def test_multi30k_is_nothing_else(corpus, tmp_path):
    message = fails("prepare.sh", "multi30k", "--out", tmp_path / "out", "--data", corpus)
    assert "train.lc.norm.tok.en.gz is not the published train.lc.norm.tok.en" in message
