"""scripts/prepare_multi30k.sh, on a tiny corpus of the same form."""

import gzip
import json
import re
import shutil
import sys

import pytest
from commands import needs_fairseq
from shell import fails, lines, names_in, succeeds, times_in
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


@pytest.mark.parametrize("value", ["0.97", "1.1", "all"])
def test_character_coverage_has_the_limits_of_sentencepiece(value, tmp_path):
    options = ["--out", tmp_path / "data", "--character-coverage", value]
    assert f"'{value}' is not a number from 0.98 to 1" in fails("prepare_multi30k.sh", *options)


@needs_fairseq
def test_preparing_again_is_skipped_and_never_overwrites(prepared, corpus):
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    options = prepare_options(corpus, prepared)
    assert "already done" in succeeds("prepare_multi30k.sh", *options)
    words = ["--own-corpus", "--data", corpus, "--out", prepared, "--units", "words"]
    assert "units is 'bpe' there" in fails("prepare_multi30k.sh", *words)
    message = fails("prepare_multi30k.sh", *options, "--character-coverage", "0.99")
    assert "character_coverage is 1.0 there, 0.99 now" in message
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
        (
            ["--units", "words", "--character-coverage", "0.99"],
            "--character-coverage 0.99 needs --units bpe",
        ),
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
    left_out = {"empty": 0, "max_words": 5}
    assert multi30k.write_text(tmp_path, texts, args) == (sizes, left_out)
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


@needs_fairseq
def test_training_pairs_with_an_empty_side_are_left_out(corpus, tmp_path):
    other, out = shutil.copytree(corpus, tmp_path / "other"), tmp_path / "out"
    sides = {}
    for lang, emptied in (("en", {2: "", 5: ""}), ("de", {5: "", 7: " \xa0\u2028"})):
        for name in ("train", "val"):
            path = other / f"{name}.lc.norm.tok.{lang}"
            packed = path.with_name(f"{path.name}.gz")
            raw = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
            text = raw.decode().removesuffix("\n").split("\n")
            text = [emptied.get(i, line) for i, line in enumerate(text)]
            packed.unlink(missing_ok=True)
            path.write_text("".join(f"{line}\n" for line in text), "utf-8")
            sides[name, lang] = text
    options = [*prepare_options(other, out), "--bpe-dropout", "0.1", "--bpe-samples", 1]
    log = succeeds("prepare_multi30k.sh", *options, "--max-words", 1000)
    assert "training pairs left out: 3 with an empty side, 0 by --max-words" in log
    record = json.loads((out / "prepared.json").read_text())
    assert record["sentences"] == {"train": 57, "valid": 9, "test": 7}
    assert record["left_out"] == {"empty": 3, "max_words": 0}
    for lang in ("en", "de"):
        kept = [line for i, line in enumerate(sides["train", lang]) if i not in (2, 5, 7)]
        wanted = {"train": kept, "sample-01": kept, "valid": sides["val", lang]}
        for name, text in wanted.items():
            units = lines(out / "text" / f"{name}.{lang}")
            joined = [line.replace(" ", "").replace("\u2581", " ").strip() for line in units]
            assert joined == [" ".join(line.split()) for line in text]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("a", ""), ("", "b")], "no training pair has text"),
        ([("a", "b c")], "--max-words 1 leaves"),
    ],
    ids=["empty", "long"],
)
def test_a_training_text_without_usable_pairs_is_rejected(pairs, message, load):
    multi30k = load("multi30k")
    with pytest.raises(load("common").UserError, match=message):
        list(multi30k.usable(pairs, 1, multi30k.Counter()))


def test_rare_characters_can_be_left_out_of_the_bpe(corpus, tmp_path, monkeypatch, load):
    pytest.importorskip("sentencepiece")
    multi30k = load("multi30k")
    for value, known in (("0.98", False), ("1", True)):
        args = with_bpe(multi30k, monkeypatch, corpus, "--character-coverage", value)
        texts = multi30k.read_corpus(args)
        name = "train.lc.norm.tok.de"
        texts[name] = texts[name].replace(b"so", "s\u0436".encode(), 1)
        (tmp_path / value).mkdir()
        multi30k.write_text(tmp_path / value, texts, args)
        assert ("\u0436" in (tmp_path / value / "text" / "dict.txt").read_text("utf-8")) == known


def test_a_long_line_is_part_of_the_text_for_the_bpe(tmp_path, load) -> None:
    pytest.importorskip("sentencepiece")
    bpe, model = load("bpe"), tmp_path / "spm.model"
    bpe.learn(model, ["a b", "\u0436 " * 3000], 8, 1.0)
    assert bpe.load(model).encode("\u0436", out_type=str) == ["\u2581\u0436"]


def test_a_bpe_smaller_than_the_alphabet_is_rejected_with_the_cures(
    corpus, tmp_path, monkeypatch, load
):
    pytest.importorskip("sentencepiece")
    multi30k = load("multi30k")
    args = with_bpe(multi30k, monkeypatch, corpus)
    args.bpe_size = 20
    with pytest.raises(load("common").UserError) as error:
        multi30k.write_text(tmp_path, multi30k.read_corpus(args), args)
    found = re.search(
        r"--bpe-size 20 does not suit .* at least --bpe-size (\d+), or", str(error.value)
    )
    assert "a --character-coverage such as 0.9995" in str(error.value)
    args.bpe_size = int(found[1])
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    multi30k.write_text(tmp_path, multi30k.read_corpus(args), args)


# --like


@pytest.fixture(scope="module")
def talks(corpus, tmp_path_factory):
    """Other text, as it is used to fine-tune a model, with a word and characters of its own."""
    folder = shutil.copytree(corpus, tmp_path_factory.mktemp("talks") / "corpus")
    for path in folder.iterdir():
        packed = path.suffix == ".gz"
        raw = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        raw = raw.replace(b"ball", "\u0436 balloon".encode()).replace(b"so", b"dog man")
        path.write_bytes(gzip.compress(raw) if packed else raw)
    return folder


@needs_fairseq
@pytest.mark.parametrize("units", ["bpe", "words"])
def test_another_corpus_gets_the_vocabulary_of_a_folder(units, prepared, corpus, talks, tmp_path):
    first, out = prepared, tmp_path / "out"
    names = ["dict.en.txt", "dict.de.txt"]
    if units == "words":
        first = tmp_path / "first"
        options = ["--own-corpus", "--data", corpus, "--units", "words", "--nwords", 24]
        succeeds("prepare_multi30k.sh", *options, "--out", first)
    else:
        names.append("spm.model")
    like = ["--own-corpus", "--data", talks, "--like", first, "--out", out]
    assert "learning" not in succeeds("prepare_multi30k.sh", *like)
    for name in names:
        assert (out / name).read_bytes() == (first / name).read_bytes()
    old, record = (json.loads((folder / "prepared.json").read_text()) for folder in (first, out))
    size = "nwords" if units == "words" else "bpe_size"
    assert record[size] == old[size] and record["units"] == units and record["like"]
    assert record["sentences"] == old["sentences"]
    cut = lines(out / "text" / "train.en")
    joined = [line.replace(" ", "").replace("\u2581", " ").strip() for line in cut]
    text = gzip.decompress((talks / "train.lc.norm.tok.en.gz").read_bytes()).decode()
    assert (cut if units == "words" else joined) == text.removesuffix("\n").split("\n")

    before = times_in(out)
    assert "already done" in succeeds("prepare_multi30k.sh", *like)
    assert "like is " in fails("prepare_multi30k.sh", *like[:3], *like[5:], "--units", units)
    assert times_in(out) == before


@needs_fairseq
@pytest.mark.parametrize(
    "options",
    [
        ["--bpe-size", "80"],
        ["--character-coverage", "0.99"],
        ["--units", "words"],
        ["--text", "raw"],
        ["--target-lang", "fr"],
    ],
    ids=lambda options: options[0],
)
def test_an_option_that_contradicts_like_is_rejected(options, prepared, talks, tmp_path):
    like = ["--own-corpus", "--data", talks, "--like", prepared, "--out", tmp_path / "out"]
    message = fails("prepare_multi30k.sh", *like, *options)
    assert (
        f"{' '.join(options)} with --like {prepared}, which was made with {options[0]} " in message
    )
    assert not list(tmp_path.iterdir())


@needs_fairseq
def test_a_folder_without_its_vocabulary_is_rejected(prepared, talks, tmp_path):
    first = shutil.copytree(prepared, tmp_path / "first")
    like = ["--own-corpus", "--data", talks, "--like", first, "--out", tmp_path / "out"]
    (first / "spm.model").unlink()
    cut = (first / "dict.de.txt").read_bytes()[:-1]
    (first / "dict.de.txt").write_bytes(cut)
    message = fails("prepare_multi30k.sh", *like)
    assert f"--like {first} is damaged (dict.de.txt, spm.model: missing or changed)" in message
    (first / "prepared.json").unlink()
    message = fails("prepare_multi30k.sh", *like)
    assert f"--like {first} has no prepared.json: give a folder that prepare_multi30k.sh" in message
    assert [path.name for path in tmp_path.iterdir()] == ["first"]
