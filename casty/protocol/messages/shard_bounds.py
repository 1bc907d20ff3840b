"""Bounds of the numbers in a peer's word on placement.

Owns the lead allowed to the number of a term over those known by the membership, and the bounds of everything used as
a size or an order. It does not know the effects of a message: an impossible one has none.

How it works: each term begun is told to the membership, and the first term of a member is at least a multiple of its
up number. So no true number is far ahead of these two. They do not grow by word on placement: a wrong number told again
and again comes no nearer to the end of all numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from casty.errors import DecodeError
from casty.protocol.messages.shard_rows import NUMBER_MAX, VERSION_BITS, VERSION_MAX, Moving, Row, Term, stamp
from casty.protocol.messages.sharding import (
    Enlist,
    Enlisted,
    EvenOut,
    HeldShard,
    KnownTable,
    Marker,
    Opened,
    PlacementMessage,
    Retired,
    TableDigest,
    TablePlaces,
    TableSlice,
    TermRefused,
    Yielded,
)

NUM_SHARDS_MAX: Final = 16_384
NUMBERS_PER_AGE: Final = 256
"""Lowest number of a term, for each up_number: a younger coordinator's are higher, whatever it has heard."""
KEYS_MAX: Final = 1_024
"""Tables at a node, and keys with an unfinished slice; news of further ones is dropped."""
LEAD_MAX: Final = 2**12
"""Lead allowed to the number of a term over those told by the membership: that of so many terms begun by runs that have
ended before their membership told of it. A wrong one costs no more than that of all numbers."""
HELD_MAX: Final = 2**18
"""Shards of all keys at one node: it opens no further ones, and nobody's report of more counts."""
UNFINISHED_ROWS_MAX: Final = 2**17
"""Rows in all slices with missing parts: beyond, those that came first are forgotten."""


def number_of_age(up_number: int) -> int:
    """Return the lowest number of a term of a member; 0 for an up number as high as no true one, which ages nobody."""
    number = NUMBERS_PER_AGE * up_number
    return number if number <= NUMBER_MAX // 2 else 0


def highest_number(terms_given: int, up_numbers_given: int) -> int:
    """Return the highest number possible for a term, by the membership."""
    return min(max(terms_given, number_of_age(up_numbers_given)) + LEAD_MAX, NUMBER_MAX)


def check_numbers(message: PlacementMessage, most: int) -> None:
    """Raise DecodeError for a message with an impossible number; ``most`` is the highest possible one of a term."""
    match message:
        case Enlist(term) | TableSlice(term=term) | Retired(term):
            _check_terms((term,), most)
        case TermRefused(term, promised):
            _check_terms((term, promised), most)
        case TableDigest(highest):
            _check_terms((Term(highest),), most)
        case TablePlaces(tables):
            _check_places(tables, most)
        case Enlisted(term, held, tables):
            _check_terms((term,), most)
            _check_places(tables, term.number)
            if not all(is_held_before(one, Term(term.number + 1)) for one in held):  # said again, it tells of the term
                raise DecodeError(f"placement: a shard is held under an epoch or a move of a later term than {term}")
        case Opened() | Yielded() | Marker() | EvenOut():
            pass  # epochs and moves, each compared with that of a row
        case _ as never:
            assert_never(never)


def _check_terms(terms: Sequence[Term], most: int) -> None:
    for term in terms:
        if not 0 <= term.number <= most:
            raise DecodeError(f"placement: expected the number of a term up to {most}, got {term.number}")


def _check_places(tables: Sequence[KnownTable], most: int) -> None:
    _check_terms([known.term for known in tables], most)
    for known in tables:
        if not 1 <= known.num_shards <= NUM_SHARDS_MAX or not 0 <= known.version <= VERSION_MAX:
            raise DecodeError(
                f"placement: expected a table of 1 to {NUM_SHARDS_MAX} shards and versions up to {VERSION_MAX}, "
                f"got {known.num_shards} and {known.version}"
            )


def is_held_before(held: HeldShard, term: Term) -> bool:
    """Whether a shard can be held since before a term."""
    first = term.number << VERSION_BITS
    return 0 <= held.epoch < first and 0 <= (held.move or 0) < first


def is_sound(news: TableSlice) -> bool:
    """Whether a slice keeps the bounds of a table: no coordinator has made any other."""
    numbers = 0 <= news.term.number <= NUMBER_MAX and 0 <= news.after < news.upto <= VERSION_MAX
    parts = 0 <= news.part < news.parts <= news.num_shards and 1 <= news.num_shards <= NUM_SHARDS_MAX
    if not numbers or not parts:
        return False
    last = stamp(news.term, news.upto)
    return all(0 <= shard < news.num_shards and _is_past(row, last) for shard, row in news.rows)


def _is_past(row: Row | None, last: int) -> bool:
    """Whether no number of a row is above that of the slice: an owner that obeyed one would take no true one again."""
    move = row.move if isinstance(row, Moving) else 0
    return row is None or (0 <= row.epoch <= last and 0 <= move <= last)
