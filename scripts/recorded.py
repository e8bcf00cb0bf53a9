"""Check a data folder and its references before long work begins; print its languages and units.

usage: recorded.py DATA SUBSET

Called by score.sh.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from common import UserError, run
from data_folder import read_translation_record
from multi30k_files import FORMS
from sacrebleu.metrics import BLEU

# for scoring a translation
NEEDED = ("text", "units", "max_words", "own_corpus", "source_lang", "target_lang")


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    data, subset = Path(sys.argv[1]), sys.argv[2]
    record = read_translation_record(data, (*NEEDED, "post_process"))
    check_references(data, subset, record)
    print(record["source_lang"], record["target_lang"], record["post_process"] or "")


def check_references(data: Path, subset: str, record: Mapping[str, str]) -> None:
    """Check that there is a reference, and that sacrebleu can tokenise it."""
    target = record["target_lang"]
    if not any((data / "reference" / f"{subset}.{form}.{target}").is_file() for form in FORMS):
        raise UserError(
            f"{data}/reference has no {subset} split in {target}: prepare the data again, in a new "
            "folder"
        )
    try:
        BLEU(trg_lang=target)
    except (ImportError, RuntimeError) as error:  # such as a tokeniser for Japanese
        raise UserError(f"sacrebleu cannot tokenise {target}: {str(error).strip()}") from error


if __name__ == "__main__":
    run(main)
