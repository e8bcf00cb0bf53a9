"""A tiny corpus in the form of Multi30k, what is made of it, and a tiny model for it."""

import gzip

PUBLISHED = {"train": 60, "val": 9, "test_2016_flickr": 7}  # 7, 9: no multiples of 8
FORMS = {"lc.norm.tok": ".lc.norm.tok", "raw": ""}
TINY = "--arch wsum_lstm --encoder-embed-dim 8 --decoder-embed-dim 8 --encoder-layers 1"
TINY += " --decoder-layers 1 --optimizer adam --lr 0.01 --batch-size 30 --log-format simple"


def write_corpus(folder):
    """Both forms of a little English and German; the training text packed, the rest plain."""
    folder.mkdir(parents=True)
    nouns = [("man", "Mann"), ("dog", "Hund"), ("ball", "Ball"), ("tree", "Baum"), ("boy", "Junge")]
    verbs = [("sees", "sieht"), ("has", "hat"), ("takes", "nimmt"), ("loves", "liebt")]
    for split, size in PUBLISHED.items():
        sides = {"en": [], "de": []}
        for i in range(size):
            (en, de), (verb, tut) = nouns[i % 5], verbs[i % 4]
            more_en, more_de = nouns[(i // 5) % 5]
            sides["en"].append(f"The {en} {verb} {i} {more_en}, so.")
            sides["de"].append(f"Der {de} {tut} {i} {more_de}, so.")
        # Blanks that are no line ends, though Python's splitlines() takes them for one.
        sides["de"][3] = sides["de"][3].replace(" ", "\u2028", 1).replace(" ", "\xa0", 1)
        for lang, text in sides.items():
            tokens = [" ".join(s.lower().replace(",", " ,").split())[:-1] + " ." for s in text]
            for infix, form in ((".lc.norm.tok", tokens), ("", text)):
                raw = "".join(f"{line}\n" for line in form).encode()
                path = folder / f"{split}{infix}.{lang}"
                if split == "train":
                    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(raw))
                else:
                    path.write_bytes(raw)
    return folder


def prepare_options(corpus, out):
    return ["--data", corpus, "--bpe-size", "90", "--out", out]


def joined(units):
    """Sentences of BPE units as text."""
    return [line.replace(" ", "").replace("\u2581", " ").strip() for line in units]
