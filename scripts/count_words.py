"""Words of a split that was cut into units by SentencePiece, ends of sentences counted.

Run by perplexity.sh, as fairseq-eval-lm knows the units of subword-nmt alone.
"""

import sys
from pathlib import Path

from fairseq.data import Dictionary, data_utils

START = "\u2581"  # a unit that starts a word starts with it


def main() -> None:
    folder, split = Path(sys.argv[1]), sys.argv[2]
    dictionary = Dictionary.load(str(folder / "dict.txt"))
    sentences = data_utils.load_indexed_dataset(str(folder / split), dictionary)
    starts = [symbol.startswith(START) for symbol in dictionary.symbols]
    if not any(starts):
        sys.exit(f"{folder} is not in units of SentencePiece: no word starts with {START}")
    starts[dictionary.eos()] = True
    print(sum(starts[unit] for k in range(len(sentences)) for unit in sentences[k].tolist()))


if __name__ == "__main__":
    main()
