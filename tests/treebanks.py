"""Small treebanks for the tests: made-up sentences with random trees."""

import random
from pathlib import Path

TAGS = ["NOUN", "VERB", "PUNCT"]


def conllu(*rows: str) -> str:
    """A sentence of rows such as `dogs NOUN 2 nsubj`: form, UPOS, head, relation."""
    lines = []
    for k, row in enumerate(rows, start=1):
        form, upos, head, relation = row.split()
        lines.append(f"{k} {form} _ {upos} {upos.lower()} _ {head} {relation} _ _")
    return "\n".join(lines).replace(" ", "\t") + "\n\n"


def random_tree(words: int, rng: random.Random) -> list[int]:
    """Heads of a tree with one root."""
    order = rng.sample(range(1, words + 1), words)
    heads = dict.fromkeys(order, 0)
    for k, word in enumerate(order[1:], start=1):
        heads[word] = rng.choice(order[:k])
    return [heads[word] for word in range(1, words + 1)]


def write_treebank(folder: Path) -> Path:
    """train.conllu, dev.conllu and test.conllu with random sentences of 1 to 9 words."""
    folder.mkdir(exist_ok=True)
    for name, sentences in (("train", 24), ("dev", 6), ("test", 6)):
        rng, text = random.Random(name), ""
        for _ in range(sentences):
            rows = []
            for head in random_tree(rng.randint(1, 9), rng):
                relation = rng.choice(["nsubj", "nsubj:pass", "obj"]) if head else "root"
                word, tag = rng.choice(["Ab", "cd", "éf", "gh", "ij"]), rng.choice(TAGS)
                rows.append(f"{word} {tag} {head} {relation}")
            text += conllu(*rows)
        (folder / f"{name}.conllu").write_text(text, "utf-8")
    return folder
