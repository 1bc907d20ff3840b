"""What the codec knows of one type of message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from casty.errors import CastyError, DecodeError, EncodeError, ProtocolError
from casty.schema.types import Form
from casty.wire.codec.hook import Hook, TypeMismatch


@dataclass(slots=True, eq=False)
class TypeEntry:
    """One type of message: its name and its hooks, bounded where values nest without end."""

    name: str
    form: Form
    encode: Hook
    decode: Hook
    defaults_max: int
    """Values that one record in a message makes by itself, at most: of fields that were left out, or never travel."""
    encode_checked: Callable[[object], object]
    """Writes a message as ``encode`` does, and also refuses what msgpack would refuse, with the way to it."""
    is_large: bool = False
    """Whether the last message of the type was large."""

    def encode_fault(self, message: object, error: Exception) -> Exception:
        """Return what to raise where ``encode``, or msgpack, has raised ``error`` for a message."""
        if not isinstance(error, (CastyError, TypeMismatch)):
            try:
                self.encode_checked(message)
            except (TypeMismatch, CastyError, RecursionError) as found:
                error = found
        return error if isinstance(error, CastyError) else EncodeError(self._explain(error))

    def decode_fault(self, error: Exception) -> ProtocolError:
        """Return what to raise where ``decode`` has raised ``error`` for decoded msgpack."""
        return error if isinstance(error, ProtocolError) else DecodeError(self._explain(error))

    def _explain(self, error: Exception) -> str:
        if isinstance(error, TypeMismatch):
            return f"{self.name}{error.path}: {error}"
        if isinstance(error, RecursionError):
            return f"{self.name}: values in values, deeper than this process can follow them: send it in parts"
        return f"{self.name}: {type(error).__name__}"
