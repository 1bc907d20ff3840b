"""Shard of an entity: a hash of its id, alike in every process and release.

Owns the hash, and the bounds of an id. It does not know tables: `num_shards` is fixed for a key.

Source: BLAKE2b (RFC 7693) with a digest of 8 bytes, read as a big-endian number.
"""

from __future__ import annotations

from hashlib import blake2b

from casty.protocol.messages.shard_bounds import NUM_SHARDS_MAX

ENTITY_ID_LENGTH_MAX = 255


def check_entity_id(entity_id: object) -> str:
    """Return an id; ValueError unless it is text of 1 to `ENTITY_ID_LENGTH_MAX` characters, able to be UTF-8."""
    if not isinstance(entity_id, str):
        raise ValueError(f"an entity id must be a str, got {type(entity_id).__name__}")
    if not 1 <= len(entity_id) <= ENTITY_ID_LENGTH_MAX:
        raise ValueError(f"an entity id must have 1 to {ENTITY_ID_LENGTH_MAX} characters, got {len(entity_id)}")
    try:
        entity_id.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"an entity id must be text that UTF-8 can say, got {ascii(entity_id)}") from error
    return entity_id


def check_num_shards(num_shards: int) -> None:
    """Raise ValueError unless a key may have so many shards."""
    if not 1 <= num_shards <= NUM_SHARDS_MAX:
        raise ValueError(f"num_shards must be 1 to {NUM_SHARDS_MAX}, got {num_shards}")


def number_of(entity_id: str) -> int:
    """Return the number of 64 bits of an entity: its remainder is the shard.

    >>> number_of("cart-42")
    17084937509894477160
    """
    return int.from_bytes(blake2b(entity_id.encode(), digest_size=8).digest(), "big")


def shard_of(entity_id: str, num_shards: int) -> int:
    """Return the number of the shard of an entity.

    >>> shard_of("cart-42", 256)
    104
    """
    return number_of(entity_id) % num_shards
