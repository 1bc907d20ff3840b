"""What the codec knows of one type of message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from casty.errors import CastyError, DecodeError, EncodeError, ProtocolError
from casty.schema.types import Form
from casty.wire.codec.compiler import is_recursive
from casty.wire.codec.defaults import defaults_in
from casty.wire.codec.hooks import Hook
from casty.wire.codec.shapes import TypeMismatch, WireType, find_fault
from casty.wire.envelope import FOREIGN
from casty.wire.limits import is_deeper_than


@dataclass(slots=True, eq=False)
class TypeEntry:
    """One type of message: its name, and its shape's hooks, bounded where values nest without end."""

    name: str
    form: Form
    shape: WireType
    nesting_max: int
    encode: Hook = field(init=False)
    decode: Hook = field(init=False)
    is_large: bool = False
    """Whether the last message of the type was large."""
    defaults_max: int = field(init=False)
    """Values that one record in a message makes by itself, at most: of fields that were left out, or never travel."""

    def __post_init__(self) -> None:
        self.defaults_max = defaults_in(self.shape)
        self.encode, self.decode = self.shape.hooks
        if is_recursive(self.shape):
            self.encode, self.decode = self._encode_bounded, self._decode_bounded

    def encode_fault(self, message: object, error: Exception) -> Exception:
        """Return what to raise where ``encode``, or msgpack, has raised ``error`` for a message."""
        return error if isinstance(error, CastyError) else EncodeError(self._explain(message, error, raw=False))

    def decode_fault(self, raw: object, error: Exception, *, is_brief: bool = False) -> ProtocolError:
        """Return what to raise where ``decode`` has raised ``error`` for decoded msgpack.

        ``is_brief``: without the way to the fault, for which the whole message is gone through once more.
        """
        if isinstance(error, ProtocolError):
            return error
        return DecodeError(self._brief(error) if is_brief else self._explain(raw, error, raw=True))

    def _explain(self, value: object, error: Exception, *, raw: bool) -> str:
        try:
            found = find_fault(self.shape, value, self.name, raw=raw)
        except (TypeMismatch, *FOREIGN):
            found = None
        return found or self._brief(error)

    def _brief(self, error: Exception) -> str:
        if isinstance(error, RecursionError):
            return f"{self.name}: values in values, deeper than this process can follow them: send it in parts"
        return f"{self.name}: {error if isinstance(error, TypeMismatch) else type(error).__name__}"

    def _encode_bounded(self, value: Any) -> Any:
        raw = self.shape.encode(value)
        if is_deeper_than(raw, self.nesting_max):
            raise EncodeError(f"{self.name}: nested deeper than {self.nesting_max}")
        return raw

    def _decode_bounded(self, raw: Any) -> Any:
        if is_deeper_than(raw, self.nesting_max):
            raise DecodeError(f"{self.name}: nested deeper than {self.nesting_max}")
        return self.shape.decode(raw)
