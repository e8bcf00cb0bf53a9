"""Treebanks: what is read of CoNLL-U, what is wrong with it, and how it is prepared."""

import gzip
import json

import pytest

pytest.importorskip("fairseq")
from translation import dictionary_of
from treebanks import conllu, write_treebank

from fairseq_wsum.experiments.corpora import prepare
from fairseq_wsum.experiments.corpora.folder import load_dictionary
from fairseq_wsum.experiments.program import UserError
from fairseq_wsum.plugin.data.treebank import TreebankDataset, read_treebank

STRANGE = """\
# newdoc
# note = one
# note = another
# empty =
# text = I don't know

1\tI\tI\tPRON\tPRP\tCase=Nom\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\t_\t_\t4\taux\t_\t_
3\tn't\tnot\tPART\t_\t_\t4\tadvmod\t_\t_
3.1\tever\t_\t_\t_\t_\t_\t_\t4:advmod\t_
4\tknow\tknow\tVERB\t_\t_\t0\troot\t0:root\tA=two  spaces|SpaceAfter=No
"""


def test_comments_multiword_tokens_and_empty_nodes_are_kept(tmp_path) -> None:
    text = STRANGE.replace("\n\n", "\n") + "\n"
    of_windows = text.replace("\n", "\r\n").encode("utf-8-sig")
    (tmp_path / "a.conllu").write_bytes(of_windows)
    with gzip.open(tmp_path / "a.conllu.gz", "wt") as file:
        file.write(text.rstrip())  # without a last line end
    for name in ("a.conllu", "a.conllu.gz"):
        (sentence,) = read_treebank(tmp_path / name, with_trees=True)
        assert sentence.words == ["I", "do", "n't", "know"]
        assert sentence.heads == [4, 4, 4, 0]
        assert sentence.column("xpos") == ["PRP", "_", "_", "_"]
        assert sentence.serialize() == text


GOOD, FIRST = conllu("a X 0 root"), "sentence from line 1"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD + conllu("a X 2 x", "b X 1 x"), "sentence from line 3: 0 words have the head 0"),
        (conllu("a X 0 root", "b X 3 x", "c X 2 x"), f"{FIRST}: the heads of word 2 form a cycle"),
        (conllu("a X 0 root", "b X 0 root"), f"{FIRST}: 2 words have the head 0"),
        (conllu("a X 0 root", "b X 7 x"), f"{FIRST}: word 2 has the head 7"),
        (GOOD + conllu("a X _ _"), "sentence from line 3: word 1 has the head _"),
        ("\n" + GOOD.replace("\t0\t", "\tx\t"), "sentence from line 2: word 1 has the head x"),
        (GOOD.replace("1\t", "2\t", 1), f"{FIRST}: number its words 1, 2, 3"),
        ("# only a comment\n", f"{FIRST}: number its words 1, 2, 3"),
        (GOOD.replace("1\t", "0.1\t", 1), f"{FIRST}: number its words 1, 2, 3"),
        (GOOD + GOOD.replace("1", "2 ", 1), "sentence from line 3: number its words 1, 2, 3"),
        (GOOD + GOOD.replace("a", "", 1), "sentence from line 3: word 1 has no form"),
        (f"\n{GOOD.rstrip()}\na line of text\n", "line 3: a line has 10 columns"),
        (f"\n{GOOD.rstrip()}\n2\ttoo\tfew\n", "line 3: a line has 10 columns"),
        (GOOD + GOOD.replace("\n", "\t_\n", 1), "line 3: a line has 10 columns"),
        (GOOD + GOOD.replace("a", "\udcff", 1), "line 3: it is not UTF-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, problem, tmp_path) -> None:
    path = tmp_path / "x.conllu"
    path.write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(ValueError) as error:
        list(read_treebank(path, with_trees=True))
    assert str(error.value).startswith(f"{path}, {problem}")


def test_a_batch_has_the_words_the_bytes_and_the_trees(tmp_path) -> None:
    words, tags, relations = (  # numbers from 4 on
        dictionary_of(*text.split()) for text in ("éf ab", "NOUN VERB PUNCT", "root obj")
    )
    text = conllu("Ab NOUN 2 obj", "zz VERB 0 root") + conllu("éf PUNCT 0 root")
    (tmp_path / "b.conllu").write_text(text)
    sentences = [*read_treebank(tmp_path / "b.conllu", with_trees=True)]
    dataset = TreebankDataset(sentences, words, relations, (tags, "upos"))
    batch = dataset.collater([dataset[0], dataset[1]])
    bos, pad, unk, inputs = words.bos(), words.pad(), words.unk(), batch["net_input"]
    assert inputs["src_tokens"].tolist() == [[bos, 5, unk], [bos, 4, pad]]
    assert inputs["src_bytes"].tolist() == [
        [[0, 0, 0], [66, 99, 0], [123, 123, 0]],
        [[0, 0, 0], [0xC3 + 1, 0xA9 + 1, 103], [0, 0, 0]],
    ]
    assert inputs["src_tags"].tolist() == [[bos, 4, 5], [bos, 6, pad]]
    assert batch["heads"].tolist() == [[0, 2, 0], [0, 0, 0]]
    assert batch["relations"][:, 1:].tolist() == [[5, 4], [4, pad]]
    assert batch["ntokens"] == 3


def test_the_dictionaries_of_a_treebank(tmp_path) -> None:
    folder = write_treebank(tmp_path / "raw")
    (folder / "dev.conllu").write_text(conllu("new NOUN 0 root", "never NOUN 1 obj"))
    with (folder / "train.conllu").open("a") as file:
        file.write(conllu("once NOUN 0 root"))
    prepare.main(["treebank", "--data", str(folder), "--out", str(tmp_path / "default")])
    assert "once" not in load_dictionary(tmp_path / "default/dict.txt").symbols
    (tmp_path / "vectors").write_text("2 1\nnew 0.1\nother 0.2\n")
    given = ["treebank", "--data", folder, "--out", tmp_path / "data", "--threshold", 1]
    given += ["--vectors", tmp_path / "vectors"]
    prepare.main([*map(str, given)])
    dictionary = load_dictionary(tmp_path / "data/dict.txt")
    assert {*dictionary.symbols[4:]} == {"ab", "cd", "éf", "gh", "ij", "once", "new"}
    tags = load_dictionary(tmp_path / "data/dict.upos.txt")
    assert {*tags.symbols[4:]} == {"NOUN", "VERB", "PUNCT"}
    record = json.loads((tmp_path / "data/prepared.json").read_text())
    assert record["sentences"] == {"train": 25, "valid": 1, "test": 6}
    prepare.main([*map(str, given)])  # which is done
    (folder / "dev.conllu").write_text(conllu("new NOUN 0 root"))
    with pytest.raises(UserError, match="was made from other files"):
        prepare.main([*map(str, given)])
