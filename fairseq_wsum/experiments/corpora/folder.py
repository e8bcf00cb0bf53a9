"""Make a folder of fairseq's binary data: complete or not at all, and never over another one."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..program import UserError, changes, few, import_fairseq, versions
from ..text_files import sha256

if TYPE_CHECKING:
    from fairseq.data import Dictionary

RECORD = "prepared.json"
PACKAGES = ("ve-fairseq", "fairseq-fixed", "fairseq", "torch", "sentencepiece", "sacremoses")
# fairseq's symbol, which a text may have: it is then a word to predict, as in the literature
UNKNOWN = "<unk>"


# A finished folder


def is_done(
    out: Path, settings: Mapping[str, object], sums: Callable[[], Mapping[str, str]] | None = None
) -> bool:
    """Whether `out` was already made with these `settings`, and from the same files.

    `sums` returns the SHA-256 of each file; None for a published corpus, whose files are known.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / RECORD).is_file():
        raise UserError(f"--out {out} has other files in it; give a new folder")
    record = read_record(out)
    if changed := changes({name: record.get(name) for name in settings}, settings):
        raise UserError(
            f"--out {out} was made with other options ({changed}); "
            "give a new folder, or remove the old one"
        )
    if sums is not None and (names := differing(record["sha256"], sums())):
        raise UserError(
            f"--out {out} was made from other files than those given now: {few(names)}; give a new "
            "folder, or remove the old one"
        )
    print(f"{out}: already done, with the same options")
    return True


def read_record(folder: Path) -> dict[str, Any]:
    """prepared.json of a prepared folder."""
    if not (folder / RECORD).is_file():
        raise UserError(f"{folder} has no {RECORD}: give a folder that scripts/prepare.sh has made")
    try:
        found: dict[str, Any] = json.loads((folder / RECORD).read_bytes())
        if "corpus" not in found:
            raise ValueError("it has no corpus")
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {folder / RECORD} ({error}); prepare the data again, in a new folder"
        ) from error
    return found


def read_translation_record(folder: Path) -> dict[str, Any]:
    """prepared.json of a folder with text for translation."""
    record = read_record(folder)
    if record["corpus"] not in ("multi30k", "translation"):
        raise UserError(
            f"{folder} has the corpus {record['corpus']}: give a folder of prepare.sh multi30k, or "
            "of prepare.sh translation for text of your own"
        )
    return record


def vocabulary(record: Mapping[str, Any]) -> list[str]:
    """The names of the files that decide how a text becomes numbers."""
    names = [f"dict.{record[side]}.txt" for side in ("source_lang", "target_lang")]
    return [*names, "spm.model"] if record["units"] == "bpe" else names


def vocabulary_sum(folder: Path, record: Mapping[str, Any]) -> str:
    return sha256(b"".join((folder / name).read_bytes() for name in vocabulary(record)))


def differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The names of the files that differ."""
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def write_record(folder: Path, record: Mapping[str, object]) -> None:
    """Write prepared.json, with the name and size of each file, and the versions of packages."""
    made = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD
    }
    record = {**record, "versions": versions(*PACKAGES), "made": made}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")


# An unfinished folder


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill. It becomes `out` if the block succeeds, and is removed otherwise."""
    out = out.resolve()
    if out.is_mount():  # which no folder can replace
        raise UserError(f"--out {out} is a mount point: give a folder in it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary, "new")  # with the permissions of other folders
        folder.mkdir()
        yield folder
        os.replace(folder, out)


# Its content


def make_dictionary(
    words: Mapping[str, int], *, threshold: int = 1, nwords: int | None = None, padding: int = 1
) -> Dictionary:
    """fairseq's dictionary of the words that occur at least `threshold` times.

    `nwords` limits the entries to the most frequent words. Made-up words fill them up to a multiple
    of `padding`, which is 8 in fairseq-preprocess.
    """
    import_fairseq()
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    for word, n in words.items():
        dictionary.add_symbol(word, n)
    dictionary.finalize(threshold=threshold, nwords=nwords or -1, padding_factor=padding)
    return dictionary


def load_dictionary(path: Path) -> Dictionary:
    import_fairseq()
    from fairseq.data import Dictionary

    return Dictionary.load(str(path))


def encode(prefix: Path, sentences: Iterable[list[str]], dictionary: Dictionary) -> Counter[str]:
    """Write PREFIX.bin and PREFIX.idx, fairseq's binary data, and return their counts.

    fairseq-preprocess writes the same bytes in six times the time, and starts once a folder.
    """
    import torch
    from fairseq.data.indexed_dataset import make_builder

    counts = Counter(sentences=0, tokens=0, unknown=0, unseen=0)
    index, unk = dictionary.indices, dictionary.unk()
    builder = make_builder(f"{prefix}.bin", "mmap", vocab_size=len(dictionary))
    for words in sentences:
        ids = [*(index.get(word, unk) for word in words), dictionary.eos()]
        builder.add_item(torch.IntTensor(ids))
        unknown = ids.count(unk)
        counts["sentences"] += 1
        counts["tokens"] += len(ids)
        counts["unknown"] += unknown
        counts["unseen"] += unknown - words.count(UNKNOWN)
    builder.finalize(f"{prefix}.idx")
    return counts
