"""Count the tokens of a split, and its words and sentence ends.

Called by perplexity.sh, as fairseq-eval-lm supports the subwords of subword-nmt only. Prints both
numbers; the second is 0 if no token is a subword of SentencePiece.
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
    starts[dictionary.eos()] = any(starts)
    tokens = words = 0
    for k in range(len(sentences)):
        units = sentences[k].tolist()
        tokens += len(units)
        words += sum(starts[unit] for unit in units)
    print(tokens, words)


if __name__ == "__main__":
    main()
