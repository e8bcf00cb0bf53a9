"""Count the words and sentence ends of a split that SentencePiece cut into subwords.

Called by perplexity.sh, as fairseq-eval-lm supports the subwords of subword-nmt only.
"""

import sys
from pathlib import Path

from fairseq.data import Dictionary, data_utils

START = "\u2581"  # the first character of each subword that begins a word


def main() -> None:
    folder, split = Path(sys.argv[1]), sys.argv[2]
    dictionary = Dictionary.load(str(folder / "dict.txt"))
    sentences = data_utils.load_indexed_dataset(str(folder / split), dictionary)
    starts = [symbol.startswith(START) for symbol in dictionary.symbols]
    if not any(starts):
        sys.exit(
            f"{folder} has no SentencePiece subwords, as no word starts with {START}: omit "
            "--post-process sentencepiece"
        )
    starts[dictionary.eos()] = True
    print(sum(starts[unit] for k in range(len(sentences)) for unit in sentences[k].tolist()))


if __name__ == "__main__":
    main()
