"""scripts/prepare_wikitext2.sh; what it shares with prepare_ptb.sh is in test_prepare_ptb.py."""

import json

import pytest

pytest.importorskip("fairseq")
from shell import fails, names_in, succeeds
from text_corpora import UNK, decoded

TRAIN = f" \n = Robert {UNK} = \n \n He was @-@ a \u00e9 <eos> . \n He . \n = = Life = = \n"


@pytest.fixture
def site(tmp_path):
    """The corpus at its address: empty lines are blanks, and headings stand between signs."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name, text in (("train", TRAIN), ("valid", " \n He was Ann . \n"), ("test", " He . \n \n")):
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_every_line_ends_with_a_token_and_so_do_empty_lines(site, tmp_path):
    cache, out = tmp_path / "cache", tmp_path / "out"
    options = ["--own-corpus", "--cache", cache, "--out", out]
    log = succeeds("prepare_wikitext2.sh", *options, WIKITEXT2_URL=site.as_uri())
    assert names_in(cache) == [f"wiki.{split}.tokens" for split in ("test", "train", "valid")]
    assert decoded(out) == [[*line.split(), "</s>"] for line in TRAIN.splitlines()]
    assert decoded(out, "valid") == [["</s>"], ["He", "was", UNK, ".", "</s>"]]
    record = json.loads((out / "prepared.json").read_text())
    assert record["tokens"] == {"train": 24, "valid": 6, "test": 4}
    assert record["corpus"] == "wikitext2" and "valid 1, test 0" in log


def test_other_text_is_refused_and_a_missing_file_is_named(site, tmp_path):
    options = ["--data", tmp_path, "--out", tmp_path / "out"]
    message = fails("prepare_wikitext2.sh", *options)
    assert f"--data {tmp_path} has neither wiki.train.tokens nor wiki.train.tokens.gz" in message
    for path in site.iterdir():
        path.rename(tmp_path / f"wiki.{path.stem}.tokens")
    message = fails("prepare_wikitext2.sh", *options)
    assert "is not the published wiki.train.tokens: its SHA-256 differs" in message
