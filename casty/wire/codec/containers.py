"""Hooks of lists, tuples, sets and dicts."""

from __future__ import annotations

from operator import length_hint
from typing import Any

from casty.wire.codec.hook import Hook, HookPair, TypeMismatch, locate, locate_item
from casty.wire.limits import ARRAY, MAP, TUPLE, has_colliding_keys


def item_hooks(label: str, origin: type[Any], item: HookPair) -> HookPair:
    """Return the hooks of ``list[X]`` and ``tuple[X, ...]``: an array. Sets are written like them."""
    encode_item, decode_item = item

    def encode(value: Any) -> Any:
        if type(value) is not origin:
            raise TypeMismatch(label, value)
        items = iter(value)
        try:
            return [encode_item(one) for one in items]
        except Exception as error:
            locate_item(error, value, items)
            raise

    def decode(raw: Any, _: object = None) -> Any:
        if type(raw) is not ARRAY:
            raise TypeMismatch(label, raw)
        items = iter(raw)
        try:
            made = [decode_item(one) for one in items]
        except Exception as error:
            locate_item(error, raw, items)
            raise
        return made if origin is ARRAY else tuple(made)

    return HookPair(encode, decode)


def plain_item_hooks(label: str, origin: type[Any], item: HookPair, kind: type) -> HookPair:
    """Return the same for items that are written as they are: all their kinds are compared at once."""
    kinds = {kind}

    def compare(items: Any) -> None:
        if items and set(map(type, items)) != kinds:
            number = next(number for number, one in enumerate(items) if type(one) is not kind)
            try:
                item.encode(items[number])
            except TypeMismatch as mismatch:
                locate(mismatch, f"[{number}]")
                raise

    def encode(value: Any) -> Any:
        if type(value) is not origin:
            raise TypeMismatch(label, value)
        compare(value)
        return list(value)

    def decode(raw: Any, _: object = None) -> Any:
        if type(raw) is not ARRAY:
            raise TypeMismatch(label, raw)
        compare(raw)
        return raw if origin is ARRAY else tuple(raw)

    return HookPair(encode, decode)


def set_hooks(label: str, origin: type[Any], item: HookPair, *, is_hash_safe: bool) -> HookPair:
    """Return the hooks of ``set[X]`` and ``frozenset[X]``: an array without repetition, in no particular order."""
    encode, decode_items = item_hooks(label, origin, item)

    def decode(raw: Any, _: object = None) -> Any:
        made = decode_items(raw)
        if not is_hash_safe and has_colliding_keys(made):
            raise TypeMismatch(label, raw, "too many values with one hash")
        result = origin(made)
        if len(result) != len(made):
            raise TypeMismatch(label, raw, "a value is repeated in a set")
        return result

    return HookPair(encode, decode)


def abstract_hooks(label: str, inner: HookPair, kind: type[Any], also: tuple[type, ...]) -> HookPair:
    """Return the hooks of ``Sequence[X]``, ``Set[X]`` and ``Mapping[K, V]``.

    They are those of the builtin ``kind``, which a value of ``also`` is made.
    """
    encode_kind, decode = inner

    def encode(value: Any) -> Any:
        if type(value) is not kind:
            if type(value) not in also:
                raise TypeMismatch(label, value)
            value = kind(value)
        return encode_kind(value)

    return HookPair(encode, decode)


def tuple_hooks(label: str, items: tuple[HookPair, ...]) -> HookPair:
    """Return the hooks of ``tuple[A, B]``: an array of that length."""
    count = len(items)

    def convert(hooks: tuple[Hook, ...], value: Any, kind: type[Any]) -> list[Any]:
        if type(value) is not kind or len(value) != count:
            raise TypeMismatch(label, value, f"expected {count} items, got {len(value)}" if type(value) is kind else "")
        parts = iter(value)
        try:
            return [hook(part) for hook, part in zip(hooks, parts, strict=True)]
        except Exception as error:
            locate_item(error, value, parts)
            raise

    encoders, decoders = tuple(item.encode for item in items), tuple(item.decode for item in items)

    def encode(value: Any) -> Any:
        return convert(encoders, value, TUPLE)

    def decode(raw: Any, _: object = None) -> Any:
        return tuple(convert(decoders, raw, ARRAY))

    return HookPair(encode, decode)


def _locate_pair(error: Exception, key: Hook, value: Any, pairs: Any) -> None:
    """Say whether a mismatch was in the key or in the value of the pair that was converted last."""
    if isinstance(error, TypeMismatch):
        number = len(value) - length_hint(pairs) - 1
        try:
            key([*value][number])
        except TypeMismatch:
            locate(error, "[key]")
        else:
            locate(error, "[value]")


def text_dict_hooks(label: str, key: HookPair, item: HookPair) -> HookPair:
    """Return the hooks of ``dict[str, X]`` and ``dict[bytes, X]``: a map."""
    encoder, decoder = _TextDict(label, key.encode, item.encode), _TextDict(label, key.decode, item.decode)
    return HookPair(encoder.convert, decoder.convert)


class _TextDict:
    """One way between a dict and a map."""

    __slots__ = ("_item", "_key", "_label")

    def __init__(self, label: str, key: Hook, item: Hook) -> None:
        self._label = label
        self._key = key
        self._item = item

    def convert(self, value: Any, _: object = None) -> Any:
        if type(value) is not MAP:
            raise TypeMismatch(self._label, value)
        key, item, pairs = self._key, self._item, iter(value.items())
        try:
            return {key(k): item(v) for k, v in pairs}
        except Exception as error:
            _locate_pair(error, key, value, pairs)
            raise


def pairs_dict_hooks(label: str, key: HookPair, item: HookPair, *, is_hash_safe: bool) -> HookPair:
    """Return the hooks of a dict with any other keys: an array of pairs."""
    made = _PairsDict(label, key, item, is_hash_safe)
    return HookPair(made.encode, made.decode)


class _PairsDict:
    """Both ways between a dict and an array of pairs."""

    __slots__ = ("_is_hash_safe", "_item", "_key", "_label")

    def __init__(self, label: str, key: HookPair, item: HookPair, is_hash_safe: bool) -> None:
        self._label = label
        self._key = key
        self._item = item
        self._is_hash_safe = is_hash_safe

    def encode(self, value: Any) -> Any:
        if type(value) is not MAP:
            raise TypeMismatch(self._label, value)
        key, item, pairs = self._key.encode, self._item.encode, iter(value.items())
        try:
            return [[key(k), item(v)] for k, v in pairs]
        except Exception as error:
            _locate_pair(error, key, value, pairs)
            raise

    def decode(self, raw: Any, _: object = None) -> Any:
        if type(raw) is not ARRAY:
            raise TypeMismatch(self._label, raw)
        if not all(type(pair) is ARRAY and len(pair) == 2 for pair in raw):
            raise TypeMismatch(self._label, raw, "expected pairs of key and value")
        keys = self._decode_part(raw, 0, self._key.decode, "[key]")
        if not self._is_hash_safe and has_colliding_keys(keys):
            raise TypeMismatch(self._label, raw, "too many keys with one hash")
        result = dict(zip(keys, self._decode_part(raw, 1, self._item.decode, "[value]"), strict=True))
        if len(result) != len(keys):
            raise TypeMismatch(self._label, raw, "a key is repeated")
        return result

    def _decode_part(self, raw: Any, index: int, decode: Hook, part: str) -> list[Any]:
        try:
            return [decode(pair[index]) for pair in raw]
        except Exception as error:
            locate(error, part)
            raise
