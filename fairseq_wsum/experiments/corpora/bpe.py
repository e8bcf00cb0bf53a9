"""BPE with sentencepiece: learning a model, cutting sentences into its units, its dictionary."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..program import UserError

# The model makes every kind of space a plain one, as the preparation does, so that other programs
# read new text alike. Nothing else is normalised: undoing the BPE restores the text exactly.
OTHER_SPACES = [chr(k) for k in range(0x3001) if chr(k).isspace() and chr(k) != " "]


def learn(model: Path, text: Iterable[str], size: int, character_coverage: float) -> None:
    """Learn `size` units from the sentences of all languages, and write the model to a file.

    Raises:
        UserError: the text has too few or too many characters for the size.
    """
    import sentencepiece

    buffer = io.BytesIO()
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
            rules.writelines(f"{ord(space):X}\t20\n" for space in OTHER_SPACES)
            rules.flush()
            # the same path; its length may not differ either
            name = rules.name.encode().rjust(300, b"/")
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(text),
                model_writer=buffer,
                model_type="bpe",
                vocab_size=size,
                character_coverage=character_coverage,
                max_sentence_length=2**30,  # bytes; sentencepiece leaves out longer lines
                normalization_rule_tsv=name.decode(),
                minloglevel=2,
            )
    except RuntimeError as error:
        reason = str(error).splitlines()[-1]
        if needed := re.search(r"smaller than required_chars\. \d+ vs (\d+)", reason):
            reason = (
                f"its characters alone need {needed[1]}; give at least --bpe-size {needed[1]}, or "
                "a --character-coverage such as 0.9995, so that the rarest become <unk>"
            )
        given = f"--bpe-size {size} --character-coverage {character_coverage}"
        raise UserError(f"{given} does not suit this text: {reason}") from error
    # the model has the name of the file, by which equal models would differ
    model.write_bytes(buffer.getvalue().replace(name, b"_" * len(name)))


def load(model: Path) -> Any:
    """The processor of a model."""
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(model))


def segmented(model: Any, text: Iterable[str]) -> Iterator[str]:
    """The sentences cut into units."""
    return (" ".join(model.encode(line, out_type=str)) for line in text)


def pieces(model: Any) -> list[str]:
    """The units of a model."""
    ids = range(model.get_piece_size())
    return [model.id_to_piece(i) for i in ids if not (model.is_unknown(i) or model.is_control(i))]
