"""Counting words: the service offered by the nodes of ``casty demo``, and the count it is checked against.

A word is a run of letters, digits and underscores of at most `CHUNK_CHARACTERS_MAX` characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ServiceKey

CHUNK_CHARACTERS_MAX = 60_000
"""Half as many words fit into a chunk, so that an answer of all different words stays below the bound of 65,536 values
in a message.
"""

WORD = re.compile(r"\w+")


@casty.message("casty.demo.WordsCounted")
@dataclass(frozen=True, slots=True)
class WordsCounted:
    """Answer to `CountWords`: the number of occurrences of each word in one chunk."""

    chunk: int
    counts: dict[str, int]


@casty.message("casty.demo.CountWords")
@dataclass(frozen=True, slots=True)
class CountWords:
    """Ask for the words of one chunk of text."""

    chunk: int
    text: str
    reply_to: ActorRef[WordsCounted]


WORD_COUNTERS = ServiceKey[CountWords]("demo.word-counters")
"""Service key of the workers, looked up by the driver of the demo."""


def word_counter() -> Behavior[CountWords]:
    """Return the behaviour of a worker, found under `WORD_COUNTERS`."""
    return Behaviors.discoverable(Behaviors.receive(_count), key=WORD_COUNTERS)


async def _count(ctx: ActorContext[CountWords], message: CountWords) -> Behavior[CountWords]:
    message.reply_to.tell(WordsCounted(message.chunk, count_words(message.text)))
    return Behaviors.same()


def count_words(text: str) -> dict[str, int]:
    """Return how often each word occurs in a chunk.

    >>> count_words("to be or not to be")
    {'to': 2, 'be': 2, 'or': 1, 'not': 1}
    """
    return dict(Counter(WORD.findall(text)))


def count_alone(texts: Iterable[str]) -> Counter[str]:
    """Return the count over whole texts, with nothing of the cluster in it."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(WORD.findall(text))
    for word in [word for word in counts if len(word) > CHUNK_CHARACTERS_MAX]:
        del counts[word]
    return counts


def cut(text: str, size: int = CHUNK_CHARACTERS_MAX) -> Iterator[tuple[int, int]]:
    """Yield where each chunk of ``text`` starts and ends: at most ``size`` characters, never inside a word.

    A stretch longer than ``size`` is no word, and in no chunk.

    >>> [text[a:b] for text in ["one two three"] for a, b in cut(text, 8)]
    ['one two ', 'three']
    """
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text) and WORD.match(text, end) and WORD.match(text, end - 1):
            end = _start_of_word(text, start, end)
        if end == start:
            start = _end_of_word(text, start + size)
            continue
        yield start, min(end, len(text))
        start = end


def _start_of_word(text: str, least: int, position: int) -> int:
    while position > least and WORD.match(text, position - 1):
        position -= 1
    return position


def _end_of_word(text: str, position: int) -> int:
    found = WORD.match(text, position)
    return position if found is None else found.end()
