"""Numbers beyond the guess of anybody outside of the process: only the asked one can answer an ask."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from random import Random
from typing import Final

TOKENS_AT_ONCE: Final = 512
"""Tokens made of one read of entropy: a system call for each would be a tenth of an ask."""

UNPACK: Final = struct.Struct(f"{TOKENS_AT_ONCE}Q").unpack


class Tokens:
    """Random numbers of 64 bits, none of them 0. A ``seed`` makes them repeatable, and so guessable."""

    __slots__ = ("_bytes", "_ready")

    def __init__(self, seed: int | None = None) -> None:
        self._bytes: Callable[[int], bytes] = os.urandom if seed is None else Random(seed).randbytes
        self._ready: list[int] = []

    def take(self) -> int:
        """Return the next number."""
        if not self._ready:
            self._ready.extend(UNPACK(self._bytes(8 * TOKENS_AT_ONCE)))
        return self._ready.pop() or 1
