"""WikiText-2, the version with words (Merity et al., 2016).

Run it with prepare_wikitext2.sh, which finds the Python environment.
"""

from __future__ import annotations

from common import run
from text_corpus import Corpus, TextFile, parse, prepare

FILES = {
    "train": TextFile(
        name="wiki.train.tokens",
        published="train.txt",
        tokens=2_088_628,
        sha256="9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
    ),
    "valid": TextFile(
        name="wiki.valid.tokens",
        published="valid.txt",
        tokens=217_646,
        sha256="f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
    ),
    "test": TextFile(
        name="wiki.test.tokens",
        published="test.txt",
        tokens=245_569,
        sha256="d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    ),
}

# The authors' address no longer works. The files of a commit never change.
URL = (
    "https://raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/"
    "word_language_model/data/wikitext-2"
)

DESCRIPTION = """\
Prepare WikiText-2, the version with words (Merity et al., 2016), for fairseq: 2,088,628 training,
217,646 validation and 245,569 test tokens. Every line ends with a token, and so do empty lines."""

EXAMPLES = """\
examples:
  # download, and train a language model on the data
  scripts/prepare_wikitext2.sh --out data-bin/wikitext2
  scripts/train.sh data-bin/wikitext2 --task wsum_language_modeling ...

  # from local files
  scripts/prepare_wikitext2.sh --data ~/corpora/wikitext-2 --out data-bin/wikitext2

files in OUT:
  train, valid, test and dict.txt   fairseq's data, for `scripts/train.sh OUT`
  prepared.json                     the options, counts, checksums and versions

The dictionary has 33,280 entries: the 33,278 words, which include fairseq's <unk> and </s> (the
line end), and fairseq's <s> and <pad>, which never occur.

WIKITEXT2_URL in the environment replaces the address of the folder that holds train.txt, valid.txt
and test.txt."""

WIKITEXT2 = Corpus(
    name="wikitext2",
    url=URL,
    files=FILES,
    description=DESCRIPTION,
    examples=EXAMPLES,
)


def main() -> None:
    prepare(WIKITEXT2, parse(WIKITEXT2))


if __name__ == "__main__":
    run(main)
