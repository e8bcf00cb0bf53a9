"""The German of the quickstart: what the grammar makes of trees built by hand."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from quickstart_example import FOLDER, load_modules

quickstart = pytest.fixture(load_modules, scope="module")


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


# Noun phrases, written from the grammar book

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


# Whole sentences


def sentences(s):
    """Trees, and their expected sentences in both languages."""
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
