"""Check the record of a data folder before long work begins; print its languages and units.

usage: recorded.py DATA

Called by score.sh.
"""

import sys
from pathlib import Path

from common import run
from data_folder import read_record

# for scoring a translation
NEEDED = ("text", "units", "max_words", "own_corpus", "source_lang", "target_lang")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    record = read_record(Path(sys.argv[1]), (*NEEDED, "post_process"))
    print(record["source_lang"], record["target_lang"], record["post_process"] or "")


if __name__ == "__main__":
    run(main)
