"""Small made-up trees for the tests."""

from pathlib import Path

TREES = [
    "(3 (2 (2 This) (2 film)) (3 (2 is) (3 good)))",
    "(1 (2 Film) (1 (1 (2 is) (1 not)) (3 good)))",
    "(4 (2 A) (4 (4 good) (2 film)))",
    "(0 (1 bad) (2 film))",
    "(2 (2 a) (2 film))",
    "(3 (2 It) (3 (2 (2 does) (2 n't)) (1 bore)))",
]


def write_trees(folder: Path) -> Path:
    """train.txt, dev.txt and test.txt with the trees several times."""
    folder.mkdir(exist_ok=True)
    for name, number in (("train", 6), ("dev", 2), ("test", 2)):
        (folder / f"{name}.txt").write_text("\n".join(TREES * number) + "\n")
    return folder
