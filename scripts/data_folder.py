"""A folder of fairseq's binary data: made whole or not at all, and never made over another."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from common import UserError
from corpus_files import lines, locate, sha256, uncompressed


def record_of(out: Path, settings: Mapping[str, object]) -> dict | None:
    """prepared.json of a folder that was made with these `settings`; None where nothing is yet."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    made = out / "prepared.json"
    if not made.is_file():
        raise UserError(f"--out {out} has other files in it; give a new folder")
    old = json.loads(made.read_text())
    changed = changes(old, settings)
    if changed:
        raise UserError(
            f"--out {out} was made with other options ({changed}); "
            "give a new folder, or remove that one"
        )
    return old


def changes(old: Mapping[str, object], new: Mapping[str, object]) -> str:
    return "; ".join(
        f"{name} is {old.get(name)!r} there, {value!r} now"
        for name, value in new.items()
        if old.get(name) != value
    )


def is_done(out: Path, settings: Mapping[str, object], data: Path | None) -> bool:
    """Whether `out` was made already, from the files that `data` holds now."""
    record = record_of(out, settings)
    if record is None:
        return False
    for name, digest in record["sha256"].items():
        path = locate(name, data) if data else None
        if path and sha256(uncompressed(path)) != digest:
            raise UserError(
                f"--out {out} was made from another {name} than {path}; "
                "give a new folder, or remove that one"
            )
    return True


@contextmanager
def new_folder(out: Path, settings: Mapping[str, object]) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends well and vanishes otherwise.

    Where another run with these `settings` has made `out` meanwhile, that one stays.
    """
    partial = out.with_name(f".{out.name}.partial.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        yield partial
        try:
            os.replace(partial, out)
        except OSError:
            if record_of(out, settings) is None:
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_record(folder: Path, record: Mapping[str, object]) -> None:
    (folder / "prepared.json").write_text(json.dumps(record, indent=2) + "\n")


def preprocess(destdir: Path, prefs: list[str], options: list[str]) -> str:
    """Run fairseq-preprocess on the texts that `prefs` names; return what it printed."""
    command = [sys.executable, "-m", "fairseq_cli.preprocess", *prefs, *options]
    command += ["--destdir", str(destdir)]
    print(f"fairseq-preprocess {' '.join(Path(p).name for p in prefs[1::2])} ...", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise UserError(f"fairseq-preprocess failed:\n{done.stdout[-3000:]}")
    return done.stdout


def dictionary_size(path: Path) -> int:
    """Entries with fairseq's four special symbols."""
    return 4 + len(lines(path.read_bytes()))


def import_fairseq() -> None:
    """Without what it tells of packages that nobody needs here."""
    logging.disable(logging.INFO)
    try:
        importlib.import_module("fairseq")
    finally:
        logging.disable(logging.NOTSET)


def counts(prefix: Path) -> dict[str, int]:
    """What a split of the binary data holds; the end of each sentence is a token too."""
    import_fairseq()
    import numpy as np
    from fairseq.data import Dictionary, indexed_dataset

    index = indexed_dataset.MMapIndexedDataset.Index(f"{prefix}.idx")
    tokens = np.memmap(f"{prefix}.bin", dtype=index.dtype, mode="r")
    assert len(tokens) == index.sizes.sum(dtype=np.int64)
    unk, step = Dictionary().unk(), 1 << 24  # in steps, as comparing makes an array as long
    unknown = (np.count_nonzero(tokens[i : i + step] == unk) for i in range(0, len(tokens), step))
    return {"sentences": len(index), "tokens": len(tokens), "unknown": int(sum(unknown))}
