"""Tiny corpora for language modelling, and what fairseq reads of them."""

import random

UNK = "<unk>"


def decoded(folder, split="train"):
    """The lines of fairseq's binary data, each a list of words and the end of the sentence."""
    from fairseq.data import Dictionary, data_utils

    dictionary = Dictionary.load(str(folder / "dict.txt"))
    data = data_utils.load_indexed_dataset(str(folder / split), dictionary)
    return [[dictionary[i] for i in data[sentence].tolist()] for sentence in range(len(data))]


def replaced(sentences, known):
    return [[word if word in known else UNK for word in sentence] for sentence in sentences]


def made_up(lines, seed, odd=()):
    """Sentences of words of which few are frequent and many are rare."""
    draw = random.Random(seed)
    sentences = [
        " ".join(f"w{int(draw.expovariate(0.05))}" for _ in range(draw.randint(1, 12)))
        for _ in range(lines)
    ]
    return "".join(f"{sentence}\n" for sentence in [*sentences, *odd]).encode()
