"""Multi30k task 1, English to German, from the published files to fairseq's binary data.

Run it through prepare_multi30k.sh, which finds the Python environment.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LANGUAGES = ("en", "de")
FORMS = ("lc.norm.tok", "raw")
SPLITS = {"train": "train", "valid": "val", "test": "test_2016_flickr"}  # ours: published
SENTENCES = {"train": 29000, "valid": 1014, "test": 1000}
URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1"

# SHA-256 of each text, uncompressed.
SHA256 = {
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
}

HELP = """\
Prepare Multi30k (WMT16 multimodal, English to German, text only) for fairseq:
29,000 training, 1,014 validation and 1,000 test sentences (test_2016_flickr)."""

EXAMPLES = """\
examples:
  # download (3 MB), joint BPE of 8,000 units on the lower-cased, tokenised text
  scripts/prepare_multi30k.sh --out data-bin/multi30k-bpe

  # words, training sentences of at most 50, from files that are here already
  scripts/prepare_multi30k.sh --data ~/corpora/multi30k --units words --max-words 50 \\
      --out data-bin/multi30k-words

what OUT holds then:
  train, valid, test and dict files   fairseq's data: `fairseq-train OUT` reads them
  text/SPLIT.LANG                     the same as text, cut into units
  reference/SPLIT.FORM.LANG           the untouched text to score against
  spm.model                           the BPE model, with --units bpe
  prepared.json                       what was done with what; scripts/score.sh reads it

MULTI30K_URL in the environment replaces the address of the files
(the folder that holds raw/ and tok/)."""


class UserError(Exception):
    """Something that the user can put right; the message says how."""


def main() -> None:
    args = parse()
    try:
        prepare(args)
    except UserError as error:
        sys.exit(f"error: {error}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="prepare_multi30k.sh",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    add("--data", type=Path, metavar="FOLDER", help="read train.en.gz and so on from here")
    add(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="without --data: keep downloaded files here (default ~/.cache/fairseq_wsum/multi30k)",
    )
    add(
        "--text",
        choices=FORMS,
        default="lc.norm.tok",
        help="lc.norm.tok: lower-cased, normalised, tokenised, as the literature scores it "
        "(default); raw: cased, as published",
    )
    add(
        "--units",
        choices=("bpe", "words"),
        default="bpe",
        help="bpe: one SentencePiece BPE model and dictionary for both languages (default); "
        "words: a dictionary for each language; raw text is cut by sacremoses first",
    )
    add("--bpe-size", type=positive, default=8000, metavar="N", help="BPE units (default 8000)")
    add(
        "--nwords",
        type=positive,
        default=50000,
        metavar="N",
        help="with --units words: at most so many words a language (default 50000)",
    )
    add(
        "--max-words",
        type=positive,
        metavar="N",
        help="leave out training pairs with more than N units (BPE units or words) on either side",
    )
    add("--workers", type=positive, default=1, metavar="N", help="processes (default 1)")
    add(
        "--own-corpus",
        action="store_true",
        help="the files hold another English-German corpus: check only that both sides have "
        "the same number of lines",
    )
    return parser.parse_args()


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def prepare(args: argparse.Namespace) -> None:
    settings = {
        "text": args.text,
        "units": args.units,
        "max_words": args.max_words,
        "own_corpus": args.own_corpus,
        **({"bpe_size": args.bpe_size} if args.units == "bpe" else {"nwords": args.nwords}),
    }
    out = args.out.absolute()
    if is_done(out, settings, args.data):
        print(f"{args.out}: done already, with the same options")
        return

    texts = read_corpus(args)
    partial = out.with_name(f".{out.name}.partial.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        counts = write_text(partial, texts, args)
        binarise(partial, args)
        record = {
            **settings,
            "source_lang": "en",
            "target_lang": "de",
            "post_process": "sentencepiece" if args.units == "bpe" else None,
            "sentences": counts,
            "dictionary": {lang: dictionary_size(partial, lang) for lang in LANGUAGES},
            "sha256": {name: sha256(raw) for name, raw in sorted(texts.items())},
            "versions": versions("fairseq", "fairseq-fixed", "sentencepiece", "sacremoses"),
        }
        (partial / "prepared.json").write_text(json.dumps(record, indent=2) + "\n")
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sizes = ", ".join(f"{split} {n:,}" for split, n in counts.items())
    words = ", ".join(f"{lang} {n:,}" for lang, n in record["dictionary"].items())
    print(f"{args.out}: sentences: {sizes}; dictionary: {words}")


def is_done(out: Path, settings: dict[str, object], data: Path | None) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    made = out / "prepared.json"
    if not made.is_file():
        raise UserError(f"--out {out} has other files in it; give a new folder")
    old = json.loads(made.read_text())
    changed = [
        f"{name} is {old.get(name)!r} there, {new!r} now"
        for name, new in settings.items()
        if old.get(name) != new
    ]
    if changed:
        raise UserError(
            f"--out {out} was made with other options ({'; '.join(changed)}); "
            "give a new folder, or remove that one"
        )
    for name, digest in old["sha256"].items():
        path = locate(name, data) if data else None
        if path and sha256(uncompressed(path)) != digest:
            raise UserError(
                f"--out {out} was made from another {name} than {path}; "
                "give a new folder, or remove that one"
            )
    return True


# Reading


def read_corpus(args: argparse.Namespace) -> dict[str, bytes]:
    """The files needed, by published name: all of --text, and what else there is to score."""
    other = FORMS[1 - FORMS.index(args.text)]
    texts: dict[str, bytes] = {}
    for split, published in SPLITS.items():
        for form in (args.text, other):
            if form == other and split == "train":
                continue
            pair = {}
            for lang in LANGUAGES:
                name = f"{published}.{lang}" if form == "raw" else f"{published}.{form}.{lang}"
                path = find(name, form, args, required=form == args.text)
                if path is not None:
                    pair[name] = read(name, path, split, args)
            check_same_lines(pair)
            texts.update(pair)
    return texts


def find(name: str, form: str, args: argparse.Namespace, required: bool) -> Path | None:
    if args.data is None:
        return download(name, form, args)
    path = locate(name, args.data)
    if path is None and required:
        raise UserError(
            f"--data {args.data} has neither {name} nor {name}.gz, which --text {args.text} "
            "needs; add it, or leave --data out to download the corpus"
        )
    if path is None:
        print(f"{args.data} has no {name}: scripts/score.sh will leave out that way of scoring")
    return path


def locate(name: str, folder: Path) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def download(name: str, form: str, args: argparse.Namespace) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = args.cache or home / "fairseq_wsum" / "multi30k"
    published = f"raw/{name}.gz" if form == "raw" else f"tok/{name}"
    path = cache / Path(published).name
    if path.is_file():
        return path
    url = f"{os.environ.get('MULTI30K_URL', URL).rstrip('/')}/{published}"
    print(f"downloading {url}")
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial.{os.getpid()}")
    try:
        with urllib.request.urlopen(url, timeout=60) as response, partial.open("wb") as file:
            shutil.copyfileobj(response, file)
        os.replace(partial, path)
    except (OSError, urllib.error.URLError) as error:
        raise UserError(
            f"cannot download {url} ({error}); fetch the files of {URL} some other way "
            "and name their folder with --data"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def read(name: str, path: Path, split: str, args: argparse.Namespace) -> bytes:
    try:
        raw = uncompressed(path)
        raw.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}; replace it by the published file") from error
    if args.own_corpus:
        return raw
    cure = f"Remove {path} and run this again" if args.data is None else "Get that file again"
    cure += ", or give --own-corpus if it is meant to be another corpus"
    if len(lines(raw)) != SENTENCES[split]:
        raise UserError(
            f"{path} has {len(lines(raw))} lines, not {SENTENCES[split]} as Multi30k's {name}. "
            f"{cure}"
        )
    if sha256(raw) != SHA256[name]:
        raise UserError(f"{path} is not Multi30k's {name}: its SHA-256 differs. {cure}")
    return raw


def uncompressed(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw


def check_same_lines(pair: dict[str, bytes]) -> None:
    sizes = {name: len(lines(raw)) for name, raw in pair.items()}
    if len(set(sizes.values())) > 1:
        counted = ", ".join(f"{name} has {n} lines" for name, n in sizes.items())
        raise UserError(f"the two sides do not match: {counted}; line n must translate line n")
    if 0 in sizes.values():
        raise UserError(f"{' and '.join(sizes)} are empty")


def lines(raw: bytes) -> list[str]:
    # Not splitlines(): that also breaks a sentence at U+2028, U+0085 and the like.
    text = raw.decode("utf-8")
    return text.removesuffix("\n").split("\n") if text else []


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


# Cutting into units


def write_text(folder: Path, texts: dict[str, bytes], args: argparse.Namespace) -> dict[str, int]:
    """Write text/ and reference/, and spm.model and its dictionary for BPE. Return line counts."""
    (folder / "text").mkdir()
    (folder / "reference").mkdir()
    infix = "" if args.text == "raw" else f".{args.text}"
    # One kind of blank everywhere: fairseq cuts at any, the no-break space in raw text too.
    corpus = {
        (split, lang): [
            " ".join(line.split()) for line in lines(texts[f"{published}{infix}.{lang}"])
        ]
        for split, published in SPLITS.items()
        for lang in LANGUAGES
    }
    if args.units == "bpe":
        cut = bpe(folder / "spm.model", corpus["train", "en"] + corpus["train", "de"], args)
        units = {key: [cut(line) for line in text] for key, text in corpus.items()}
    elif args.text == "raw":
        units = {key: moses(text, lang=key[1]) for key, text in corpus.items()}
    else:
        units = corpus

    counts = {}
    for split, published in SPLITS.items():
        pairs = list(zip(units[split, "en"], units[split, "de"], strict=True))
        if split == "train" and args.max_words is not None:
            pairs = [p for p in pairs if max(len(side.split()) for side in p) <= args.max_words]
            if not pairs:
                raise UserError(f"--max-words {args.max_words} leaves no training pair")
        counts[split] = len(pairs)
        for lang, side in zip(LANGUAGES, zip(*pairs, strict=True), strict=True):
            write_lines(folder / "text" / f"{split}.{lang}", side)
        for form in FORMS if split != "train" else ():
            for lang in LANGUAGES:
                name = f"{published}.{lang}" if form == "raw" else f"{published}.{form}.{lang}"
                if name in texts:
                    (folder / "reference" / f"{split}.{form}.{lang}").write_bytes(texts[name])
    if args.units == "bpe":
        write_bpe_dictionary(folder)
    return counts


def write_lines(path: Path, text: Iterable[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in text).encode())


def bpe(model: Path, text: list[str], args: argparse.Namespace) -> Callable[[str], str]:
    """Train the joint BPE model; return what cuts a sentence into pieces."""
    import sentencepiece

    print(f"learning {args.bpe_size} BPE units on {len(text):,} sentences")
    buffer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text),
            model_writer=buffer,
            model_type="bpe",
            vocab_size=args.bpe_size,
            character_coverage=1.0,
            # The text as it is, so that undoing the BPE gives back exactly what was cut.
            normalization_rule_name="identity",
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).splitlines()[-1]
        raise UserError(f"--bpe-size {args.bpe_size} does not suit this text: {reason}") from error
    model.write_bytes(buffer.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=buffer.getvalue())
    return lambda line: " ".join(processor.encode(line, out_type=str))


def write_bpe_dictionary(folder: Path) -> None:
    """All pieces of the model, most frequent first, as fairseq's dictionary text/dict.txt."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    ids = range(model.get_piece_size())
    pieces = [model.id_to_piece(i) for i in ids if not (model.is_unknown(i) or model.is_control(i))]
    seen = Counter(
        piece
        for lang in LANGUAGES
        for piece in (folder / "text" / f"train.{lang}").read_text("utf-8").split()
    )
    pieces.sort(key=lambda piece: (-seen[piece], piece))
    entries = [f"{piece} {seen[piece]}" for piece in pieces]
    # With fairseq's four specials a multiple of 8, as fairseq does itself: GPUs like it.
    entries += [f"madeupword{i:04d} 0" for i in range(-(len(entries) + 4) % 8)]
    write_lines(folder / "text" / "dict.txt", entries)


def moses(text: list[str], lang: str) -> list[str]:
    from sacremoses import MosesTokenizer

    tokenizer = MosesTokenizer(lang=lang)
    return [
        " ".join(tokenizer.tokenize(line, escape=False, return_str=True).split()) for line in text
    ]


def binarise(folder: Path, args: argparse.Namespace) -> None:
    text = folder / "text"
    command = [sys.executable, "-m", "fairseq_cli.preprocess"]
    command += ["--source-lang", "en", "--target-lang", "de"]
    for split, option in (
        ("train", "--trainpref"),
        ("valid", "--validpref"),
        ("test", "--testpref"),
    ):
        command += [option, str(text / split)]
    command += ["--destdir", str(folder), "--workers", str(args.workers)]
    if args.units == "bpe":
        command += ["--joined-dictionary", "--srcdict", str(text / "dict.txt")]
    else:
        command += ["--nwordssrc", str(args.nwords), "--nwordstgt", str(args.nwords)]
    print("fairseq-preprocess ...", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise UserError(f"fairseq-preprocess failed:\n{done.stdout[-3000:]}")
    for line in done.stdout.splitlines():
        if "% replaced" in line:
            print("  " + line.rpartition("/text/")[2])


def dictionary_size(folder: Path, lang: str) -> int:
    """Entries with fairseq's four special symbols."""
    return 4 + len(lines((folder / f"dict.{lang}.txt").read_bytes()))


def versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
