"""Draw captions: choose random words for a tree such that they go together."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TypeVar

from grammar import (
    Clause,
    NounPhrase,
    Phrase,
    Relative,
    Sentence,
    State,
    and_then,
    existence,
    fronted,
    joined,
    statement,
    with_reason,
)
from lexicon import (
    BESIDE,
    LIES,
    LIVING,
    STANDS,
    TIMES,
    UNDER,
    VERBS,
    Noun,
    Slot,
    Verb,
    adjectives_for,
    nouns_for,
)

T = TypeVar("T")
Random = random.Random
TENSES = ("present",) * 14 + ("perfect",) * 3 + ("can", "want", "must")
CONJUNCTIONS = (("while", "während"), ("because", "weil"))


def pick(rng: Random, items: tuple[T, ...]) -> T:
    """Like `rng.choice`, whose use of random numbers may change between Python versions."""
    return items[int(rng.random() * len(items))]


def chance(rng: Random, probability: float) -> bool:
    return rng.random() < probability


def suits(noun: Noun, roles: str) -> bool:
    return any(role in roles.split() for role in noun.roles.split())


# --- drawing trees -----------------------------------------------------------------------------


def draw_np(rng: Random, roles: str, owner: NounPhrase | None = None) -> NounPhrase:
    noun = pick(rng, nouns_for(roles))
    adjectives = adjectives_for(noun)
    adjective = pick(rng, adjectives) if adjectives and chance(rng, 0.45) else None
    if noun.mass:
        return NounPhrase(noun, "", adjective=adjective)
    plural = bool(noun.de_plural) and chance(rng, 0.25)
    if owner and noun.de_plural and not suits(noun, LIVING) and chance(rng, 0.2):
        return NounPhrase(noun, "own", plural, adjective, owner)
    determiners = ("two", "three", "some", "many", "the", "") if plural else ("a", "a", "the")
    return NounPhrase(noun, pick(rng, determiners), plural, adjective)


def draw_subject(rng: Random, roles: str) -> NounPhrase:
    np = draw_np(rng, roles)
    if suits(np.noun, "person") and chance(rng, 0.25):
        return replace(np, extra=draw_outfit(rng, np))
    if suits(np.noun, LIVING) and chance(rng, 0.12):
        return replace(np, extra=Relative(draw_clause(rng, np)))
    return np


def draw_outfit(rng: Random, wearer: NounPhrase) -> Phrase:
    """In a red coat, with a hat; a group of people wears red coats."""
    preposition, roles = pick(
        rng, ((("in", "in"), "clothing"), (("with", "mit"), "headwear luggage"))
    )
    determiner = "" if wearer.plural else "a"
    worn = replace(draw_np(rng, roles), determiner=determiner, plural=wearer.plural)
    return Phrase(preposition, "dat", worn)


def draw_argument(rng: Random, slot: Slot, subject: NounPhrase) -> Phrase:
    np = draw_np(rng, slot.roles, owner=subject)
    while np.noun is subject.noun:
        np = draw_np(rng, slot.roles, owner=subject)
    return Phrase(pick(rng, slot.prepositions), slot.case, np)


def draw_place(rng: Random, verb: Verb) -> Phrase:
    """Where something happens: always the dative. Nobody sits on a chair next to a table here."""
    if chance(rng, 0.6) or any(slot.prepositions[0][1] for slot in verb.slots):
        noun = pick(rng, nouns_for("place"))
        adjective = pick(rng, adjectives_for(noun)) if chance(rng, 0.2) else None
        determiner = pick(rng, ("the", "the", "the", "a"))
        return Phrase(noun.at, "dat", NounPhrase(noun, determiner, adjective=adjective))
    prepositions, roles = (BESIDE, "landmark") if chance(rng, 0.6) else (UNDER, "shade")
    return Phrase(pick(rng, prepositions), "dat", draw_np(rng, roles))


def draw_clause(
    rng: Random,
    subject: NounPhrase | None = None,
    verbs: tuple[Verb, ...] = VERBS,
    tenses: tuple[str, ...] = TENSES,
) -> Clause:
    """A clause about a subject, or about one that suits the verb."""
    if subject:
        verbs = tuple(verb for verb in verbs if suits(subject.noun, verb.subjects))
    verb = pick(rng, verbs)
    subject = subject or draw_subject(rng, verb.subjects)
    owner = replace(subject, extra=None)
    arguments = tuple(draw_argument(rng, slot, owner) for slot in verb.slots)
    tense = pick(rng, tenses)
    return Clause(
        subject,
        verb,
        arguments,
        tense if tense in verb.tenses.split() else verb.tenses.split()[0],
        draw_place(rng, verb) if verb.place and chance(rng, 0.45) else None,
        pick(rng, TIMES) if chance(rng, 0.1) else None,
    )


# --- drawing sentences -------------------------------------------------------------------------


def draw_statement(rng: Random) -> Sentence:
    return statement(draw_clause(rng))


def draw_place_first(rng: Random) -> Sentence:
    clause = draw_clause(rng, verbs=tuple(verb for verb in VERBS if verb.place))
    return fronted(replace(clause, place=draw_place(rng, clause.verb)), "place")


def draw_time_first(rng: Random) -> Sentence:
    return fronted(replace(draw_clause(rng), time=pick(rng, TIMES)), "time")


def draw_joined(rng: Random) -> Sentence:
    conjunction = pick(rng, CONJUNCTIONS)
    main, side = draw_clause(rng, tenses=("present",)), draw_clause(rng)
    return joined(main, conjunction, side, side_first=chance(rng, 0.5))


def draw_reason(rng: Random) -> Sentence:
    clause = draw_clause(rng)
    states = [
        adj for adj in adjectives_for(clause.subject.noun) if adj.en in ("tired", "hungry", "happy")
    ]
    return with_reason(clause, pick(rng, tuple(states)))


def draw_and_then(rng: Random) -> Sentence:
    """Has found an apple and is eating it."""
    first = tuple(verb for verb in VERBS if verb.en[0] in ("buy", "find"))
    main = draw_clause(rng, verbs=first, tenses=("perfect",))
    bought = main.arguments[0].np.noun
    second = tuple(
        verb
        for verb in VERBS
        if verb not in first
        and len(verb.slots) == 1
        and verb.slots[0].case == "acc"
        and verb.slots[0].prepositions == (("", ""),)
        and suits(bought, verb.slots[0].roles)
        and suits(main.subject.noun, verb.subjects)
    )
    return and_then(main, pick(rng, second)) if second else statement(main)


def draw_existence(rng: Random) -> Sentence:
    clause = draw_clause(rng, verbs=(STANDS, LIES), tenses=("present",))
    subject = clause.subject
    if subject.determiner == "the":
        subject = replace(subject, determiner="two" if subject.plural else "a")
    return existence(replace(clause, subject=replace(subject, extra=None), place=None, time=None))


def draw_relative(rng: Random) -> Sentence:
    """The bench on which a man is sitting is old; the dog that a boy is watching is sleeping."""
    inner = draw_clause(rng, verbs=tuple(verb for verb in VERBS if len(verb.slots) == 1))
    gap = inner.arguments[0]
    states = adjectives_for(gap.np.noun)
    acts = suits(gap.np.noun, LIVING) and chance(rng, 0.5)
    if not acts and not states:
        return statement(inner)
    # avoid "the white ball is brown": drop the adjective if the main clause has one for the noun
    head = replace(gap.np, determiner="the", owner=None)
    head = head if acts else replace(head, adjective=None)
    inner = replace(
        inner,
        subject=replace(inner.subject, extra=None),
        arguments=(replace(gap, np=head),),
    )
    subject = replace(head, extra=Relative(inner, of_argument=True))
    return statement(draw_clause(rng, subject) if acts else State(subject, pick(rng, states)))


KINDS = (
    (draw_statement,) * 6
    + (draw_place_first,) * 4
    + (draw_time_first,) * 2
    + (draw_joined,) * 2
    + (draw_reason,) * 2
    + (draw_and_then,) * 2
    + (draw_relative,) * 2
    + (draw_existence,)
)


def draw_sentence(rng: Random) -> Sentence:
    """Draw a caption of any kind."""
    return pick(rng, KINDS)(rng)
