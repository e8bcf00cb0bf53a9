"""The quickstart's corpus: its German, its held-out combinations, and that it never changes."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "quickstart"
MODULES = ("lexicon", "grammar", "captions", "make_corpus")  # in the order they import each other


@pytest.fixture(scope="module")
def quickstart():
    """The example's files, as the script itself sees them: siblings on the path."""
    hidden = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    loaded = SimpleNamespace()
    for name in MODULES:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        setattr(loaded, name, module)
    for name in MODULES:
        del sys.modules[name]
    sys.modules.update(hidden)
    return loaded


@pytest.fixture(scope="module")
def corpus(quickstart):
    return quickstart.make_corpus.make_corpus(train=4000)  # half of the default, to be quick


@pytest.fixture(scope="module")
def say(quickstart):
    """Build trees from English words."""
    lexicon, grammar = quickstart.lexicon, quickstart.grammar
    nouns = {noun.en: noun for noun in lexicon.NOUNS}
    adjectives = {adjective.en: adjective for adjective in lexicon.ADJECTIVES}
    verbs = {verb.prefix + verb.de[0]: verb for verb in lexicon.VERBS}
    times = {time.en: time for time in lexicon.TIMES}

    def np(words: str, plural=False, owner=None, extra=None):
        """ "the old man", "- fresh milk" (no article), "own red ball"."""
        determiner, *adjective, noun = words.split()
        return grammar.NounPhrase(
            nouns[noun],
            determiner.strip("-"),
            plural,
            adjectives[adjective[0]] if adjective else None,
            owner,
            extra,
        )

    def to(english: str, german: str, case: str, phrase):
        return grammar.Phrase((english, german), case, phrase)

    def clause(subject, verb, *arguments, tense="present", place=None, time=None):
        time = times[time] if time else None
        return grammar.Clause(subject, verbs[verb], arguments, tense, place, time)

    return SimpleNamespace(
        np=np,
        to=to,
        acc=lambda phrase: to("", "", "acc", phrase),
        dat=lambda phrase: to("", "", "dat", phrase),
        clause=clause,
        adjectives=adjectives,
        verbs=verbs,
        stands=lexicon.STANDS,
        **{name: value for name, value in vars(grammar).items() if name[0] != "_"},
    )


# --- German noun phrases, written from the grammar book -----------------------------------------

NOUN_PHRASES = """
a old man         | ein alter Mann        | einen alten Mann      | einem alten Mann
a old lady        | eine alte Dame        | eine alte Dame        | einer alten Dame
a old book        | ein altes Buch        | ein altes Buch        | einem alten Buch
the old man       | der alte Mann         | den alten Mann        | dem alten Mann
the old lady      | die alte Dame         | die alte Dame         | der alten Dame
the old book      | das alte Buch         | das alte Buch         | dem alten Buch
a tired boy       | ein müder Junge       | einen müden Jungen    | einem müden Jungen
the tired tourist | der müde Tourist      | den müden Touristen   | dem müden Touristen
a monkey          | ein Affe              | einen Affen           | einem Affen
the girl          | das Mädchen           | das Mädchen           | dem Mädchen
a white cap       | eine weiße Mütze      | eine weiße Mütze      | einer weißen Mütze
- cold juice      | kalter Saft           | kalten Saft           | kaltem Saft
- fresh milk      | frische Milch         | frische Milch         | frischer Milch
- cold water      | kaltes Wasser         | kaltes Wasser         | kaltem Wasser
the old man +     | die alten Männer      | die alten Männer      | den alten Männern
the tired girl +  | die müden Mädchen     | die müden Mädchen     | den müden Mädchen
two young woman + | zwei junge Frauen     | zwei junge Frauen     | zwei jungen Frauen
three red hat +   | drei rote Hüte        | drei rote Hüte        | drei roten Hüten
some small bird + | einige kleine Vögel   | einige kleine Vögel   | einigen kleinen Vögeln
many new book +   | viele neue Bücher     | viele neue Bücher     | vielen neuen Büchern
- red balloon +   | rote Luftballons      | rote Luftballons      | roten Luftballons
- tired boy +     | müde Jungen           | müde Jungen           | müden Jungen
- worker +        | Arbeiter              | Arbeiter              | Arbeitern
"""


@pytest.mark.parametrize("row", NOUN_PHRASES.strip().splitlines())
def test_article_adjective_and_noun_agree_in_every_case(say, row):
    words, *expected = (cell.strip() for cell in row.split("|"))
    phrase = say.np(words.removesuffix("+"), plural=words.endswith("+"))
    assert [say.german_np(phrase, case) for case in ("nom", "acc", "dat")] == expected


@pytest.mark.parametrize(
    ("owner", "owned", "english", "expected"),
    [
        ("the man", "own red ball", "his red ball", "seinem roten Ball"),
        ("the lady", "own red ball", "her red ball", "ihrem roten Ball"),
        ("the girl", "own doll", "her doll", "seiner Puppe"),  # das Mädchen
        ("the cat", "own new toy", "its new toy", "ihrem neuen Spielzeug"),
        ("the dog", "own new toy", "its new toy", "seinem neuen Spielzeug"),
        ("the dog +", "own ball", "their ball", "ihrem Ball"),
        ("the dog", "own red ball +", "its red balls", "seinen roten Bällen"),
    ],
)
def test_a_possessive_follows_the_german_gender_of_its_owner(say, owner, owned, english, expected):
    who = say.np(owner.removesuffix("+"), plural=owner.endswith("+"))
    what = say.np(owned.removesuffix("+"), plural=owned.endswith("+"), owner=who)
    assert (say.english_np(what), say.german_np(what, "dat")) == (english, expected)


@pytest.mark.parametrize(
    ("preposition", "case", "words", "expected"),
    [
        (("in", "in"), "dat", "the park", "im Park"),
        (("in", "in"), "dat", "the kitchen", "in der Küche"),
        (("in", "in"), "dat", "a park", "in einem Park"),
        (("into", "in"), "acc", "the park", "in den Park"),
        (("into", "in"), "acc", "the old museum", "ins alte Museum"),
        (("into", "in"), "acc", "a museum", "in ein Museum"),
        (("on", "auf"), "dat", "the bench", "auf der Bank"),
        (("on", "auf"), "acc", "the bench", "auf die Bank"),
        (("on", "an"), "dat", "the beach", "am Strand"),
        (("to", "zu"), "dat", "the station", "zum Bahnhof"),
        (("to", "zu"), "dat", "the big school", "zur großen Schule"),
        (("through", "durch"), "acc", "the forest", "durch den Wald"),
        (("around", "um"), "acc", "the house", "um das Haus"),
        (("out of", "aus"), "dat", "the kitchen", "aus der Küche"),
    ],
)
def test_prepositions_govern_their_case_and_contract(say, preposition, case, words, expected):
    assert say.german_phrase(say.to(*preposition, case, say.np(words))) == expected


# --- whole sentences ----------------------------------------------------------------------------


def sentences(s):
    """Trees, and what they have to be in both languages."""
    np, to, acc, dat, clause = s.np, s.to, s.acc, s.dat, s.clause
    in_park = to("in", "in", "dat", np("the park"))
    in_coat = to("in", "in", "dat", np("a red coat"))
    in_coats = to("in", "in", "dat", np("- red coat", plural=True))
    bike = to("", "mit", "dat", np("a bicycle"))
    hat, coat = acc(np("a hat")), acc(np("a white coat"))
    dog_sleeps = clause(np("a dog"), "schlafen")
    on_bench = ("on", "auf")
    man, girls = np("the man"), np("two girl", plural=True)

    def who(head, inner):
        return s.np(head, extra=s.Relative(inner))

    def whom(head, inner, plural=False):
        return s.np(head, plural=plural, extra=s.Relative(inner, of_argument=True))

    return [
        # verb second, and what is fronted
        (s.statement(clause(np("a young woman", extra=in_coat), "fahren", bike, place=in_park)),
         "a young woman in a red coat is riding a bicycle in the park .",
         "eine junge Frau in einem roten Mantel fährt im Park mit einem Fahrrad ."),
        (s.fronted(clause(np("a man"), "schlafen", place=in_park), "place"),
         "in the park a man is sleeping .",
         "im Park schläft ein Mann ."),
        (s.fronted(clause(np("two man", plural=True, extra=in_coats), "arbeiten", place=in_park,
                          time="today"), "time"),
         "today two men in red coats are working in the park .",
         "heute arbeiten zwei Männer in roten Mänteln im Park ."),
        (s.statement(clause(np("a man"), "arbeiten", place=in_park, time="today")),
         "a man is working in the park today .",
         "ein Mann arbeitet heute im Park ."),
        # separable verbs
        (s.statement(clause(np("a woman"), "anziehen", coat)),
         "a woman is putting on a white coat .",
         "eine Frau zieht einen weißen Mantel an ."),
        (s.fronted(clause(np("a woman"), "aufsetzen", hat, place=in_park), "place"),
         "in the park a woman is putting on a hat .",
         "im Park setzt eine Frau einen Hut auf ."),
        (s.statement(clause(np("the girl", plural=True), "abnehmen", hat)),
         "the girls are taking off a hat .",
         "die Mädchen nehmen einen Hut ab ."),
        (s.statement(clause(np("a woman"), "anziehen", coat, tense="want")),
         "a woman wants to put on a white coat .",
         "eine Frau will einen weißen Mantel anziehen ."),
        (s.statement(clause(np("a woman"), "anziehen", coat, tense="perfect", place=in_park)),
         "a woman has put on a white coat in the park .",
         "eine Frau hat im Park einen weißen Mantel angezogen ."),
        # perfect and modal verbs: the last word closes the clause
        (s.statement(clause(np("a dog"), "folgen", dat(np("the old man")), tense="perfect")),
         "a dog has followed the old man .",
         "ein Hund ist dem alten Mann gefolgt ."),
        (s.statement(clause(np("many child", plural=True), "essen", acc(np("- egg", plural=True)),
                            tense="must", place=in_park)),
         "many children have to eat eggs in the park .",
         "viele Kinder müssen im Park Eier essen ."),
        # what the verb asks for
        (s.statement(clause(np("a monkey"), "fressen", acc(np("a banana")))),
         "a monkey is eating a banana .",
         "ein Affe frisst eine Banane ."),
        (s.statement(clause(np("a man"), "helfen", dat(np("a tired lady")))),
         "a man is helping a tired lady .",
         "ein Mann hilft einer müden Dame ."),
        (s.statement(clause(np("a man"), "warten", to("for", "auf", "acc", np("the bus")))),
         "a man is waiting for the bus .",
         "ein Mann wartet auf den Bus ."),
        (s.statement(clause(np("a man"), "geben", dat(np("the boy")), acc(np("a ball")),
                            place=in_park)),
         "a man is giving the boy a ball in the park .",
         "ein Mann gibt dem Jungen im Park einen Ball ."),
        (s.statement(clause(np("a boy"), "geben", dat(np("a old lady")),
                            acc(np("a green apple")))),
         "a boy is giving an old lady a green apple .",
         "ein Junge gibt einer alten Dame einen grünen Apfel ."),
        (s.fronted(clause(girls, "aufsetzen", acc(np("own hat", plural=True, owner=girls)),
                          place=in_park), "place"),
         "in the park two girls are putting on their hats .",
         "im Park setzen zwei Mädchen ihre Hüte auf ."),
        (s.and_then(clause(np("a monkey"), "finden", acc(np("a banana")), tense="perfect"),
                    s.verbs["fressen"]),
         "a monkey has found a banana and is eating it .",
         "ein Affe hat eine Banane gefunden und frisst sie ."),
        # the same English preposition: where (dative), or where to (accusative)
        (s.statement(clause(np("a cat"), "sitzen", to(*on_bench, "dat", np("the bench")))),
         "a cat is sitting on the bench .",
         "eine Katze sitzt auf der Bank ."),
        (s.statement(clause(np("a cat"), "springen", to(*on_bench, "acc", np("the bench")))),
         "a cat is jumping on the bench .",
         "eine Katze springt auf die Bank ."),
        (s.statement(clause(np("a man"), "stellen", acc(np("a cup")),
                            to("on", "auf", "acc", np("the table")))),
         "a man is putting a cup on the table .",
         "ein Mann stellt eine Tasse auf den Tisch ."),
        (s.statement(clause(np("a man"), "legen", acc(np("a book")),
                            to("on", "auf", "acc", np("the table")))),
         "a man is putting a book on the table .",
         "ein Mann legt ein Buch auf den Tisch ."),
        # subordinate clauses: verb last, prefix joined to it; and verb second behind them
        (s.joined(clause(np("a man"), "lesen", acc(np("a letter"))), ("while", "während"),
                  clause(np("a boy"), "aufsetzen", hat), False),
         "a man is reading a letter while a boy is putting on a hat .",
         "ein Mann liest einen Brief , während ein Junge einen Hut aufsetzt ."),
        (s.joined(clause(np("a man"), "lesen", acc(np("a letter"))), ("while", "während"),
                  dog_sleeps, True),
         "while a dog is sleeping , a man is reading a letter .",
         "während ein Hund schläft , liest ein Mann einen Brief ."),
        (s.joined(dog_sleeps, ("because", "weil"),
                  clause(np("a cat"), "finden", acc(np("a egg")),
                         tense="perfect"), False),
         "a dog is sleeping because a cat has found an egg .",
         "ein Hund schläft , weil eine Katze ein Ei gefunden hat ."),
        # pronouns take the German gender
        (s.with_reason(dog_sleeps, s.adjectives["tired"]),
         "a dog is sleeping because it is tired .",
         "ein Hund schläft , weil er müde ist ."),
        (s.with_reason(clause(np("a cat"), "schlafen"), s.adjectives["tired"]),
         "a cat is sleeping because it is tired .",
         "eine Katze schläft , weil sie müde ist ."),
        (s.with_reason(clause(np("some girl", plural=True), "lachen"), s.adjectives["happy"]),
         "some girls are laughing because they are happy .",
         "einige Mädchen lachen , weil sie glücklich sind ."),
        (s.and_then(clause(np("a man"), "kaufen", hat, tense="perfect"), s.verbs["aufsetzen"]),
         "a man has bought a hat and is putting it on .",
         "ein Mann hat einen Hut gekauft und setzt ihn auf ."),
        (s.and_then(clause(np("a man"), "kaufen", acc(np("a jacket")), tense="perfect"),
                    s.verbs["ausziehen"]),
         "a man has bought a jacket and is taking it off .",
         "ein Mann hat eine Jacke gekauft und zieht sie aus ."),
        (s.and_then(clause(np("a man"), "finden", acc(np("two egg", plural=True)),
                           tense="perfect"), s.verbs["essen"]),
         "a man has found two eggs and is eating them .",
         "ein Mann hat zwei Eier gefunden und isst sie ."),
        # relative clauses: gender of the noun, case of the part it plays, verb last
        (s.statement(clause(who("a man", clause(man, "tragen", acc(np("a red hat")))), "lachen")),
         "a man who is wearing a red hat is laughing .",
         "ein Mann , der einen roten Hut trägt , lacht ."),
        (s.statement(clause(whom("the dog", clause(np("a boy"), "beobachten",
                                                   acc(np("the dog")))), "schlafen")),
         "the dog that a boy is watching is sleeping .",
         "der Hund , den ein Junge beobachtet , schläft ."),
        (s.statement(clause(whom("the lady", clause(np("a boy"), "helfen", dat(np("the lady")))),
                            "lachen")),
         "the lady that a boy is helping is laughing .",
         "die Dame , der ein Junge hilft , lacht ."),
        (s.statement(clause(whom("the child", clause(np("a boy"), "helfen",
                                 dat(np("the child", plural=True))), plural=True), "lachen")),
         "the children that a boy is helping are laughing .",
         "die Kinder , denen ein Junge hilft , lachen ."),
        (s.statement(s.State(whom("the bench", clause(np("a man"), "sitzen",
                                  to(*on_bench, "dat", np("the bench")))), s.adjectives["old"])),
         "the bench on which a man is sitting is old .",
         "die Bank , auf der ein Mann sitzt , ist alt ."),
        (s.statement(s.State(whom("the chair", clause(np("a cat"), "springen",
                                  to(*on_bench, "acc", np("the chair")), tense="perfect")),
                             s.adjectives["old"])),
         "the chair on which a cat has jumped is old .",
         "der Stuhl , auf den eine Katze gesprungen ist , ist alt ."),
        (s.fronted(clause(who("a man", clause(man, "abnehmen", hat)), "schlafen",
                          place=in_park), "place"),
         "in the park a man who is taking off a hat is sleeping .",
         "im Park schläft ein Mann , der einen Hut abnimmt ."),
        # "there is": something stands there
        (s.existence(s.Clause(np("a red car"), s.stands, (
            to("behind", "hinter", "dat", np("the house")),))),
         "there is a red car behind the house .",
         "hinter dem Haus steht ein rotes Auto ."),
    ]  # fmt: skip


def test_sentences_are_what_a_german_teacher_would_write(say):
    for sentence, english, german in sentences(say):
        assert (sentence.en, sentence.de) == (english, german)


def test_the_examples_of_the_readme_are_among_them(say):
    rows = re.findall(r"^\| (.* \.) \| (.* \.) \|", (FOLDER / "README.md").read_text("utf-8"), re.M)
    assert len(rows) == 5
    assert set(rows) <= {(english, german) for _, english, german in sentences(say)}


# --- the corpus: an independent look at its German ----------------------------------------------

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
def test_no_preposition_stands_before_a_case_it_does_not_govern(corpus, prepositions, never):
    wrong = re.compile(
        rf"\b({prepositions.replace(' ', '|')}) ({never.replace(' ', '|')}) \S*[a-z]"
    )
    for sentence in (s for part in corpus.values() for s in part):
        assert not wrong.search(sentence.de), sentence.de


# --- the corpus: held out, different, the same each time -----------------------------------------


def test_the_parts_have_their_sizes_and_share_no_sentence(corpus):
    assert {name: len(part) for name, part in corpus.items()} == {
        "train": 4000,
        "valid": 200,
        "test": 300,
    }
    english = [sentence.en for part in corpus.values() for sentence in part]
    assert len(set(english)) == len(english) == 4500


def test_each_held_out_sentence_is_of_known_words_in_a_combination_never_trained(
    corpus, quickstart
):
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


def test_a_sentence_of_another_part_is_not_drawn_again(corpus, quickstart):
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


# --- the command line ----------------------------------------------------------------------------

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


def test_a_training_set_too_small_to_know_the_words_is_an_error(quickstart, tmp_path, capsys):
    options = ["--train", "1", "--valid", "1", "--test", "1"]
    assert quickstart.make_corpus.main([str(tmp_path), *options]) == 1
    assert "more training pairs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ["0", "-3", "many", "99999999"])
def test_a_bad_size_is_an_error_that_names_it(quickstart, tmp_path, capsys, number):
    with pytest.raises(SystemExit):
        quickstart.make_corpus.main([str(tmp_path), f"--train={number}"])
    assert f"'{number}' is no number" in capsys.readouterr().err


# --- it cannot be done without grammar -----------------------------------------------------------


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
