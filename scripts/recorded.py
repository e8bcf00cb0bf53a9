"""Check data, models and options before long work begins; print the languages and the units.

usage: recorded.py DATA SUBSET CHECKPOINT[:CHECKPOINT...] [any option of fairseq-generate]

Called by score.sh.
"""

import sys
from pathlib import Path

from sacrebleu.metrics import BLEU
from translating import check_options, direction

sys.path.append(str(Path(__file__).parents[1]))  # the package may not be installed
from fairseq_wsum.experiments.corpora import FORMS
from fairseq_wsum.experiments.files import UserError, run
from fairseq_wsum.experiments.folder import read_translation_record

# for scoring a translation
NEEDED = ("text", "units", "max_words", "own_corpus", "source_lang", "target_lang")


def main() -> None:
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    data, subset, checkpoints, options = Path(sys.argv[1]), *sys.argv[2:4], sys.argv[4:]
    record = read_translation_record(data, (*NEEDED, "post_process"))
    check_options(options, record["post_process"])
    source, target = direction(checkpoints.split(":"), record, options)
    check_references(data, subset, target)
    print(source, target, record["post_process"] or "")


def check_references(data: Path, subset: str, target: str) -> None:
    """Check that there is a reference, and that sacrebleu can tokenise it."""
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
