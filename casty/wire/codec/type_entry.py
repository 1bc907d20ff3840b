"""Knowledge of the codec about one type of message."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from casty.errors import CastyError, DecodeError, EncodeError, ProtocolError
from casty.schema.names import printable
from casty.schema.types import Form
from casty.wire.codec.hook import Hook, TypeMismatch, locate
from casty.wire.limits import ARRAY, MAP, TUPLE

INT_MIN, INT_MAX = -(2**63), 2**64 - 1
KEY_SHOWN_MAX = 40


@dataclass(slots=True, eq=False)
class TypeEntry:
    """One type of message: its name and its hooks, bounded where values nest without end."""

    name: str
    form: Form
    encode: Hook
    decode: Hook
    defaults_max: int
    """Values that one record in a message makes by itself, at most: of fields that were left out, or never travel."""
    promised: tuple[object, ...] = ()
    """Types of the replies that it asks for."""
    is_large: bool = False
    """Whether the last message of the type was large."""

    def encode_fault(self, message: object, error: Exception) -> Exception:
        """Return what to raise where ``encode``, or msgpack, has raised ``error`` for a message."""
        if not isinstance(error, (CastyError, TypeMismatch)):
            with suppress(Exception):
                error = unwritable(self.encode(message)) or error
        return error if isinstance(error, CastyError) else EncodeError(self._explain(error))

    def decode_fault(self, error: Exception) -> ProtocolError:
        """Return what to raise where ``decode`` has raised ``error`` for decoded msgpack."""
        return error if isinstance(error, ProtocolError) else DecodeError(self._explain(error))

    def _explain(self, error: Exception) -> str:
        if isinstance(error, TypeMismatch):
            return f"{self.name}{error.path}: {error}"
        if isinstance(error, RecursionError):
            return f"{self.name}: values in values, deeper than this process can follow them: send it in parts"
        return f"{self.name}: {error if isinstance(error, AttributeError) else type(error).__name__}"


def unwritable(raw: Any) -> TypeMismatch | None:
    """Return what msgpack cannot write in a value that hooks have made, with the way to it, or None."""
    if type(raw) is int and not INT_MIN <= raw <= INT_MAX:
        return TypeMismatch("int", raw, "an integer beyond 64 bits: send it as str or bytes")
    if type(raw) is str and any("\ud800" <= character <= "\udfff" for character in raw):
        return TypeMismatch("str", raw, "text with a lone surrogate is not valid Unicode")
    for part, value in _parts(raw):
        if (found := unwritable(value)) is not None:
            locate(found, part)
            return found
    return None


def _parts(raw: Any) -> list[tuple[str, Any]]:
    if type(raw) is MAP:
        shown = [f".{printable(str(key), KEY_SHOWN_MAX)}" for key in raw]
        return [("[key]", key) for key in raw] + list(zip(shown, raw.values(), strict=True))
    return [(f"[{number}]", value) for number, value in enumerate(raw)] if type(raw) in (ARRAY, TUPLE) else []
