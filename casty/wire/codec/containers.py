"""Hooks of lists, tuples, sets and dicts, around those of what is inside."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from operator import length_hint
from typing import Any

from casty.schema.types import Form
from casty.wire.codec.hook import Hook, HookPair, TypeMismatch, around, locate
from casty.wire.limits import ARRAY, MAP, TUPLE, has_colliding_keys


def item_hooks(label: str, form: Form, item: HookPair) -> HookPair:
    """Return the hooks of a list, a set or a tuple of any length, and of the abstract ones: an array."""
    origin: type[Any] = form.origin
    accepted, write, read = (origin, *form.also), _all_of(item, item.encode), _all_of(item, item.decode)
    finish: Hook = TUPLE if origin is TUPLE else partial(_distinct, label, origin, item)

    def encode(value: Any) -> Any:
        if type(value) not in accepted:
            raise TypeMismatch(label, value)
        return write(value)

    def decode(raw: Any) -> Any:
        if type(raw) is not ARRAY:
            raise TypeMismatch(label, raw)
        return read(raw)

    def decode_other(raw: Any) -> Any:
        return finish(decode(raw))

    return around(encode, decode if origin is ARRAY else decode_other, item)


def tuple_hooks(label: str, items: list[HookPair]) -> HookPair:
    """Return the hooks of ``tuple[A, B]``: an array of that length."""
    encoders, decoders = tuple(one.encode for one in items), tuple(one.decode for one in items)

    def encode(value: Any) -> Any:
        if type(value) is not TUPLE or len(value) != len(encoders):
            raise _misfit(label, value, TUPLE, len(encoders))
        return _each(encoders, value)

    def decode(raw: Any) -> Any:
        if type(raw) is not ARRAY or len(raw) != len(decoders):
            raise _misfit(label, raw, ARRAY, len(decoders))
        return tuple(_each(decoders, raw))

    return around(encode, decode, *items)


def dict_hooks(label: str, form: Form, key: HookPair, item: HookPair, *, is_map: bool) -> HookPair:
    """Return the hooks of a dict, and of ``Mapping``: a map, or an array of pairs where a map cannot have such keys."""
    accepted, distinct = (MAP, *form.also), partial(_distinct, label, MAP, key)
    write_keys, read_keys = (_all_of(key, hook, "[key]") for hook in key[:2])
    write_items, read_items = (_all_of(item, hook, "[value]") for hook in item[:2])

    def encode(value: Any) -> Any:
        if type(value) not in accepted:
            raise TypeMismatch(label, value)
        if is_map and set(map(type, value)) == {key.kept} and set(map(type, value.values())) == {item.kept}:
            return dict(value)
        pairs = zip(write_keys(value), write_items(value.values()), strict=True)
        return dict(pairs) if is_map else list(map(list, pairs))

    def decode_map(raw: Any) -> Any:
        if type(raw) is not MAP:
            raise TypeMismatch(label, raw)
        return dict(zip(read_keys(raw), read_items(raw.values()), strict=True))

    def decode_pairs(raw: Any) -> Any:
        if type(raw) is not ARRAY:
            raise TypeMismatch(label, raw)
        if not all(type(pair) is ARRAY and len(pair) == 2 for pair in raw):
            raise TypeMismatch(label, raw, "expected pairs of key and value")
        return distinct(read_keys([pair[0] for pair in raw]), read_items([pair[1] for pair in raw]))

    return around(encode, decode_map if is_map else decode_pairs, key, item, levels=1 if is_map else 2)


def _all_of(item: HookPair, hook: Hook, part: str = "") -> Hook:
    """Return the function from values to a list of what ``hook`` makes of them, one of those in ``item``.

    Where it would keep them as they are, their kinds are compared at once, and none of it is called.
    """
    kinds = {item.kept}

    def convert(values: Collection[Any]) -> list[Any]:
        walked = iter(values)
        try:
            return [hook(one) for one in walked]
        except Exception as error:
            locate(error, part or f"[{len(values) - length_hint(walked) - 1}]")
            raise

    def keep(values: Collection[Any]) -> list[Any]:
        return list(values) if set(map(type, values)) == kinds else convert(values)

    return convert if item.kept is None else keep


def _each(hooks: tuple[Hook, ...], values: Any) -> list[Any]:
    walked = iter(values)
    try:
        return [hook(one) for hook, one in zip(hooks, walked, strict=True)]
    except Exception as error:
        locate(error, f"[{len(values) - length_hint(walked) - 1}]")
        raise


def _misfit(label: str, value: Any, kind: type[Any], count: int) -> TypeMismatch:
    return TypeMismatch(label, value, f"expected {count} items, got {len(value)}" if type(value) is kind else "")


def _distinct(label: str, origin: type[Any], key: HookPair, keys: list[Any], items: list[Any] | None = None) -> Any:
    """Return the set or dict of what a peer has sent, each once and few of one hash."""
    what = "value" if items is None else "key"
    try:
        if not key.is_hash_safe and has_colliding_keys(keys):
            raise TypeMismatch(label, keys, f"too many {what}s with one hash")
        result = origin(keys if items is None else zip(keys, items, strict=True))
    except (TypeMismatch, MemoryError):
        raise
    except Exception as error:  # the hash of a user's class may raise anything, and that of Decimal("sNaN") does
        raise TypeMismatch(label, keys, f"a {what} has no hash: {type(error).__name__}") from None
    if len(result) != len(keys):
        raise TypeMismatch(label, keys, "a value is repeated in a set" if items is None else "a key is repeated")
    return result
