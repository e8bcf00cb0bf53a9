"""Tiny corpora for language modelling, and what fairseq reads of them."""

import random
from types import SimpleNamespace

UNK = "<unk>"


def words_of(path):
    """The lines of a text, each a list of words that ends with fairseq's end of sentence."""
    # split() alone also cuts at the no-break space and the like.
    return [[*line.decode().split(" "), "</s>"] for line in path.read_bytes().splitlines()]


def decoded(folder, split="train"):
    """What `words_of` gives, from fairseq's binary data."""
    from fairseq.data import Dictionary, data_utils

    dictionary = Dictionary.load(str(folder / "dict.txt"))
    data = data_utils.load_indexed_dataset(str(folder / split), dictionary)
    return [[dictionary[i] for i in data[sentence].tolist()] for sentence in range(len(data))]


def replaced(sentences, known):
    return [[word if word in known else UNK for word in sentence] for sentence in sentences]


def make_task(words):
    """What a language model reads of its task: a dictionary of `words` symbols."""
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    for k in range(words - 4):
        dictionary.add_symbol(f"w{k}")
    return SimpleNamespace(
        source_dictionary=dictionary, target_dictionary=dictionary, dictionary=dictionary
    )


def made_up(lines, seed, odd=()):
    """Sentences of words of which few are frequent and many are rare."""
    draw = random.Random(seed)
    sentences = [
        " ".join(f"w{int(draw.expovariate(0.05))}" for _ in range(draw.randint(1, 12)))
        for _ in range(lines)
    ]
    return "".join(f"{sentence}\n" for sentence in [*sentences, *odd]).encode()
