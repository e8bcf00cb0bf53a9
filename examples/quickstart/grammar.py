"""Sentence trees, and how each is expressed in English and in German.

A tree is built once and expressed twice, so both sides always mean the same. The German functions
know three cases ("nom", "acc", "dat") and four kinds of agreement ("m", "f", "n", "pl").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lexicon import Adjective, Adverb, Noun, Verb


@dataclass(frozen=True)
class NounPhrase:
    noun: Noun
    determiner: str = "a"  # a, the, two, three, some, many, own ("his"), "" (none)
    plural: bool = False
    adjective: Adjective | None = None
    owner: NounPhrase | None = None  # whom "own" refers to
    extra: Phrase | Relative | None = None  # "in a red coat", "who is sleeping"


@dataclass(frozen=True)
class Phrase:
    """A noun phrase with its role: a bare object, or after a preposition (English, German)."""

    preposition: tuple[str, str]
    case: str
    np: NounPhrase


@dataclass(frozen=True)
class Clause:
    subject: NounPhrase
    verb: Verb
    arguments: tuple[Phrase, ...] = ()
    tense: str = "present"  # present, perfect, can, want, must
    place: Phrase | None = None
    time: Adverb | None = None


@dataclass(frozen=True)
class State:
    """The old man is tired."""

    subject: NounPhrase
    adjective: Adjective


@dataclass(frozen=True)
class Relative:
    """A clause that contains the noun it belongs to: as its subject, or as its first argument."""

    clause: Clause | State
    of_argument: bool = False


# --- English ---------------------------------------------------------------------------------

BE, HAVE = ("is", "are"), ("has", "have")
EN_MODAL = {"can": ("can", "can"), "want": ("wants to", "want to"), "must": ("has to", "have to")}
POSSESSIVE = {"he": "his", "she": "her", "it": "its"}


def english_np(np: NounPhrase) -> str:
    noun = (np.noun.en_plural or np.noun.en + "s") if np.plural else np.noun.en
    words = [np.adjective.en, noun] if np.adjective else [noun]
    words.insert(0, english_determiner(np, words[0]))
    if isinstance(np.extra, Phrase):
        words.append(english_phrase(np.extra))
    elif np.extra:
        words.append(english_relative(np.extra, np))
    return join(words)


def english_determiner(np: NounPhrase, next_word: str) -> str:
    if np.determiner == "a":
        return "an" if next_word[0] in "aeiou" and not next_word.startswith("uni") else "a"
    if np.determiner == "own" and np.owner:
        return "their" if np.owner.plural else POSSESSIVE[np.owner.noun.pronoun]
    return np.determiner


def english_phrase(phrase: Phrase) -> str:
    return join([phrase.preposition[0], english_np(phrase.np)])


def english_pronoun(np: NounPhrase) -> str:
    return "they" if np.plural else np.noun.pronoun


def english_verb(clause: Clause) -> str:
    base, progressive, participle = clause.verb.en
    if clause.tense == "present":
        return f"{BE[clause.subject.plural]} {progressive}"
    if clause.tense == "perfect":
        return f"{HAVE[clause.subject.plural]} {participle}"
    return f"{EN_MODAL[clause.tense][clause.subject.plural]} {base}"


def english_rest(clause: Clause | State, arguments_from: int = 0) -> str:
    """The clause without its subject: verb, arguments, place, time."""
    if isinstance(clause, State):
        return f"{BE[clause.subject.plural]} {clause.adjective.en}"
    words = [english_verb(clause), *map(english_phrase, clause.arguments[arguments_from:])]
    words.append(english_phrase(clause.place) if clause.place else "")
    words.append(clause.time.en if clause.time else "")
    return join(words)


def english_clause(clause: Clause | State) -> str:
    return join([english_np(clause.subject), english_rest(clause)])


def english_relative(relative: Relative, head: NounPhrase) -> str:
    clause, person = relative.clause, "person" in head.noun.roles
    if isinstance(clause, State) or not relative.of_argument:
        return join(["who" if person else "that", english_rest(clause)])
    preposition = clause.arguments[0].preposition[0]
    pronoun = ("whom" if person else "which") if preposition else "that"
    subject = english_np(clause.subject)
    return join([preposition, pronoun, subject, english_rest(clause, arguments_from=1)])


# --- German: words ---------------------------------------------------------------------------


def table(nom: str, acc: str, dat: str) -> dict[str, dict[str, str]]:
    """Three rows of four endings, in the order m f n pl; "-" is an empty ending."""
    rows = {"nom": nom, "acc": acc, "dat": dat}
    return {
        case: dict(zip(("m", "f", "n", "pl"), row.split(), strict=True))
        for case, row in rows.items()
    }


DER = table("der die das die", "den die das die", "dem der dem den")
EIN = table("- e - e", "en e - e", "em er em en")  # ein, kein, mein: the ending of the article
WEAK = table("e e e en", "en e e en", "en en en en")  # the adjective after der
MIXED = table("er e es en", "en e es en", "en en en en")  # after ein
STRONG = table("er e es e", "en e es e", "em er em en")  # after a number or no article
PRONOUN = table("er sie es sie", "ihn sie es sie", "ihm ihr ihm ihnen")
RELATIVE = table("der die das die", "den die das die", "dem der dem denen")
CONTRACTED = {
    ("in", "dem"): "im",
    ("an", "dem"): "am",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
    ("in", "das"): "ins",
}
COUNTED = {"two": "zwei", "three": "drei", "some": "einige", "many": "viele", "": ""}
DE_MODAL = {"can": ("kann", "können"), "want": ("will", "wollen"), "must": ("muss", "müssen")}
AUXILIARY = {"haben": ("hat", "haben"), "sein": ("ist", "sind")}


def agreement(np: NounPhrase) -> str:
    return "pl" if np.plural else np.noun.gender


def german_determiner(np: NounPhrase, case: str) -> tuple[str, dict[str, dict[str, str]]]:
    """The determiner, and the endings that an adjective takes after it."""
    gender = agreement(np)
    if np.determiner == "the":
        return DER[case][gender], WEAK
    if np.determiner == "a":
        return "ein" + EIN[case][gender].strip("-"), MIXED
    if np.determiner == "own" and np.owner:
        stem = "sein" if agreement(np.owner) in "mn" else "ihr"
        return stem + EIN[case][gender].strip("-"), MIXED
    word = COUNTED[np.determiner]
    return word + ("n" if case == "dat" and word in ("einige", "viele") else ""), STRONG


def german_noun(np: NounPhrase, case: str) -> str:
    noun = np.noun
    if np.plural:
        return noun.de_plural + ("n" if case == "dat" and noun.de_plural[-1] not in "ns" else "")
    if noun.weak and case != "nom":
        return noun.de + ("n" if noun.de.endswith("e") else "en")
    return noun.de


def german_np(np: NounPhrase, case: str) -> str:
    determiner, endings = german_determiner(np, case)
    adjective = np.adjective.de + endings[case][agreement(np)] if np.adjective else ""
    words = [determiner, adjective, german_noun(np, case)]
    if isinstance(np.extra, Phrase):
        words.append(german_phrase(np.extra))
    elif np.extra:
        words.append(german_relative(np.extra, np))
    return join(words)


def german_phrase(phrase: Phrase) -> str:
    preposition, np = phrase.preposition[1], phrase.np
    first, _, rest = german_np(np, phrase.case).partition(" ")
    if np.determiner == "the" and (preposition, first) in CONTRACTED:
        return f"{CONTRACTED[preposition, first]} {rest}"
    return join([preposition, first, rest])


# --- German: word order ----------------------------------------------------------------------


def german_verb(clause: Clause | State) -> tuple[str, str]:
    """The finite verb, and the end of the clause: prefix, participle or infinitive."""
    plural = clause.subject.plural
    if isinstance(clause, State):
        return AUXILIARY["sein"][plural], clause.adjective.predicate or clause.adjective.de
    verb, (infinitive, singular, participle) = clause.verb, clause.verb.de
    if clause.tense == "present":
        return infinitive if plural else singular, verb.prefix
    if clause.tense == "perfect":
        return AUXILIARY[verb.auxiliary][plural], participle
    return DE_MODAL[clause.tense][plural], verb.prefix + infinitive


def german_middle(clause: Clause | State, front: object = None, arguments_from: int = 0) -> str:
    """Time, known objects, place, new objects and prepositional arguments, without `front`.

    "Sie gibt heute dem Kind im Park einen Ball": a definite object comes before the place.
    """
    if isinstance(clause, State):
        return ""
    arguments = [arg for arg in clause.arguments[arguments_from:] if arg is not front]
    objects = [arg for arg in arguments if not arg.preposition[1]]
    known = [arg for arg in objects if arg.np.determiner in ("the", "own")]
    new = [arg for arg in objects if arg not in known]
    time = clause.time.de if clause.time and clause.time is not front else ""
    place = german_phrase(clause.place) if clause.place and clause.place is not front else ""
    last = [arg for arg in arguments if arg.preposition[1]]
    said = [list(map(german_phrase, part)) for part in (known, new, last)]
    return join([time, *said[0], place, *said[1], *said[2]])


def german_main(clause: Clause | State, front: str = "", fronted: object = None) -> str:
    """Verb second: the subject, or `front`, comes before the finite verb."""
    finite, closing = german_verb(clause)
    subject, middle = german_np(clause.subject, "nom"), german_middle(clause, fronted)
    first = [front, finite, subject] if front else [subject, finite]
    return join([*first, middle, closing])


def german_final(clause: Clause | State, subject: str, arguments_from: int = 0) -> str:
    """Verb last, as after während, weil and relative pronouns: "der einen Hut aufsetzt"."""
    finite, closing = german_verb(clause)
    if isinstance(clause, Clause) and clause.tense == "present":
        finite, closing = closing + finite, ""
    return join([subject, german_middle(clause, None, arguments_from), closing, finite])


def german_relative(relative: Relative, head: NounPhrase) -> str:
    clause, gender = relative.clause, agreement(head)
    if isinstance(clause, State) or not relative.of_argument:
        return f", {german_final(clause, RELATIVE['nom'][gender])} ,"
    gap = clause.arguments[0]
    pronoun = join([gap.preposition[1], RELATIVE[gap.case][gender]])
    return f", {pronoun} {german_final(clause, german_np(clause.subject, 'nom'), 1)} ,"


# --- sentences -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sentence:
    en: str
    de: str
    trees: tuple[Clause | State, ...]


def statement(clause: Clause | State) -> Sentence:
    return sentence(english_clause(clause), german_main(clause), clause)


def fronted(clause: Clause, what: str) -> Sentence:
    """In the park a man is sleeping: im Park schläft ein Mann."""
    part = clause.place if what == "place" else clause.time
    assert part is not None
    english, german = (
        (english_phrase(part), german_phrase(part))
        if isinstance(part, Phrase)
        else (part.en, part.de)
    )
    rest = replace(clause, place=None) if what == "place" else replace(clause, time=None)
    return sentence(f"{english} {english_clause(rest)}", german_main(clause, german, part), clause)


def joined(main: Clause, word: tuple[str, str], side: Clause, side_first: bool) -> Sentence:
    """A man is reading while a dog is sleeping; or the subordinate clause first."""
    english = f"{word[0]} {english_clause(side)}"
    german = f"{word[1]} {german_final(side, german_np(side.subject, 'nom'))}"
    if side_first:
        return sentence(
            f"{english} , {english_clause(main)}", german_main(main, f"{german} ,"), main, side
        )
    return sentence(
        f"{english_clause(main)} {english}", f"{german_main(main)} , {german}", main, side
    )


def with_reason(main: Clause, reason: Adjective) -> Sentence:
    """A dog is sleeping because it is tired: "it" takes the German gender of the subject."""
    state = State(replace(main.subject, extra=None), reason)
    pronoun = PRONOUN["nom"][agreement(main.subject)]
    return sentence(
        f"{english_clause(main)} because {english_pronoun(main.subject)} {english_rest(state)}",
        f"{german_main(main)} , weil {german_final(state, pronoun)}",
        main,
        state,
    )


def and_then(main: Clause, verb: Verb) -> Sentence:
    """A man has bought a hat and is putting it on: "it" takes the German gender of the object."""
    bought = main.arguments[-1].np
    then = Clause(main.subject, verb, (Phrase(("", ""), "acc", bought),))
    finite, prefix = german_verb(then)
    word, _, particle = english_verb(then).removeprefix("is ").removeprefix("are ").partition(" ")
    return sentence(
        join(
            [
                english_clause(main),
                "and",
                BE[main.subject.plural],
                word,
                "them" if bought.plural else "it",
                particle,
            ]
        ),
        join([german_main(main), "und", finite, PRONOUN["acc"][agreement(bought)], prefix]),
        main,
        then,
    )


def existence(clause: Clause) -> Sentence:
    """There is a car behind the house: hinter dem Haus steht ein Auto."""
    where = clause.arguments[0]
    english = join(
        ["there", BE[clause.subject.plural], english_np(clause.subject), english_phrase(where)]
    )
    return sentence(english, german_main(clause, german_phrase(where), where), clause)


def sentence(english: str, german: str, *trees: Clause | State) -> Sentence:
    """Add the full stop; drop a closing comma before it or before another comma."""
    german = f"{german} .".replace(", ,", ",").replace(", .", ".")
    return Sentence(f"{english} .", german, trees)


def join(words: list[str]) -> str:
    return " ".join(word for word in words if word)
