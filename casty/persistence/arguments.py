"""Checks of the arguments of a store's calls, the same in every store: a bad one is a ValueError, and nothing is done.

A persistence id, a scope and a name are told from others by each of their characters: no store folds case, trims
spaces, or takes composed characters for their parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from casty.config.validation import check_at_least
from casty.journal import PERSISTENCE_ID_LENGTH_MAX, SLICES, Claim, Record

SCOPES_MAX: Final = 16_384
TAIL_MAX: Final = 10_000
HOLDER_LENGTH_MAX: Final = 64
VALUE_LENGTH_MAX: Final = 600
NUMBER_MAX: Final = 2**63 - 1
"""Largest number of an event or a revision in a database."""
VERSION_MAX: Final = 2**31 - 1
RECORD_NAME_LENGTH_MAX: Final = 600
PAYLOAD_BYTES_MAX: Final = 256 * 1024 * 1024
"""Bytes of one record: databases hold between 500 MiB and 1 GiB, and a record is in memory several times meanwhile."""


def check_text(name: str, value: object, length_max: int, *, least: int = 1) -> None:
    """Raise ValueError unless ``value`` is a text of bounded length, fit for every database."""
    if not isinstance(value, str) or not least <= len(value) <= length_max:
        found = f"{len(value)} characters" if isinstance(value, str) and len(value) > 80 else repr(value)
        raise ValueError(f"{name} must be a text of {least} to {length_max} characters, got {found}")
    if "\0" in value:
        raise ValueError(f"{name} must not have the character NUL, which some databases cannot keep, got {value!r}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name} must be text that has a form in UTF-8, got {value!a}: {error.reason}") from None


def check_persistence_id(value: object) -> None:
    """Raise ValueError unless ``value`` can be the id of something stored."""
    check_text("persistence_id", value, PERSISTENCE_ID_LENGTH_MAX)


def check_number(name: str, value: object, least: int) -> None:
    """Raise ValueError unless ``value`` is an int from ``least`` to the largest number in a store."""
    check_at_least(name, value, least)
    if isinstance(value, int) and value > NUMBER_MAX:
        raise ValueError(f"{name} must be at most {NUMBER_MAX}, got {value!r}")


def check_claim(claim: object) -> None:
    """Raise ValueError unless ``claim`` is a claim, whether void or not."""
    if not isinstance(claim, Claim):
        raise ValueError(f"claim must be a Claim, as `Journal.claim` returns it, got {claim!r}")


def check_scopes(scopes: Sequence[str], holder: object) -> None:
    """Raise ValueError unless the scopes can be claimed together."""
    if isinstance(scopes, str) or not 1 <= len(scopes) <= SCOPES_MAX:
        found = repr(scopes) if isinstance(scopes, str) else str(len(scopes))
        raise ValueError(f"scopes must be a list of 1 to {SCOPES_MAX} scopes, got {found}")
    for scope in scopes:
        check_text("a scope", scope, PERSISTENCE_ID_LENGTH_MAX)
    if len(set(scopes)) != len(scopes):
        twice = next(scope for place, scope in enumerate(scopes) if scope in scopes[:place])
        raise ValueError(f"scopes must be different, got {twice!r} twice")
    check_text("holder", holder, HOLDER_LENGTH_MAX, least=0)


def check_record(record: object) -> None:
    """Raise ValueError unless ``record`` can be stored."""
    if not isinstance(record, Record):
        raise ValueError(f"a record must be a Record, got {record!r}")
    check_text("Record.name", record.name, RECORD_NAME_LENGTH_MAX)
    check_text("Record.command_id", record.command_id, VALUE_LENGTH_MAX, least=0)
    check_at_least("Record.version", record.version, 1)
    if record.version > VERSION_MAX:
        raise ValueError(f"Record.version must be at most {VERSION_MAX}, got {record.version!r}")
    payload = cast("object", record.payload)
    if not isinstance(payload, bytes) or len(payload) > PAYLOAD_BYTES_MAX:
        found = f"{len(payload)} bytes" if isinstance(payload, bytes) else repr(payload)
        raise ValueError(f"Record.payload must be at most {PAYLOAD_BYTES_MAX} bytes, got {found}")


def check_append(claim: object, persistence_id: object, after: object, records: Sequence[object]) -> None:
    """Raise ValueError unless the records can be appended."""
    check_claim(claim)
    check_persistence_id(persistence_id)
    check_number("after", after, 0)
    if not records:
        raise ValueError("records must be at least one, got none")
    for record in records:
        check_record(record)


def check_write(claim: object, persistence_id: object) -> None:
    """Raise ValueError unless ``claim`` is one and the id can be one."""
    check_claim(claim)
    check_persistence_id(persistence_id)


def check_tail(after: object, limit: object, slices: object) -> None:
    """Raise ValueError unless a part of the tail can be read."""
    check_number("after", after, 0)
    check_at_least("limit", limit, 1)
    if isinstance(limit, int) and limit > TAIL_MAX:
        raise ValueError(f"limit must be at most {TAIL_MAX}, got {limit!r}")
    if slices is None:
        return
    if not isinstance(slices, range) or slices.step != 1 or not 0 <= slices.start <= slices.stop <= SLICES:
        raise ValueError(f"slices must be a range within range({SLICES}) in steps of 1, got {slices!r}")


def check_setting(name: object, value: object) -> None:
    """Raise ValueError unless a value can be settled under a name."""
    check_text("name", name, PERSISTENCE_ID_LENGTH_MAX)
    check_text("value", value, VALUE_LENGTH_MAX, least=0)
