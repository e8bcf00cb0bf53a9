"""Shared by the Python halves of the scripts."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


class UserError(Exception):
    """Something that the user can put right; the message says how."""


def versions(*packages: str) -> dict[str, str]:
    """The versions of those `packages` that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
