"""Files of a corpus: found or fetched, and read."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
import zlib
from pathlib import Path

from common import UserError


def locate(name: str, folder: Path) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def cache_folder(given: Path | None, corpus: str) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return given or home / "fairseq_wsum" / corpus


def download(url: str, path: Path, cure: str) -> Path:
    """Fetch `url` into `path`, unless that is there already; `cure` says what else can be done."""
    if path.is_file():
        return path
    print(f"downloading {url}", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial.{os.getpid()}")
    try:
        with urllib.request.urlopen(url, timeout=60) as response, partial.open("wb") as file:
            shutil.copyfileobj(response, file)
            size, whole = file.tell(), response.headers["Content-Length"]
        if whole is not None and size != int(whole):  # a broken connection looks like the end
            raise OSError(f"it was cut off after {size:,} of {int(whole):,} bytes")
        os.replace(partial, path)
    except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
        raise UserError(f"cannot download {url} ({error}); {cure}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_text(path: Path) -> bytes:
    """The file without its gzip, which must be UTF-8; not decoded, so that it can be summed."""
    raw = uncompressed(path)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text: {error}") from error
    return raw


def uncompressed(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}; get that file again") from error


def wrong_file(path: Path, what: str, data: Path | None) -> UserError:
    """The error for a file that is not the published one; `data` is the option --data."""
    cure = f"Remove {path} and run this again" if data is None else "Get that file again"
    return UserError(
        f"{path} {what}. {cure}, or give --own-corpus if it is meant to be another corpus"
    )


def lines(raw: bytes) -> list[str]:
    # Not splitlines(): that also breaks a sentence at U+2028, U+0085 and the like.
    text = raw.decode("utf-8")
    return text.removesuffix("\n").split("\n") if text else []


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
