"""The quickstart's corpus: its German, its held-out combinations, and that it never changes."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from quickstart_example import FOLDER, load_modules

quickstart = pytest.fixture(load_modules, scope="module")


@pytest.fixture(scope="module")
def corpus(quickstart):
    return quickstart.make_corpus.make_corpus(train=4000)  # half of the default, to be quick


# An independent check of its German

SINGULAR = {
    "m": "Mann Junge Arbeiter Tourist Hund Vogel Affe Esel Mantel Pullover Hut Helm Koffer Ball "
    "Luftballon Apfel Kuchen Kaffee Saft Brief Bus Zug Roller Stuhl Tisch Baum Brunnen Teller Park "
    "Garten Wald Spielplatz Markt Bahnhof Strand See Fluss Jungen Touristen Affen Morgen Abend "
    "Sonntag",
    "f": "Frau Dame Katze Ente Jacke Uniform Mütze Tasche Puppe Banane Milch Zeitung Gitarre Geige "
    "Straßenbahn Bank Mauer Statue Tür Tasse Küche Schule Straße Brücke Nacht",
    "n": "Mädchen Kind Pferd Schwein Hemd Kostüm Paket Spielzeug Ei Wasser Buch Klavier Taxi "
    "Fahrrad Skateboard Sofa Bett Regal Haus Auto Fenster Glas Museum Restaurant Meer",
}
PLURAL = """
Männer Frauen Jungen Mädchen Kinder Damen Arbeiter Touristen Hunde Katzen Pferde Vögel Enten Affen
Schweine Esel Mäntel Pullover Hemden Kostüme Jacken Uniformen Hüte Helme Mützen Taschen Koffer
Pakete Bälle Luftballons Puppen Spielzeuge Äpfel Kuchen Bananen Eier Briefe Zeitungen Bücher Türen
Fenster Teller Tassen Gläser
""".split()  # noqa: SIM905, words read better than a list of quoted ones
# which adjective ending stands between which determiner and which noun
AGREEMENT = """
ein er m | ein es n | eine e f | einen en m | einem en m | einem en n | einer en f
der e m | der en f | die e f | die en pl | das e n | den en m | den en dat | dem en m | dem en n
im en m | im en n | am en m | am en n | zum en m | zum en n | zur en f | ins e n
sein er m | sein es n | seine e f | seine en pl | seinen en m | seinen en dat | seinem en m
seinem en n | seiner en f | ihr er m | ihr es n | ihre e f | ihre en pl | ihren en m
ihren en dat | ihrem en m | ihrem en n | ihrer en f
zwei e pl | zwei en dat | drei e pl | drei en dat | einige e pl | einigen en dat | viele e pl
vielen en dat
"""
ADJECTIVES = (
    "jung alt groß klein müd hungrig glücklich schwarz weiß braun rot grün gelb neu schwer lang "
    "warm kalt frisch ruhig"
)


def kinds_of(noun: str) -> set[str]:
    kinds = {gender for gender, nouns in SINGULAR.items() if noun in nouns.split()}
    kinds |= {"pl"} if noun in PLURAL else set()
    dative = {word + "n" for word in PLURAL if word[-1] not in "ns"}
    return kinds | ({"dat"} if noun in dative or (noun in PLURAL and noun[-1] in "ns") else set())


def test_every_noun_phrase_of_the_corpus_agrees(corpus):
    allowed = {tuple(cell.split()) for cell in re.split(r"[|\n]", AGREEMENT.strip())}
    with_adjective = {(det, kind): ending for det, ending, kind in allowed}
    adjective = re.compile(rf"^({'|'.join(ADJECTIVES.split())})(er|es|em|en|e)$")
    checked = 0
    for sentence in (s for part in corpus.values() for s in part):
        tokens = sentence.de.split()
        for place, noun in enumerate(tokens):
            if not noun[0].isupper():
                continue
            kinds, before = kinds_of(noun), tokens[:place]
            assert kinds, f"{noun} is in no table: {sentence.de}"
            match = adjective.match(before[-1]) if before else None
            determiner = before[-2 if match else -1] if len(before) > bool(match) else ""
            lead = before[: -2 if match else -1][-2:]  # a comma, and perhaps a preposition
            relative = "," in lead and determiner in ("der", "die", "das", "dem", "den")
            if relative or not any(determiner == det for det, _ in with_adjective):
                continue  # none, or the pronoun of "die kleine Kinder sehen"
            endings = {with_adjective.get((determiner, kind)) for kind in kinds} - {None}
            assert endings, f"{determiner} {noun}: {sentence.de}"
            assert not match or match[2] in endings, f"{determiner} {match[0]} {noun}"
            checked += 1
    assert checked > 8000


@pytest.mark.parametrize(
    ("prepositions", "never"),
    [
        ("mit aus zu", "ein eine einen die das sein seine ihre viele einige"),
        ("durch um", "einem einer dem seinem seiner ihrem ihrer vielen einigen"),
    ],
)
def test_no_preposition_precedes_a_case_it_does_not_govern(corpus, prepositions, never):
    wrong = re.compile(
        rf"\b({prepositions.replace(' ', '|')}) ({never.replace(' ', '|')}) \S*[a-z]"
    )
    for sentence in (s for part in corpus.values() for s in part):
        assert not wrong.search(sentence.de), sentence.de


# Held out, different, the same each time


def test_the_parts_have_their_sizes_and_share_no_sentence(corpus):
    assert {name: len(part) for name, part in corpus.items()} == {
        "train": 4000,
        "valid": 200,
        "test": 300,
    }
    english = [sentence.en for part in corpus.values() for sentence in part]
    assert len(set(english)) == len(english) == 4500


def test_each_held_out_sentence_combines_known_words_in_an_unseen_way(corpus, quickstart):
    combinations = quickstart.make_corpus.combinations

    def pairs(sentence):
        return {pair for tree in sentence.trees for pair in combinations(tree)}

    trained = {pair for sentence in corpus["train"] for pair in pairs(sentence)}
    for side in ("en", "de"):
        known = {word for s in corpus["train"] for word in getattr(s, side).split()}
        for sentence in corpus["valid"] + corpus["test"]:
            assert set(getattr(sentence, side).split()) <= known
    for sentence in corpus["valid"] + corpus["test"]:
        assert pairs(sentence) - trained, sentence.en


def test_a_held_out_adjective_and_noun_never_stand_side_by_side_in_training(corpus, quickstart):
    lexicon, held_out = quickstart.lexicon, quickstart.make_corpus.held_out
    number = {noun.en: (noun.en, noun.en_plural or noun.en + "s") for noun in lexicon.NOUNS}
    phrases = {
        f" {adjective.en} {form} "
        for noun in lexicon.NOUNS
        for adjective in lexicon.adjectives_for(noun)
        if held_out(adjective.en, noun.en)
        for form in number[noun.en]
    }
    text = {name: " \n ".join(s.en for s in part) for name, part in corpus.items()}
    assert not [phrase for phrase in phrases if phrase in text["train"]]
    assert sum(phrase in text["test"] for phrase in phrases) >= 20


def test_every_word_of_the_lexicon_is_seen_in_training(corpus, quickstart):
    german = {word for sentence in corpus["train"] for word in sentence.de.split()}
    assert {noun.de for noun in quickstart.lexicon.NOUNS} <= german
    assert all(german & {verb.de[1], verb.de[2]} for verb in quickstart.lexicon.VERBS)


def test_splits_share_no_drawn_sentence(corpus, quickstart):
    known = {word for s in corpus["train"] for word in (s.en + " " + s.de).split()}
    draw = quickstart.make_corpus.draw_split
    first = {sentence.en for sentence in draw(1, 20, True, known, set())}
    assert not first & {sentence.en for sentence in draw(1, 20, True, known, first)}


def digest(parts: dict[str, list]) -> str:
    text = "\n".join(f"{s.en}\t{s.de}" for name in sorted(parts) for s in parts[name])
    return hashlib.sha256(text.encode()).hexdigest()


def test_two_runs_make_the_same_bytes_whatever_the_hash_seed(corpus, quickstart, tmp_path):
    assert digest(quickstart.make_corpus.make_corpus(train=4000)) == digest(corpus)
    assert digest(quickstart.make_corpus.make_corpus(train=4000, seed=2)) != digest(corpus)
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, FOLDER / "make_corpus.py", tmp_path / seed, "--train=4000"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
        for name, part in corpus.items():
            for side in ("en", "de"):
                text = (tmp_path / seed / f"{name}.{side}").read_text(encoding="utf-8")
                assert text.splitlines() == [getattr(s, side) for s in part]


def test_the_test_set_does_not_depend_on_the_size_of_the_training_set(corpus, quickstart):
    larger = quickstart.make_corpus.make_corpus(train=5000)
    assert digest({"test": larger["test"]}) == digest({"test": corpus["test"]})
    assert larger["train"][:4000] == corpus["train"]


# The command line

SMALL = ["--train", "300", "--valid", "3", "--test", "4"]


def test_a_second_run_writes_nothing_and_says_so(quickstart, tmp_path, capsys):
    main = quickstart.make_corpus.main
    assert main([str(tmp_path / "out"), *SMALL]) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert len(before) == 6
    assert main([str(tmp_path / "out"), *SMALL]) == 0
    assert "already there" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}


def test_other_text_of_the_same_name_is_left_alone(quickstart, tmp_path, capsys):
    (tmp_path / "train.en").write_text("mine\n")
    assert quickstart.make_corpus.main([str(tmp_path), *SMALL]) == 1
    assert "train.en" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["train.en"]
    assert (tmp_path / "train.en").read_text() == "mine\n"


def test_a_training_set_too_small_for_the_vocabulary_is_rejected(quickstart, tmp_path, capsys):
    options = ["--train", "1", "--valid", "1", "--test", "1"]
    assert quickstart.make_corpus.main([str(tmp_path), *options]) == 1
    assert "more training pairs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ["0", "-3", "many", "99999999"])
def test_a_bad_size_is_named(quickstart, tmp_path, capsys, number):
    with pytest.raises(SystemExit):
        quickstart.make_corpus.main([str(tmp_path), f"--train={number}"])
    assert f"'{number}' is not a whole number" in capsys.readouterr().err


# Translation needs grammar


def word_for_word(corpus) -> list[str]:
    """Each English word becomes the German word that it is seen with most, for its frequency."""
    together, english, german = Counter(), Counter(), Counter()
    for sentence in corpus["train"]:
        sources, targets = set(sentence.en.split()), set(sentence.de.split())
        english.update(sources)
        german.update(targets)
        together.update((e, d) for e in sources for d in targets)
    best: dict[str, tuple[float, str]] = {}
    for (e, d), count in together.items():
        best[e] = max(best.get(e, (0.0, "")), (2 * count / (english[e] + german[d]), d))
    return [" ".join(best[word][1] for word in s.en.split()) for s in corpus["test"]]


def test_copying_and_word_for_word_translation_score_poorly(corpus):
    sacrebleu = pytest.importorskip("sacrebleu")
    references = [[sentence.de for sentence in corpus["test"]]]

    def bleu(translations):
        return sacrebleu.corpus_bleu(translations, references, tokenize="none", force=True).score

    assert bleu([sentence.en for sentence in corpus["test"]]) < 5
    assert bleu(word_for_word(corpus)) < 25
