"""Looks at histories: the choice of stores for them.

Owns the question whether a store's `history` says the same as its `read` and `load`. It does not know entities.
"""

from __future__ import annotations

from inspect import getattr_static

from casty.journal import HistoryStore

_FAR = 1 << 30
"""Distance of a class that is not there."""


def histories_of(journal: object) -> HistoryStore | None:
    """Return a journal as a store of histories; None where entities start from `read` and `load`.

    A class derived from a store may show other events than that, such as unsealed ones, by a `read` of its own: the
    inherited `history` passes it over, and a wrong state would be the silent outcome. So `history` has to be of the
    class of the other two or of one derived from it, and never that of an object behind a wrapper's `__getattr__`.
    """
    return journal if isinstance(journal, HistoryStore) and is_newest(journal, "history", "read", "load") else None


def is_newest(journal: object, name: str, *others: str) -> bool:
    """Return whether a method is of the class of some others, or of one derived from it."""
    place = _distance(journal, name)
    return 0 <= place < _FAR and place <= min(_distance(journal, other) for other in others)


def _distance(journal: object, name: str) -> int:
    """Return how many classes derive from the one with a method of an object; -1 where it is the object's own."""
    kind = type(journal)
    if getattr_static(journal, name, None) is not getattr_static(kind, name, None):
        return -1
    return next((place for place, base in enumerate(kind.__mro__) if name in vars(base)), _FAR)
