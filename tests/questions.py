"""Small files of questions for the tests: made-up contexts in SQuAD's format."""

import json
import random
from pathlib import Path


def article(*paragraphs: tuple[str, list[tuple[str, str, list[str]]]]) -> dict:
    """An article of paragraphs: a context, and its questions with id, text and answers."""

    def question(context: str, name: str, text: str, answers: list[str]) -> dict:
        found = [{"text": one, "answer_start": context.index(one)} for one in answers]
        return {"id": name, "question": text, "answers": found}

    texts = [
        {"context": context, "qas": [question(context, *one) for one in questions]}
        for context, questions in paragraphs
    ]
    return {"title": "x", "paragraphs": texts}


def write_questions(folder: Path, train: int = 8) -> Path:
    """train.json and dev.json with articles of one paragraph and four questions each."""
    folder.mkdir(exist_ok=True)
    for name, number in (("train", train), ("dev", 2)):
        rng = random.Random(name)
        articles = []
        for k in range(number):
            words = rng.choices(["Ab", "cd", "éf", "gh.", "(ij)", "12kg"], k=rng.randint(3, 15))
            questions = []
            for n in range(4):
                start = rng.randrange(len(words))
                answer = " ".join(words[start : start + rng.randint(1, 3)])
                text = " ".join(rng.choices(words, k=rng.randint(1, 5))) + "?"
                questions.append((f"{name}-{k}-{n}", text, [answer]))
            articles.append(article((" ".join(words), questions)))
        text = json.dumps({"version": "1.1", "data": articles})
        (folder / f"{name}.json").write_text(text)
    return folder
