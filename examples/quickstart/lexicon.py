"""The words of the quickstart's grammar, in English and German: data and two look-ups.

A role says where a noun may stand ("food" can be eaten) and which adjectives suit it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Noun:
    en: str
    de: str
    gender: str  # of the German word: "m", "f" or "n"
    roles: str
    de_plural: str = ""  # empty: used in the singular only
    en_plural: str = ""  # empty: the singular with an s
    pronoun: str = "it"  # in English; in German it follows the grammatical gender
    weak: bool = False  # der Junge, den Jungen: -n or -en in every case but the nominative
    mass: bool = False  # without an article: "hot tea"
    at: tuple[str, str] = ("", "")  # for a place: in the park, on the beach


@dataclass(frozen=True)
class Adjective:
    en: str
    de: str  # the stem, to which endings are added
    roles: str
    predicate: str = ""  # if it differs from the stem: ein müder Mann, der Mann ist müde


@dataclass(frozen=True)
class Slot:
    """An argument of a verb: possible prepositions ("" = bare object), German case, roles."""

    case: str
    roles: str
    prepositions: tuple[tuple[str, str], ...] = (("", ""),)


@dataclass(frozen=True)
class Verb:
    en: tuple[str, str, str]  # put on, putting on, put on
    de: tuple[str, str, str]  # ziehen, zieht, angezogen; third person plural = infinitive
    subjects: str
    slots: tuple[Slot, ...] = ()
    prefix: str = ""  # separable: zieht ... an
    auxiliary: str = "haben"  # of the perfect: hat gelesen, ist gelaufen
    tenses: str = "present perfect can want must"
    place: bool = True  # whether "in the park" may be added


@dataclass(frozen=True)
class Adverb:
    en: str
    de: str


# fmt: off
NOUNS = (
    Noun("man", "Mann", "m", "person adult", "Männer", "men", pronoun="he"),
    Noun("woman", "Frau", "f", "person adult", "Frauen", "women", pronoun="she"),
    Noun("boy", "Junge", "m", "person young", "Jungen", pronoun="he", weak=True),
    Noun("girl", "Mädchen", "n", "person young", "Mädchen", pronoun="she"),
    Noun("child", "Kind", "n", "person young", "Kinder", "children"),
    Noun("lady", "Dame", "f", "person adult", "Damen", "ladies", pronoun="she"),
    Noun("worker", "Arbeiter", "m", "person adult", "Arbeiter", pronoun="he"),
    Noun("tourist", "Tourist", "m", "person adult", "Touristen", pronoun="he", weak=True),
    Noun("dog", "Hund", "m", "animal pet", "Hunde"),
    Noun("cat", "Katze", "f", "animal pet", "Katzen"),
    Noun("horse", "Pferd", "n", "animal mount", "Pferde"),
    Noun("bird", "Vogel", "m", "animal pet", "Vögel"),
    Noun("duck", "Ente", "f", "animal pet", "Enten"),
    Noun("monkey", "Affe", "m", "animal pet", "Affen", weak=True),
    Noun("pig", "Schwein", "n", "animal", "Schweine"),
    Noun("donkey", "Esel", "m", "animal mount", "Esel"),
    Noun("coat", "Mantel", "m", "clothing", "Mäntel"),
    Noun("sweater", "Pullover", "m", "clothing", "Pullover"),
    Noun("shirt", "Hemd", "n", "clothing", "Hemden"),
    Noun("costume", "Kostüm", "n", "clothing", "Kostüme"),
    Noun("jacket", "Jacke", "f", "clothing", "Jacken"),
    Noun("uniform", "Uniform", "f", "clothing", "Uniformen"),
    Noun("hat", "Hut", "m", "headwear", "Hüte"),
    Noun("helmet", "Helm", "m", "headwear", "Helme"),
    Noun("cap", "Mütze", "f", "headwear", "Mützen"),
    Noun("bag", "Tasche", "f", "luggage", "Taschen"),
    Noun("suitcase", "Koffer", "m", "luggage", "Koffer"),
    Noun("package", "Paket", "n", "luggage", "Pakete"),
    Noun("ball", "Ball", "m", "toy", "Bälle"),
    Noun("balloon", "Luftballon", "m", "toy", "Luftballons"),
    Noun("doll", "Puppe", "f", "toy", "Puppen"),
    Noun("toy", "Spielzeug", "n", "toy", "Spielzeuge"),
    Noun("apple", "Apfel", "m", "food", "Äpfel"),
    Noun("cake", "Kuchen", "m", "food", "Kuchen"),
    Noun("banana", "Banane", "f", "food", "Bananen"),
    Noun("egg", "Ei", "n", "food", "Eier"),
    Noun("coffee", "Kaffee", "m", "drink", mass=True),
    Noun("juice", "Saft", "m", "drink", mass=True),
    Noun("milk", "Milch", "f", "drink", mass=True),
    Noun("water", "Wasser", "n", "drink", mass=True),
    Noun("letter", "Brief", "m", "reading", "Briefe"),
    Noun("newspaper", "Zeitung", "f", "reading", "Zeitungen"),
    Noun("book", "Buch", "n", "reading", "Bücher"),
    Noun("guitar", "Gitarre", "f", "instrument"),
    Noun("violin", "Geige", "f", "instrument"),
    Noun("piano", "Klavier", "n", "instrument"),
    Noun("bus", "Bus", "m", "vehicle"),
    Noun("train", "Zug", "m", "vehicle"),
    Noun("tram", "Straßenbahn", "f", "vehicle"),
    Noun("taxi", "Taxi", "n", "vehicle"),
    Noun("scooter", "Roller", "m", "bike"),
    Noun("bicycle", "Fahrrad", "n", "bike"),
    Noun("skateboard", "Skateboard", "n", "bike"),
    Noun("chair", "Stuhl", "m", "seat"),
    Noun("bench", "Bank", "f", "seat cover"),
    Noun("wall", "Mauer", "f", "seat landmark"),
    Noun("sofa", "Sofa", "n", "seat"),
    Noun("bed", "Bett", "n", "seat surface cover"),
    Noun("table", "Tisch", "m", "seat surface landmark cover"),
    Noun("shelf", "Regal", "n", "surface"),
    Noun("tree", "Baum", "m", "landmark cover shade"),
    Noun("fountain", "Brunnen", "m", "landmark"),
    Noun("statue", "Statue", "f", "landmark"),
    Noun("house", "Haus", "n", "landmark"),
    Noun("car", "Auto", "n", "landmark"),
    Noun("door", "Tür", "f", "opening", "Türen"),
    Noun("window", "Fenster", "n", "opening", "Fenster"),
    Noun("plate", "Teller", "m", "vessel", "Teller"),
    Noun("cup", "Tasse", "f", "vessel", "Tassen"),
    Noun("glass", "Glas", "n", "vessel", "Gläser", "glasses"),
    Noun("park", "Park", "m", "place open goal", at=("in", "in")),
    Noun("garden", "Garten", "m", "place open goal", at=("in", "in")),
    Noun("forest", "Wald", "m", "place open", at=("in", "in")),
    Noun("kitchen", "Küche", "f", "place room", at=("in", "in")),
    Noun("school", "Schule", "f", "place room goal", at=("in", "in")),
    Noun("museum", "Museum", "n", "place room goal", at=("in", "in")),
    Noun("restaurant", "Restaurant", "n", "place room goal", at=("in", "in")),
    Noun("street", "Straße", "f", "place", at=("on", "auf")),
    Noun("bridge", "Brücke", "f", "place goal cover shade", at=("on", "auf")),
    Noun("playground", "Spielplatz", "m", "place goal", at=("on", "auf")),
    Noun("market", "Markt", "m", "place goal", at=("at", "auf")),
    Noun("station", "Bahnhof", "m", "place goal", at=("at", "an")),
    Noun("beach", "Strand", "m", "place", at=("on", "an")),
    Noun("lake", "See", "m", "place waters", at=("at", "an")),
    Noun("river", "Fluss", "m", "place waters", at=("by", "an")),
    Noun("sea", "Meer", "n", "waters"),
)

_THINGS = "clothing headwear luggage toy bike seat vessel"
ADJECTIVES = (
    Adjective("young", "jung", "adult animal"),
    Adjective("old", "alt", "adult animal landmark luggage reading instrument bike place seat"),
    Adjective("tall", "groß", "person"),
    Adjective("small", "klein", "young animal luggage toy food place landmark surface instrument"),
    Adjective("big", "groß", "animal luggage toy food place landmark vessel surface opening"),
    Adjective("tired", "müd", "person animal", predicate="müde"),
    Adjective("hungry", "hungrig", "person animal"),
    Adjective("happy", "glücklich", "person"),
    Adjective("black", "schwarz", "animal vehicle " + _THINGS),
    Adjective("white", "weiß", "animal opening " + _THINGS),
    Adjective("brown", "braun", "animal opening instrument " + _THINGS),
    Adjective("red", "rot", "vehicle opening " + _THINGS),
    Adjective("green", "grün", "food opening vehicle " + _THINGS),
    Adjective("yellow", "gelb", "food vehicle " + _THINGS),
    Adjective("new", "neu", "reading instrument vehicle surface " + _THINGS),
    Adjective("heavy", "schwer", "luggage"),
    Adjective("long", "lang", "reading"),
    Adjective("warm", "warm", "clothing drink"),
    Adjective("cold", "kalt", "drink waters"),
    Adjective("fresh", "frisch", "food drink"),
    Adjective("quiet", "ruhig", "place waters"),
)

LIVING = "person animal"
HANDY = "person pet"
UNFINISHED = "present can want must"  # captions do not say "has stood behind a tree"
ON = (("on", "auf"),)
UNDER = (("under", "unter"),)
BESIDE = (("behind", "hinter"), ("in front of", "vor"), ("next to", "neben"))


def _object(roles: str, case: str = "acc") -> tuple[Slot, ...]:
    return (Slot(case, roles),)


VERBS = (
    Verb(("sleep", "sleeping", "slept"), ("schlafen", "schläft", "geschlafen"), LIVING),
    Verb(("dance", "dancing", "danced"), ("tanzen", "tanzt", "getanzt"), "person"),
    Verb(("laugh", "laughing", "laughed"), ("lachen", "lacht", "gelacht"), "person"),
    Verb(("work", "working", "worked"), ("arbeiten", "arbeitet", "gearbeitet"), "person"),
    # a plain accusative object
    Verb(("read", "reading", "read"), ("lesen", "liest", "gelesen"), "person", _object("reading")),
    Verb(("eat", "eating", "eaten"), ("essen", "isst", "gegessen"), "person", _object("food")),
    Verb(("eat", "eating", "eaten"), ("fressen", "frisst", "gefressen"), "animal", _object("food")),
    Verb(("drink", "drinking", "drunk"), ("trinken", "trinkt", "getrunken"), "person",
         _object("drink")),
    Verb(("buy", "buying", "bought"), ("kaufen", "kauft", "gekauft"), "person",
         _object("food clothing headwear toy reading luggage vessel")),
    Verb(("find", "finding", "found"), ("finden", "findet", "gefunden"), LIVING,
         _object("food toy headwear"), tenses="perfect can want must"),
    Verb(("carry", "carrying", "carried"), ("tragen", "trägt", "getragen"), "person",
         _object("luggage vessel")),
    Verb(("wear", "wearing", "worn"), ("tragen", "trägt", "getragen"), "person",
         _object("clothing headwear"), tenses=UNFINISHED),
    Verb(("wash", "washing", "washed"), ("waschen", "wäscht", "gewaschen"), "person",
         _object("clothing vessel mount")),
    Verb(("throw", "throwing", "thrown"), ("werfen", "wirft", "geworfen"), "person",
         _object("toy")),
    Verb(("watch", "watching", "watched"), ("beobachten", "beobachtet", "beobachtet"), LIVING,
         _object(LIVING)),
    # a separable prefix; which verb stands for "put on" depends on the object
    Verb(("put on", "putting on", "put on"), ("ziehen", "zieht", "angezogen"), "person",
         _object("clothing"), prefix="an"),
    Verb(("put on", "putting on", "put on"), ("setzen", "setzt", "aufgesetzt"), "person",
         _object("headwear"), prefix="auf"),
    Verb(("take off", "taking off", "taken off"), ("ziehen", "zieht", "ausgezogen"), "person",
         _object("clothing"), prefix="aus"),
    Verb(("take off", "taking off", "taken off"), ("nehmen", "nimmt", "abgenommen"), "person",
         _object("headwear"), prefix="ab"),
    Verb(("pick up", "picking up", "picked up"), ("heben", "hebt", "aufgehoben"), "person",
         _object("toy reading"), prefix="auf"),
    Verb(("open", "opening", "opened"), ("machen", "macht", "aufgemacht"), "person",
         _object("opening luggage"), prefix="auf", place=False),
    Verb(("close", "closing", "closed"), ("machen", "macht", "zugemacht"), "person",
         _object("opening luggage"), prefix="zu", place=False),
    Verb(("look", "looking", "looked"), ("sehen", "sieht", "angesehen"), LIVING,
         (Slot("acc", "animal landmark toy", (("at", ""),)),), prefix="an"),
    # a dative object
    Verb(("help", "helping", "helped"), ("helfen", "hilft", "geholfen"), "person",
         _object("person", "dat")),
    Verb(("follow", "following", "followed"), ("folgen", "folgt", "gefolgt"), LIVING,
         _object(LIVING, "dat"), auxiliary="sein"),
    Verb(("give", "giving", "given"), ("geben", "gibt", "gegeben"), "person",
         (Slot("dat", "person"), Slot("acc", "toy food reading"))),
    Verb(("show", "showing", "shown"), ("zeigen", "zeigt", "gezeigt"), "person",
         (Slot("dat", "person"), Slot("acc", "toy reading luggage"))),
    # the verb's own preposition decides the case
    Verb(("wait", "waiting", "waited"), ("warten", "wartet", "gewartet"), "person",
         (Slot("acc", "vehicle", (("for", "auf"),)),)),
    Verb(("talk", "talking", "talked"), ("sprechen", "spricht", "gesprochen"), "person",
         (Slot("dat", "person", (("with", "mit"),)),)),
    Verb(("play", "playing", "played"), ("spielen", "spielt", "gespielt"), LIVING,
         (Slot("dat", "toy", (("with", "mit"),)),)),
    Verb(("play", "playing", "played"), ("spielen", "spielt", "gespielt"), "person",
         (Slot("dat", "instrument", (("", "auf"),)),)),
    Verb(("ride", "riding", "ridden"), ("fahren", "fährt", "gefahren"), "person",
         (Slot("dat", "bike", (("", "mit"),)),), auxiliary="sein"),
    Verb(("ride", "riding", "ridden"), ("reiten", "reitet", "geritten"), "person",
         (Slot("dat", "mount", (("", "auf"),)),), auxiliary="sein"),
    # where something is: dative
    Verb(("sit", "sitting", "sat"), ("sitzen", "sitzt", "gesessen"), HANDY,
         (Slot("dat", "seat", ON),), tenses=UNFINISHED),
    Verb(("lie", "lying", "lain"), ("liegen", "liegt", "gelegen"), HANDY,
         (Slot("dat", "seat", ON),), tenses=UNFINISHED),
    Verb(("lie", "lying", "lain"), ("liegen", "liegt", "gelegen"), HANDY,
         (Slot("dat", "cover", UNDER),), tenses=UNFINISHED),
    Verb(("stand", "standing", "stood"), ("stehen", "steht", "gestanden"), LIVING,
         (Slot("dat", "landmark", BESIDE),), tenses=UNFINISHED),
    Verb(("swim", "swimming", "swum"), ("schwimmen", "schwimmt", "geschwommen"), LIVING,
         (Slot("dat", "waters", (("in", "in"),)),), auxiliary="sein", place=False),
    # where something goes: accusative, after the same prepositions
    Verb(("jump", "jumping", "jumped"), ("springen", "springt", "gesprungen"), HANDY,
         (Slot("acc", "seat", (("on", "auf"), ("over", "über"))),), auxiliary="sein", place=False),
    Verb(("climb", "climbing", "climbed"), ("klettern", "klettert", "geklettert"), HANDY,
         (Slot("acc", "seat", ON),), auxiliary="sein", place=False),
    Verb(("run", "running", "run"), ("laufen", "läuft", "gelaufen"), LIVING,
         (Slot("acc", "landmark", (*BESIDE, ("around", "um"))),), auxiliary="sein", place=False),
    Verb(("run", "running", "run"), ("laufen", "läuft", "gelaufen"), LIVING,
         (Slot("acc", "cover", UNDER),), auxiliary="sein", place=False),
    Verb(("run", "running", "run"), ("laufen", "läuft", "gelaufen"), LIVING,
         (Slot("acc", "open room", (("into", "in"), ("through", "durch"))),), auxiliary="sein",
         place=False),
    Verb(("walk", "walking", "walked"), ("gehen", "geht", "gegangen"), "person",
         (Slot("dat", "goal", (("to", "zu"),)),), auxiliary="sein", place=False),
    Verb(("come", "coming", "come"), ("kommen", "kommt", "gekommen"), HANDY,
         (Slot("dat", "open room", (("out of", "aus"),)),), auxiliary="sein", place=False),
    Verb(("put", "putting", "put"), ("stellen", "stellt", "gestellt"), "person",
         (Slot("acc", "vessel"), Slot("acc", "surface", ON)), place=False),
    Verb(("put", "putting", "put"), ("legen", "legt", "gelegt"), "person",
         (Slot("acc", "reading"), Slot("acc", "surface", ON)), place=False),
)

# "there is a car behind the house": in German a car "stands" there, and a book "lies"
STANDS = Verb(("be", "", ""), ("stehen", "steht", "gestanden"), "landmark vessel",
              (Slot("dat", "landmark", BESIDE),))
LIES = Verb(("be", "", ""), ("liegen", "liegt", "gelegen"), "reading toy",
            (Slot("dat", "surface", ON),))

# fmt: on
TIMES = (
    Adverb("today", "heute"),
    Adverb("in the morning", "am Morgen"),
    Adverb("in the evening", "am Abend"),
    Adverb("at night", "in der Nacht"),
    Adverb("on Sunday", "am Sonntag"),
)


@cache
def nouns_for(roles: str) -> tuple[Noun, ...]:
    """The nouns with at least one of these roles, in the order of the table."""
    wanted = roles.split()
    return tuple(noun for noun in NOUNS if any(role in noun.roles.split() for role in wanted))


@cache
def adjectives_for(noun: Noun) -> tuple[Adjective, ...]:
    """The adjectives that suit a noun, in the order of the table."""
    roles = noun.roles.split()
    return tuple(adj for adj in ADJECTIVES if any(role in adj.roles.split() for role in roles))
