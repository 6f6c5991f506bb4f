"""base-en, last part: answers learn to doubt questions that nearly fit a text.

Data     That of base_en_questions.
Terms    As in base_en.
How      Answers' own five layers go on; no other weight changes. Two thirds of the questions are
         asked once more with one thing changed so that their paragraph, which has nearly all of
         their words, no longer answers them, in the ways that people changed SQuAD 2.0's
         (Rajpurkar et al. 2018, table 1): another name, number or word of the same kind, if
         possible one of the paragraph's own, an opposite, a negation, a condition that is not
         met. Words are of a kind by the lists below, or where base-en's vectors of them are close.
Run      nlpkit train base_en_doubts --from base-en-15 --output base-en-16
Score    see the bundle's card
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np

import nlpkit
from nlpkit.readers import QAExample, read_squad
from nlpkit.training.recipe import Recipe, load_recipe_module

before_this = load_recipe_module("base_en_questions")
qa = before_this.base.qa

#: How often a question is asked once more where it has no answer, by the way this is done.
UNANSWERABLE = {"elsewhere": 0.03, "near": 0.1, "cut": 0.1, "turned": 0.65}
#: How often a change is taken where it is possible, against the others that are.
WEIGHTS = {
    "name": 3, "number": 2, "kind": 3, "opposite": 3, "alike": 3, "negation": 1, "condition": 0.5
}  # fmt: skip
#: Words are alike from here on, and mean the same from there on.
ALIKE, SAME = 0.35, 0.65
#: A word is alike some of the paragraph's, or of this many of all words.
N_ALIKE = 3, 15
#: How often a word has to stand in questions to be one of all words.
KNOWN_FROM = 4

#: Words that exclude each other where one stands for the other.
KINDS = tuple(
    tuple(line.split())
    for line in """
    first second third fourth fifth sixth last final
    two three four five six seven eight nine ten
    monday tuesday wednesday thursday friday saturday sunday
    january february march april june july august september october november december
    spring summer autumn winter
    morning afternoon evening night noon midnight
    hour day week month year decade century
    hours days weeks months years decades centuries
    miles kilometers meters feet inches acres
    percent dollars pounds euros
    north south east west
    northern southern eastern western central
    northeast northwest southeast southwest
    red blue green yellow black white brown purple orange pink grey silver gold
    english french german spanish italian russian chinese japanese greek latin arabic dutch polish
    british american canadian australian indian african european asian
    christian muslim jewish hindu buddhist catholic protestant orthodox
    king queen prince princess emperor duke pope president minister governor mayor
    general captain colonel admiral soldier
    father mother brother sister son daughter uncle aunt wife husband cousin
    man woman boy girl child
    men women boys girls children adults
    teacher student professor pupil scientist engineer doctor nurse lawyer judge
    poet painter singer actor director producer composer
    city country state province county village district continent island river lake mountain
    cities countries states provinces counties villages districts islands rivers lakes mountains
    school university college hospital museum church temple library theater stadium
    book film album song play poem novel magazine newspaper painting
    car bus train plane ship bicycle truck
    war battle treaty election revolution siege
    army navy police government parliament court senate
    war peace
    team player coach referee fan
    football baseball basketball hockey tennis soccer
    gold silver bronze copper iron steel tin lead
    wood stone brick glass metal plastic paper
    wheat rice corn cotton sugar tobacco
    beef pork chicken fish cheese bread
    breakfast lunch dinner
    cat dog horse cow sheep pig bird
    dogs cats horses cows sheep pigs birds
    head arm leg hand foot eye ear heart brain
    water air fire earth
    oxygen hydrogen nitrogen carbon helium
    solid liquid gas
    physics chemistry biology mathematics medicine history philosophy
    size color shape weight speed price height length depth width age
    population area temperature income
    name birthplace profession nickname
    founded destroyed renamed sold rebuilt
    invented discovered rejected copied
    written translated published banned
    designed demolished
    all some none
    before during after
    inside outside
    """.strip().splitlines()
)
#: Further opposites, beside those of qa.
OPPOSITES = {
    one: other
    for line in """
    accept reject, accepted rejected, active inactive, add remove, added removed, ally enemy,
    allies enemies, allow forbid, allows forbids, ancient modern, attack defend, attacked
    defended, approve oppose, approved opposed, benefit harm, build destroy, built destroyed,
    buy sell, bought sold, cause prevent, causes prevents, caused prevented, cheap expensive,
    clean dirty, closed opened, cold hot, common rare, complex simple, create destroy, created
    destroyed, dark light, dead alive, decline growth, deep shallow, die live, died lived,
    disagree agree, dry wet, early late, earlier later, empty full, export import, exported
    imported, fail succeed, failed succeeded, fast slow, faster slower, few many, fewer more,
    fewest most, free captive, friend enemy, gain lose, gained lost, give receive, gave
    received, greater smaller, greatest least, guilty innocent, hard soft, heavy light, help
    hinder, helped hindered, high low, higher lower, hire fire, hired fired, increased
    decreased, increasing decreasing, internal external, largest smallest, larger smaller, legal
    illegal, local foreign, longest shortest, longer shorter, main minor, major minor, natural
    artificial, near far, newer older, newest oldest, open close, permanent temporary, positive
    negative, possible impossible, powerful weak, private public, present absent, protect
    endanger, raise lower, raised lowered, remember forget, rich poor, rise fall, rose fell,
    rural urban, safe dangerous, strong weak, stronger weaker, strongest weakest, support
    oppose, supported opposed, supports opposes, tall short, taller shorter, thick thin, true
    false, useful useless, visible invisible, wide narrow, worse better, young old, younger
    older, youngest oldest, start stop, begins ends, became remained, increases decreases
    """.replace("\n", " ").split(",")
    for pair in [line.split()]
    for one, other in (pair, pair[::-1])
}
#: Words that say little of what is asked.
COMMON = frozenset(
    word
    for line in """
    about after also been before being both could does doing done from have having here into
    just like made make many more most much must name only other over same should some such than
    that their them then there these they this those through time type used very were what when
    where which while will with would your kind called during between because according whose
    whom person people thing things long each did
    """.splitlines()
    for word in line.split()
)
WORD = re.compile(r"[A-Za-z][a-z]{3,}")
#: A question's other form, or None where it can't be made.
Way = Callable[[QAExample, random.Random], QAExample | None]
PLACED = re.compile(rf"(\w+) ({qa.NAME.pattern})")


def examples(rng: random.Random) -> Sequence[QAExample]:
    """Those of base_en_questions, more of them unanswerable, and these harder to tell."""
    made: Sequence[QAExample] = before_this.examples(
        rng, unanswerable=UNANSWERABLE, more_ways=turning
    )
    return made


def turning(known: Sequence[QAExample]) -> dict[str, Way]:
    """The way to ask one of these questions with one thing changed."""
    names: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for title, context in dict.fromkeys((example.title, example.context) for example in known):
        names[title] += PLACED.findall(context)
    return {"turned": lambda e, rng: turned(e, rng, names[e.title])}


def turned(
    example: QAExample, rng: random.Random, names: Sequence[tuple[str, str]]
) -> QAExample | None:
    """The question with one thing changed; ``names`` of its article, each after the word before."""
    made = {way: text for way, text in changes(example, rng, names).items() if text is not None}
    if not made:
        return None
    (way,) = rng.choices([*made], [WEIGHTS[way] for way in made])
    return replace(example, question=made[way], answers=())


def changes(
    example: QAExample, rng: random.Random, names: Sequence[tuple[str, str]]
) -> dict[str, str | None]:
    """The question changed in each way, None where it can't be."""
    question, context = example.question, example.context
    return {
        "name": _other_name(question, rng, PLACED.findall(context), names),
        "number": _other_number(question, rng, context),
        "kind": _of_kind(question, rng),
        "opposite": _opposite(question),
        "alike": _alike(question, rng, context),
        "negation": _negated(question, rng),
        "condition": _on_condition(question, rng, context, names),
    }


def _other_name(
    question: str,
    rng: random.Random,
    near: Sequence[tuple[str, str]],
    far: Sequence[tuple[str, str]],
) -> str | None:
    """Another name for one: most often of the paragraph, if possible after the same word."""
    found = list(qa.NAME.finditer(question))
    if not found:
        return None
    match = rng.choice(found)
    *_, before = question[: match.start()].split() or [""]
    for places in (near, far) if rng.random() < 0.8 else (far,):
        others = [(word, name) for word, name in places if name not in question]
        like = [name for word, name in others if word == before]
        if others:
            name = rng.choice(like or [name for _, name in others])
            return question[: match.start()] + name + question[match.end() :]
    return None


def _other_number(question: str, rng: random.Random, context: str) -> str | None:
    """Another number for the first: if possible one of the paragraph's of the same form."""
    number: re.Pattern[str] = qa.NUMBER
    match = number.search(question)
    if match is None:
        return None
    form = re.sub(r"\d", "0", match.group())
    others: list[str] = [n for n in number.findall(context) if n not in question]
    like = [n for n in others if re.sub(r"\d", "0", n) == form]
    if not like:
        changed: str | None = qa._with_other_number(question, rng)
        return changed
    return question[: match.start()] + rng.choice(like) + question[match.end() :]


def _of_kind(question: str, rng: random.Random) -> str | None:
    """A word for another of the same list."""
    kinds = _kinds()
    found = [m for m in re.finditer(r"[A-Za-z]+", question) if m.start() and m[0].lower() in kinds]
    if not found:
        return None
    match = rng.choice(found)
    words = rng.choice(kinds[match[0].lower()])
    lowered = question.lower()
    others = [word for word in words if not re.search(rf"\b{word}", lowered)]
    return _with(question, match, rng.choice(others)) if others else None


@cache
def _kinds() -> dict[str, list[tuple[str, ...]]]:
    kinds = defaultdict(list)
    for words in KINDS:
        for word in words:
            kinds[word].append(words)
    return dict(kinds)


def _opposite(question: str) -> str | None:
    pairs: dict[str, str] = {**qa.OPPOSITES, **OPPOSITES}
    for match in re.finditer(r"[A-Za-z]+", question):
        if match.start() and (other := pairs.get(match[0].lower())):
            return _with(question, match, other)
    return None


def _alike(question: str, rng: random.Random, context: str) -> str | None:
    """A word of the question that the paragraph has, for one that is like it and is not it."""
    lowered = context.lower()
    known, _ = _vocabulary()
    words = [m for m in WORD.finditer(question) if m[0] in known and m[0][:5] in lowered]
    if not words:
        return None
    match = rng.choice(words)
    word = match[0]
    *_, before = question[: match.start()].lower().split() or [""]
    inside = {*WORD.findall(context)}
    here, anywhere = N_ALIKE
    close = [w for w in _closest(word) if (before, w) in _pairs() and w[:4] not in question]
    others = [w for w in close if w in inside][:here] if rng.random() < 0.6 else []
    others = others or [w for w in close if w[:5] not in lowered][:anywhere]
    return _with(question, match, rng.choice(others)) if others else None


@cache
def _closest(word: str) -> list[str]:
    """The words of like ending that are close to this one and do not mean the same."""
    places, vectors = _vocabulary()
    words = [*places]
    near = vectors @ vectors[places[word]]
    kept = [i for i in np.argsort(-near, kind="stable") if ALIKE <= near[i] < SAME]
    like = [words[i] for i in kept if words[i][:4] != word[:4]]
    return [one for one in like if _ending(one) == _ending(word)]


def _ending(word: str) -> str:
    ends = (end for end in ("ing", "ed", "ly", "s") if word[3:].endswith(end))
    return next(ends, "")


@cache
def _vocabulary() -> tuple[Mapping[str, int], np.ndarray]:
    """The words that often stand in questions, numbered, and base-en's vectors of them.

    They are in small letters, and none is of the common ones. *Shape:* (words, width).
    """
    counts: Counter[str] = Counter()
    for question in {example.question for example in _known()}:
        counts.update({w for w in WORD.findall(question) if w.islower()})
    words = sorted(w for w, n in counts.items() if n >= KNOWN_FROM and w not in COMMON)
    return {word: i for i, word in enumerate(words)}, nlpkit.load().embed(words)


@cache
def _pairs() -> frozenset[tuple[str, str]]:
    """All words that stand side by side somewhere, in small letters."""
    texts = {text for example in _known() for text in (example.question, example.context)}
    split = (re.findall(r"[\w'-]+", text.lower()) for text in texts)
    return frozenset(pair for words in split for pair in pairwise(words))


@cache
def _known() -> tuple[QAExample, ...]:
    every = (example for source in qa.SOURCES for example in read_squad(source.path()))
    return tuple(example for example in every if not qa.is_held_out(example))


def _negated(question: str, rng: random.Random) -> str | None:
    """With "not" behind the verb, or in it."""
    if rng.random() < 0.4:
        changed: str | None = qa._negated(question)
        return changed
    verb = r"\b(did|does|do|was|were|is|are|has|have|could|would)\b"
    made, n = re.subn(verb, r"\1n't", question, count=1)
    return made if n else None


def _on_condition(
    question: str, rng: random.Random, context: str, names: Sequence[tuple[str, str]]
) -> str | None:
    """The question, of a year or a place that the paragraph does not name."""
    if not question.rstrip().endswith("?") or " in " in question:
        return None
    places = [name for word, name in names if word == "in" and name not in context]
    where = rng.choice(places) if places and rng.random() < 0.6 else str(rng.randint(1700, 2015))
    return f"{question.rstrip()[:-1].rstrip()} in {where}?"


def _with(question: str, match: re.Match[str], word: str) -> str:
    shown = word.capitalize() if match[0][0].isupper() else word
    return question[: match.start()] + shown + question[match.end() :]


def recipe() -> Recipe:
    """The last part of base-en-16."""
    before: Recipe = before_this.recipe()
    tasks = {task.name: task for task in before.tasks}
    tasks["qa"] = replace(tasks["qa"], examples=examples, epochs=0.3)
    return replace(before, version=16, tasks=tuple(tasks.values()), evaluate_tokens=5_000_000)
