"""Find or download the files of a corpus, and read them."""

from __future__ import annotations

import codecs
import errno
import gzip
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable
from pathlib import Path

from common import UserError, each_line, is_open_at, locked

# fairseq's own symbols: such a word would become padding or a sentence boundary and not be scored.
# (The word <unk> is predicted like any other.)
SYMBOLS = frozenset(("<pad>", "<s>", "</s>"))


def locate(name: str, folder: Path) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def cache_folder(given: Path | None, corpus: str, url: str) -> Path:
    """The folder for downloads; each address in the variable `url` has one of its own."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = given or home / "fairseq_wsum" / corpus
    address = os.environ.get(url, "").rstrip("/")
    return folder / sha256(address.encode())[:12] if address else folder


def download(url: str, path: Path, cure: str) -> Path:
    """Download `url` to `path` unless that exists; `cure` ends the message if it fails."""
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make {path.parent} ({error.strerror}); give another folder with --cache"
        ) from error
    partial = path.with_name(f".{path.name}.partial")
    try:
        with locked(partial, f"another run is downloading {path}; wait until it ends") as file:
            try:
                print(f"downloading {url}", flush=True)
                file.seek(0)
                file.truncate()  # a killed run may have left a part
                with urllib.request.urlopen(url, timeout=60) as response:
                    shutil.copyfileobj(response, file)
                    size, whole = file.tell(), response.headers["Content-Length"]
                # a broken connection looks like the end
                if whole is not None and size != int(whole):
                    raise OSError(f"the connection ended after {size:,} of {int(whole):,} bytes")
                file.flush()
                os.replace(partial, path)
            # no address, no answer
            except (OSError, ValueError, http.client.HTTPException) as error:
                if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise UserError(f"cannot download {url} ({error}); {cure}") from error
            finally:
                if is_open_at(file, partial):
                    partial.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to {path.parent} ({error.strerror}); give another folder with --cache"
        ) from error
    return path


def read_text(path: Path) -> bytes:
    """The bytes of a file, which must be UTF-8 text; they are not decoded, so they can be hashed.

    A byte-order mark is removed, as it would become part of the first word.
    """
    raw = uncompressed(path).removeprefix(codecs.BOM_UTF8)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}") from error
    return raw


def check_symbols(file: object, text: Iterable[str]) -> None:
    """Raise an error if the lines `text` of `file` contain one of SYMBOLS."""
    for number, line in enumerate(text, start=1):
        check_line(file, number, line.split())


def check_line(file: object, number: int, words: Iterable[str]) -> None:
    for word in words:
        if word in SYMBOLS:
            raise UserError(
                f"{file}, line {number}: {word} is a symbol of fairseq and would be read as "
                "padding or a sentence boundary; replace it in the text, for example by <unk>"
            )


def uncompressed(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}; get the file again") from error


def wrong_file(path: Path, what: str, data: Path | None) -> UserError:
    """The error for a file that differs from the published one; `data` is the option --data."""
    cure = f"Remove {path} and run this again" if data is None else "Get the file again"
    return UserError(f"{path} {what}. {cure}, or give --own-corpus if another corpus is intended")


def lines(raw: bytes) -> list[str]:
    return list(each_line(raw))


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
