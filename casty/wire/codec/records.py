"""Hooks of dataclasses and attrs classes: a map by field name.

A strict class takes exactly its fields: as many keys as fields, and every field present, which leaves
no room for a foreign one. A tolerant class ignores keys it does not know.
"""

from __future__ import annotations

from typing import Any

from casty.schema.names import printable
from casty.wire.codec.generated import FieldHooks
from casty.wire.codec.hook import TypeMismatch, locate
from casty.wire.limits import MAP

NAMES_SHOWN_MAX = 2
NAME_SHOWN_MAX = 40
"""Of the fields of a peer that are unknown here, so that a line of the log has room for the rest."""


class RecordFaults:
    """What is said of values that are no record, or whose fields are not as they should be."""

    __slots__ = ("_fields", "_label", "_tolerant")

    def __init__(self, label: str, fields: list[FieldHooks], tolerant: bool) -> None:
        self._label = label
        self._fields = fields
        self._tolerant = tolerant

    def refuse(self, value: Any) -> TypeMismatch:
        """Return what to raise for a value that is no instance of the class."""
        return TypeMismatch(self._label, value)

    def explain(self, _: Any, error: Exception, field: str) -> None:
        """Name the field in which a value was refused; empty where it was in none."""
        if field:
            locate(error, f".{field}")

    def refuse_raw(self, raw: Any) -> TypeMismatch:
        """Return what to raise for what is no map of the class."""
        return TypeMismatch(self._label, raw, self._fault_of(raw) if type(raw) is MAP else "")

    def explain_raw(self, raw: Any, error: Exception, field: str) -> None:
        """Raise what a peer is told, unless ``error`` is that already or says that memory is short."""
        if isinstance(error, (TypeMismatch, MemoryError)):
            self.explain(raw, error, field)
            return
        if isinstance(error, KeyError):
            raise TypeMismatch(self._label, raw, self._fault_of(raw) or f"{self._label} refuses: {error!r}") from None
        # A class may raise anything in its own checks; that is its answer to the peer.
        raise TypeMismatch(self._label, raw, f"{self._label} refuses the values: {type(error).__name__}") from error

    def _fault_of(self, raw: Any) -> str:
        missing = [one.name for one in self._fields if one.name not in raw and not one.is_optional]
        if missing:
            return f"{self._label} lacks the field {missing[0]!r}"
        known = {one.name for one in self._fields}
        extra = [key for key in raw if key not in known]
        return "" if self._tolerant or not extra else f"{self._label} {_unknown(extra)}"


def _unknown(extra: list[Any]) -> str:
    """Say which fields of a peer this node does not know, and what lets a class grow."""
    named = ", ".join(repr(printable(str(key), NAME_SHOWN_MAX)) for key in extra[:NAMES_SHOWN_MAX])
    more = f" and {len(extra) - NAMES_SHOWN_MAX} more" if len(extra) > NAMES_SHOWN_MAX else ""
    return f"has the unknown field {named}{more}: declare the class tolerant=True before a release adds fields"
