"""scripts/prepare_multi30k.sh, on a tiny corpus of the same form."""

import gzip
import json
import shutil
import sys

import pytest
from commands import needs_fairseq
from shell import fails, lines, names_in, succeeds
from translation_corpus import FORMS, PUBLISHED, TINY, prepare_options


@needs_fairseq
def test_preparing_keeps_every_sentence_and_its_bpe_can_be_undone(prepared, corpus):
    record = json.loads((prepared / "prepared.json").read_text())
    assert record["sentences"] == {"train": 60, "valid": 9, "test": 7}
    for split, published in (("valid", "val"), ("test", "test_2016_flickr")):
        for lang in ("en", "de"):
            units = lines(prepared / "text" / f"{split}.{lang}")
            text = [line.replace(" ", "").replace("\u2581", " ").strip() for line in units]
            assert text == lines(corpus / f"{published}.lc.norm.tok.{lang}")
            for form, infix in FORMS.items():
                reference = prepared / "reference" / f"{split}.{form}.{lang}"
                assert (
                    reference.read_bytes() == (corpus / f"{published}{infix}.{lang}").read_bytes()
                )


@needs_fairseq
def test_the_bpe_dictionary_holds_every_piece_of_the_model(prepared):
    sentencepiece = pytest.importorskip("sentencepiece")
    model = sentencepiece.SentencePieceProcessor(model_file=str(prepared / "spm.model"))
    pieces = {model.id_to_piece(i) for i in range(model.get_piece_size())}
    for lang in ("en", "de"):
        entries = {line.split(" ")[0] for line in lines(prepared / f"dict.{lang}.txt")}
        assert pieces - {"<unk>", "<s>", "</s>"} <= entries
        assert (len(entries) + 4) % 8 == 0


@needs_fairseq
def test_bpe_dropout_gives_other_segmentations_for_other_epochs(corpus, tmp_path):
    out = tmp_path / "data"
    options = [*prepare_options(corpus, out), "--bpe-dropout", "0.2", "--bpe-samples", 2]
    succeeds("prepare_multi30k.sh", *options)
    names = ("train", "sample-01", "sample-02")
    cuts = [lines(out / "text" / f"{name}.de") for name in names]
    assert len({tuple(cut) for cut in cuts}) == 3
    assert len({tuple(line.replace(" ", "") for line in cut) for cut in cuts}) == 1
    assert "bpe_dropout is 0.2 there" in fails("prepare_multi30k.sh", *options[:-4])

    data = ":".join(str(folder) for folder in (out, out / "sample-01", out / "sample-02"))
    train = ["train.sh", data, "--save-dir", tmp_path / "run", *TINY.split()]
    log = succeeds(*train, "--max-epoch", 3)
    for folder in data.split(":"):
        assert f"loaded 60 examples from: {folder}/train.en-de.de" in log


@pytest.mark.parametrize("value", ["0", "1", "much"])
def test_bpe_dropout_is_a_probability(value, tmp_path):
    options = ["--out", tmp_path / "data", "--bpe-dropout"]
    assert f"'{value}' is not a number between" in fails("prepare_multi30k.sh", *options, value)


@needs_fairseq
def test_preparing_again_is_skipped_and_never_overwrites(prepared, corpus):
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    options = prepare_options(corpus, prepared)
    assert "already done" in succeeds("prepare_multi30k.sh", *options)
    words = ["--own-corpus", "--data", corpus, "--out", prepared, "--units", "words"]
    assert "units is 'bpe' there" in fails("prepare_multi30k.sh", *words)
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before


@needs_fairseq
def test_preparing_detects_another_corpus_and_foreign_files(prepared, corpus, tmp_path):
    other = shutil.copytree(corpus, tmp_path / "other")
    (other / "val.de").write_text("ein anderer Satz\n" * 9)
    message = fails("prepare_multi30k.sh", *prepare_options(other, prepared))
    assert f"made from other files than --data {other} has now: val.de;" in message
    assert "has other files in it" in fails("prepare_multi30k.sh", *prepare_options(corpus, other))


@needs_fairseq
def test_a_missing_file_is_named_with_its_option(corpus, tmp_path):
    other = shutil.copytree(corpus, tmp_path / "other")
    (other / "train.lc.norm.tok.de.gz").unlink()
    message = fails("prepare_multi30k.sh", *prepare_options(other, tmp_path / "out"))
    assert "train.lc.norm.tok.de" in message and "--data" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


@needs_fairseq
def test_sides_of_different_lengths_are_rejected(corpus, tmp_path):
    other = shutil.copytree(corpus, tmp_path / "other")
    (other / "val.lc.norm.tok.de").write_text("ein satz\n" * 8)
    message = fails("prepare_multi30k.sh", *prepare_options(other, tmp_path / "out"))
    assert "val.lc.norm.tok.en has 9 lines, val.lc.norm.tok.de has 8" in message


@needs_fairseq
def test_only_the_published_text_passes_for_multi30k(corpus, tmp_path):
    options = ["--data", corpus, "--out", tmp_path / "out"]
    message = fails("prepare_multi30k.sh", *options)
    assert "60 lines, not 29000" in message and "--own-corpus" in message
    options[1] = shutil.copytree(corpus, tmp_path / "other")
    (options[1] / "train.lc.norm.tok.en").write_text("a man .\n" * 29000)
    assert "SHA-256" in fails("prepare_multi30k.sh", *options)


@needs_fairseq
def test_the_files_are_downloaded_once_and_raw_text_becomes_cased_words(corpus, tmp_path):
    pytest.importorskip("sacremoses")
    site, cache = tmp_path / "site", tmp_path / "cache"
    for name in ("raw", "tok"):
        (site / name).mkdir(parents=True)
    for split in PUBLISHED:
        for lang in ("en", "de"):
            for infix in FORMS.values():
                text = corpus / f"{split}{infix}.{lang}"
                packed = text.with_name(f"{text.name}.gz")
                raw = gzip.decompress(packed.read_bytes()) if packed.exists() else text.read_bytes()
                if infix:
                    (site / "tok" / text.name).write_bytes(raw)
                else:
                    (site / "raw" / packed.name).write_bytes(gzip.compress(raw))
    options = ["--own-corpus", "--text", "raw", "--units", "words", "--max-words", "10"]
    options += ["--cache", cache, "--out", tmp_path / "out"]

    message = fails("prepare_multi30k.sh", *options, MULTI30K_URL=f"{tmp_path.as_uri()}/none")
    assert "cannot download" in message and "--data" in message
    assert not names_in(cache)
    succeeds("prepare_multi30k.sh", *options, MULTI30K_URL=f"{site.as_uri()}/")
    assert len(names_in(cache)) == 10
    assert lines(tmp_path / "out" / "text" / "valid.de")[3] == "Der Baum liebt 3 Mann , so ."
    assert len({(tmp_path / "out" / f"dict.{lang}.txt").read_text() for lang in ("en", "de")}) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--units", "words", "--bpe-dropout", "0.1"], "--bpe-dropout 0.1 needs --units bpe"),
        (["--units", "words", "--bpe-size", "90"], "--bpe-size 90 needs --units bpe"),
        (["--bpe-samples", "5"], "--bpe-samples 5 needs --bpe-dropout"),
        (["--nwords", "10"], "--nwords 10 needs --units words"),
        (["--cache", "x", "--data", "y"], "--cache x with --data y: leave one of the two out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_without_effect_is_rejected(options, message, monkeypatch, load, capsys):
    monkeypatch.setattr(sys, "argv", ["multi30k.py", "--out", "unused", *options])
    with pytest.raises(SystemExit):
        load("multi30k").parse()
    assert message in capsys.readouterr().err


def test_text_and_references_of_different_lengths_are_rejected(corpus, tmp_path):
    other = shutil.copytree(corpus, tmp_path / "other")
    for lang in ("en", "de"):
        raw = other / f"test_2016_flickr.{lang}"
        raw.write_text("".join(f"{line}\n" for line in lines(raw)[:5]), "utf-8")
    message = fails("prepare_multi30k.sh", *prepare_options(other, tmp_path / "out"))
    assert "the files do not match" in message
    assert "test_2016_flickr.lc.norm.tok.de has 7 lines, test_2016_flickr.en has 5" in message


def test_max_words_leaves_out_long_training_pairs_only(corpus, tmp_path, monkeypatch, load):
    multi30k = load("multi30k")
    options = ["--own-corpus", "--data", str(corpus), "--out", "unused", "--units", "words"]
    monkeypatch.setattr(sys, "argv", ["multi30k.py", *options, "--max-words", "8"])
    args = multi30k.parse()
    texts = multi30k.read_corpus(args)
    for name in ("train.lc.norm.tok.de", "val.lc.norm.tok.de"):
        texts[name] = texts[name].replace(b"so .", b"so so .", 5)  # 9 words
    sizes = {"train": 55, "valid": 9, "test": 7}
    assert multi30k.write_text(tmp_path, texts, args) == sizes
    for split, size in sizes.items():
        for lang in ("en", "de"):
            assert len(lines(tmp_path / "text" / f"{split}.{lang}")) == size


def with_bpe(multi30k, monkeypatch, corpus, *more):
    options = ["--own-corpus", "--data", corpus, "--out", "unused", "--bpe-size", "90", *more]
    monkeypatch.setattr(sys, "argv", ["multi30k.py", *map(str, options)])
    return multi30k.parse()


def test_bpe_splits_fairseqs_symbols_like_other_text(corpus, tmp_path, monkeypatch, load):
    pytest.importorskip("sentencepiece")
    multi30k = load("multi30k")
    args = with_bpe(multi30k, monkeypatch, corpus, "--bpe-dropout", "0.2", "--bpe-samples", "1")
    texts = multi30k.read_corpus(args)
    texts = {name: raw.replace(b"so .", b"<s> x<pad> </s> .") for name, raw in texts.items()}
    multi30k.write_text(tmp_path, texts, args)
    for split in ("train", "valid", "test", "sample-01"):
        units = lines(tmp_path / "text" / f"{split}.de")
        assert "<s> x<pad> </s>" in units[0].replace(" ", "").replace("\u2581", " ")


def test_a_fairseq_symbol_that_bpe_keeps_whole_is_rejected(corpus, tmp_path, monkeypatch, load):
    pytest.importorskip("sentencepiece")
    multi30k, other = load("multi30k"), str.maketrans("padPAD", "\u0431" * 6)
    args = with_bpe(multi30k, monkeypatch, corpus)
    texts = {
        name: raw.decode().translate(other).encode()  # no character of <pad> is left
        for name, raw in multi30k.read_corpus(args).items()
    }
    name = "test_2016_flickr.lc.norm.tok.en"
    texts[name] = texts[name].replace(b" .", b" <pad>", 3)
    with pytest.raises(load("common").UserError, match=f"{name}, line 1: <pad> is a symbol"):
        multi30k.write_text(tmp_path, texts, args)
