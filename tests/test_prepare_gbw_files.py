"""scripts/gbw_files.py: what it reads from damaged archives, and from a file."""

import argparse
import gzip
import hashlib
import random
import tarfile

import pytest
from text_corpora import made_up

ROOT = "1-billion-word-language-modeling-benchmark-r13output"
TRAINING = f"{ROOT}/training-monolingual.tokenized.shuffled"
HELD_OUT = f"{ROOT}/heldout-monolingual.tokenized.shuffled"
FILES = [f"{TRAINING}/news.en-0000{i}-of-00003" for i in (1, 2)]
FILES += [f"{HELD_OUT}/news.en.heldout-0000{i}-of-00002" for i in (0, 1)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    with tarfile.open(folder / "corpus.tar.gz", "w:gz") as tar:
        for seed, name in enumerate(FILES):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(made_up(12, seed))
            tar.add(path, name)
    return folder / "corpus.tar.gz"


@pytest.fixture
def read(load, tmp_path):
    """What prepare_gbw.sh reads from an archive; None if it is rejected."""
    files, error = load("gbw_files"), load("common").UserError

    def read(raw):
        path = tmp_path / "damaged.tar.gz"
        path.write_bytes(raw)
        try:
            return files.find(argparse.Namespace(data=path, own_corpus=True), read=True).sha256
        except error as refused:
            assert str(path) in str(refused)
            return None

    return read


def test_a_flipped_bit_anywhere_is_rejected_or_harmless(archive, read):
    raw = archive.read_bytes()
    whole, draw = read(raw), random.Random(0)
    refused = 0
    header, trailer = range(8 * 32), range(8 * len(raw) - 64, 8 * len(raw))
    for bit in [*header, *draw.sample(range(8 * len(raw)), 600), *trailer]:
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        found = read(bytes(damaged))
        assert found in (None, whole), bit
        refused += found is None
    assert refused > 600  # harmless: the name and the time in gzip's header


def test_a_truncated_archive_is_rejected(archive, read):
    raw = archive.read_bytes()
    for size in [*range(0, len(raw), 13), *range(len(raw) - 20, len(raw))]:
        assert read(raw[:size]) is None, size


def test_data_after_the_end_of_the_archive_is_checked(archive, read):
    # tar pads its last block, so the checksum may come long after the last file.
    filled = gzip.decompress(archive.read_bytes()) + bytes(1 << 20)
    raw = bytearray(gzip.compress(filled))
    assert read(bytes(raw)) == read(archive.read_bytes())
    raw[-6] ^= 1
    assert read(bytes(raw)) is None


def test_a_byte_order_mark_is_removed_from_gbw(load, tmp_path):
    bom = "\ufeff".encode()
    for raw, lines in (
        (b"", []),
        (bom, [b""]),
        (bom + b"\n", [b"\n"]),
        (bom + b"a\n" + bom + b"b", [b"a\n", bom + b"b"]),
    ):
        file = load("gbw_files").File("name", len(raw), raw.splitlines(keepends=True), tmp_path)
        assert list(file) == lines
        assert file.sha256() == hashlib.sha256(raw.removeprefix(bom)).hexdigest()
