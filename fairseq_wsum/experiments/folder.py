"""Make a folder of fairseq's binary data: complete or not at all, and never over another one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .files import UserError, few, is_open_at, lines_of, locked, sha256

RECORD = "prepared.json"
BEGUN = "begun.json"  # in an unfinished folder: what the next run needs to continue
LOCK = "fairseq_wsum.lock"  # marks an unfinished folder as ours
NO_DATA = (RECORD, BEGUN, LOCK, "preprocess.log")
# options that older folders lack, with their value there
ADDED = {"character_coverage": 1.0, "threshold": 1, "shards": None}
# what older folders of one's own text have as their corpus
OWN = {"multi30k": "translation", "ptb": "text", "wikitext2": "text", "gbw": "text"}


# A finished folder


def is_done(
    out: Path, settings: Mapping[str, object], sums: Callable[[], Mapping[str, str]] | None
) -> bool:
    """Whether `out` was already made with these `settings`, and from the same files.

    `sums` returns the SHA-256 of each file; None for a published corpus, whose files are known.
    """
    record = record_of(out.resolve(), settings)
    if record is None:
        return False
    if sums is not None and (names := differing(record["sha256"], sums())):
        raise UserError(
            f"--out {out} was made from other files than --data has now: {few(names)}; give a new "
            "folder, or remove the old one"
        )
    print(f"{out}: already done, with the same options")
    return True


def record_of(out: Path, settings: Mapping[str, object]) -> dict[str, Any] | None:
    """prepared.json of a folder made with these `settings`; None if `out` is missing or empty."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / RECORD).is_file():
        raise UserError(f"--out {out} has other files in it; give a new folder")
    record = read_record(out, ("corpus", "script", "made", "sha256"))
    if record["corpus"] != settings["corpus"]:
        raise UserError(
            f"--out {out} holds another corpus ({record['corpus']}, made by {record['script']}); "
            "give a new folder"
        )
    # older folders may have been made by a script of another name
    if changed := changes(record, {**settings, "script": record["script"]}):
        raise UserError(
            f"--out {out} was made with other options ({changed}); "
            "give a new folder, or remove the old one"
        )
    check_made(out, record["made"])
    return record


def read_record(folder: Path, keys: Iterable[str] = ()) -> dict[str, Any]:
    """prepared.json of a prepared folder; it is an error if one of `keys` is missing."""
    record = read_json(folder / RECORD, keys, "prepare the data again, in a new folder")
    if record.get("own_corpus"):
        record["corpus"] = OWN.get(record["corpus"], record["corpus"])
    return record


def read_translation_record(folder: Path, keys: Iterable[str]) -> dict[str, Any]:
    """prepared.json of a folder with text for translation."""
    record = read_record(folder, ("corpus", "script"))
    if record["corpus"] not in ("multi30k", "translation"):
        raise UserError(
            f"{folder} was made by {record['script']}: give a folder of prepare_multi30k.sh, or of "
            "prepare_translation.sh for text of your own"
        )
    return read_record(folder, keys)


def read_like(folder: Path) -> dict[str, Any]:
    """prepared.json of the folder in --like, with its vocabulary intact."""
    if not (folder / RECORD).is_file():
        raise UserError(
            f"--like {folder} has no {RECORD}: give a folder that prepare_multi30k.sh or "
            "prepare_translation.sh has made"
        )
    keys = ("text", "units", "source_lang", "target_lang", "made")
    record = read_translation_record(folder, keys)
    sizes = {name: size_of(folder / name) for name in vocabulary(record)}
    if wrong := [name for name, n in sizes.items() if n is None or n != record["made"].get(name)]:
        raise UserError(
            f"--like {folder} is damaged ({few(wrong)}: missing or changed); "
            "copy the folder again, or give another one"
        )
    return {**ADDED, **record}


def vocabulary(record: Mapping[str, Any]) -> list[str]:
    """The names of the files that decide how a text becomes numbers."""
    names = [f"dict.{record[side]}.txt" for side in ("source_lang", "target_lang")]
    return [*names, "spm.model"] if record["units"] == "bpe" else names


def vocabulary_sum(folder: Path, record: Mapping[str, Any]) -> str:
    return sha256(b"".join((folder / name).read_bytes() for name in vocabulary(record)))


def read_json(path: Path, keys: Iterable[str], cure: str) -> dict[str, Any]:
    """The JSON object in a file, which must have these `keys`."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}); {cure}") from error
    if lacking := [key for key in keys if key not in found]:
        raise UserError(f"{path} is damaged, or of another version: it lacks {lacking}; {cure}")
    return found


def changes(old: Mapping[str, object], new: Mapping[str, object]) -> str:
    old = {**ADDED, **old}
    return "; ".join(
        f"{name} is {old.get(name)!r} there, {value!r} now"
        for name, value in new.items()
        if old.get(name) != value
    )


def differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The names of the files that differ."""
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def check_made(out: Path, made: Mapping[str, int]) -> None:
    found = {name: size_of(out / name) for name in made}
    wrong = [
        f"{name} is missing" if size is None else f"{name} has {size} bytes, not {made[name]}"
        for name, size in found.items()
        if size != made[name]
    ]
    if wrong:
        raise UserError(
            f"--out {out} is damaged ({few(wrong)}); "
            "remove the folder and run this again, or give a new one"
        )


def size_of(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def write_record(folder: Path, record: Mapping[str, object]) -> None:
    """Write prepared.json, with the name and size of each file in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    made = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in files
        if path.name not in NO_DATA
    }
    (folder / RECORD).write_text(json.dumps({**record, "made": made}, indent=2) + "\n")


# An unfinished folder


@contextmanager
def new_folder(out: Path, settings: Mapping[str, object]) -> Iterator[Path]:
    """A folder to fill. It becomes `out` if the block succeeds and is removed otherwise."""
    with only_run(out.resolve()) as partial:
        if (partial / BEGUN).is_file():
            raise UserError(
                f"{partial} holds an unfinished run of another script, which can continue it; "
                "remove the folder, or give another --out"
            )
        yield partial
        finish(partial, out.resolve(), settings)


@contextmanager
def only_run(out: Path) -> Iterator[Path]:
    """The folder .NAME.partial beside `out`, locked against other runs.

    It is empty unless an interrupted run left BEGUN in it. It is removed at the end unless it then
    has BEGUN or has become `out`.
    """
    folder = out.with_name(f".{out.name}.partial")
    lock = folder / LOCK
    if os.path.lexists(folder) and not is_ours(folder):
        raise UserError(
            f"{folder} is needed for unfinished data but was not made by this script; "
            "move it away, or give another --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder} ({error.strerror}); give another --out") from error
    with locked(lock, f"another run is writing to {folder}; wait until it ends") as file:
        try:
            if not (folder / BEGUN).is_file():
                clear(folder)
            yield folder
        finally:
            if is_open_at(file, lock) and not (folder / BEGUN).is_file():
                with suppress(OSError):  # an error of the block matters more
                    clear(folder)
                    lock.unlink()  # last, as the lock marks the folder as ours
                    folder.rmdir()


def begin(folder: Path, settings: Mapping[str, object]) -> None:
    """Keep an unfinished folder for later runs; an earlier run must have had these `settings`."""
    note = folder / BEGUN
    if not note.is_file():
        partial = note.with_name(f"{note.name}.partial")
        partial.write_text(json.dumps(settings))
        os.replace(partial, note)
        return
    begun = read_json(note, (), f"remove {folder} and run this again")
    if changed := changes(begun, settings):
        raise UserError(
            f"{folder} was begun with other options ({changed}); "
            "give the same options to continue, or remove the folder"
        )
    print(f"continuing the unfinished run in {folder}")


def is_ours(folder: Path) -> bool:
    """Whether the folder is ours, or empty."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return (folder / LOCK).is_file() or not any(folder.iterdir())


def clear(folder: Path) -> None:
    """Remove all but the lock."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def finish(partial: Path, out: Path, settings: Mapping[str, object]) -> None:
    """Rename the folder to `out`, unless another run with these `settings` has made that."""
    try:
        os.replace(partial, out)
    except OSError:
        if record_of(out, settings) is None:
            raise
        (partial / BEGUN).unlink(missing_ok=True)
    else:
        for name in (BEGUN, LOCK):
            (out / name).unlink(missing_ok=True)


# Its content


def preprocess(folder: Path, destdir: str, prefs: Mapping[str, str], options: list[str]) -> str:
    """Run fairseq-preprocess on the text PREF of each split; return its output.

    All paths are relative to `folder`, as fairseq-preprocess splits paths at commas.
    """
    # -P: import no Python module from the folder.
    command = [sys.executable, "-P", "-m", "fairseq_cli.preprocess", *options]
    command += [f"--destdir={destdir}", *(f"--{split}pref={pref}" for split, pref in prefs.items())]
    print(f"fairseq-preprocess {' '.join(Path(p).name for p in prefs.values())} ...", flush=True)
    done = subprocess.run(
        command,
        cwd=folder,
        close_fds=False,  # so that it holds the lock as well
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise UserError(f"fairseq-preprocess failed:\n{done.stdout[-3000:]}")
    return done.stdout


def dictionary_size(path: Path) -> int:
    """Number of entries, including fairseq's four special symbols."""
    return 4 + len(lines_of(path))
