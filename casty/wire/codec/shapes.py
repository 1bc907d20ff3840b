"""Shapes: for each type, how its values become msgpack values and come back.

A shape has two hooks that are called for every value, `encode` and `decode`, and two slow views of
the same value, `parts` and `raw_parts`, which are used only to find the fault once a hook has
refused: hooks stay free of paths and of bookkeeping. Nothing is coerced: a value of another kind is
a `TypeMismatch`, except that an int given for a float is sent as that float.

``Any`` stands here for values that come from bytes, before they were checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from casty.wire.limits import ARRAY, MAP, TUPLE, has_colliding_keys

Part = tuple[str, "WireType", Any]

PARTS_EXAMINED_MAX = 4_096
"""How much of an ill-typed message is searched for the field to name: some milliseconds."""


class TypeMismatch(Exception):
    """A value is not what its type says. ``detail`` replaces the usual expected and got."""

    def __init__(self, expected: str, got: object, detail: str = "") -> None:
        super().__init__(detail or f"expected {expected}, got {type(got).__name__}")


class WireType:
    """How one type travels; the base of all shapes."""

    __slots__ = ("label",)

    def __init__(self, label: str) -> None:
        self.label = label

    def encode(self, value: Any) -> Any:
        """Return ``value`` as msgpack can write it. Raises TypeMismatch."""
        raise NotImplementedError

    def decode(self, raw: Any) -> Any:
        """Return the value of decoded msgpack. Raises TypeMismatch, or what a class's own checks raise."""
        raise NotImplementedError

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        """Return why ``value`` itself is ill-typed, whatever is inside it; None if it is not."""
        try:
            self.decode(value) if raw else self.encode(value)
        except TypeMismatch as mismatch:
            return str(mismatch)
        return None

    def parts(self, value: Any) -> Iterator[Part]:
        """Yield label, shape and value of each thing inside ``value``, for which `explain_mismatch` was None."""
        return iter(())

    def raw_parts(self, raw: Any) -> Iterator[Part]:
        """The same for decoded msgpack."""
        return self.parts(raw)

    def children(self) -> tuple[WireType, ...]:
        """Return the shapes of what is inside, for finding recursive types."""
        return ()

    @property
    def hooks(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """What to call in place of `encode` and `decode`: for a record, functions of its own."""
        return self.encode, self.decode

    def kept_kind(self) -> type | None:
        """Return the class of the values that `encode` and `decode` return as they are, if there is one."""
        return None

    def is_bare(self) -> bool:
        """Whether values stand in a union without a tag, told apart by their msgpack kind."""
        return False

    def is_hash_safe(self) -> bool:
        """Whether a peer cannot choose many values with the same hash."""
        return False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}>"


class ItemsWireType(WireType):
    """``list[X]`` and ``tuple[X, ...]``: an array."""

    __slots__ = ("item", "origin")

    def __init__(self, label: str, origin: type, item: WireType) -> None:
        super().__init__(label)
        self.origin: type[Any] = origin
        self.item = item

    def encode(self, value: Any) -> Any:
        if type(value) is not self.origin:
            raise TypeMismatch(self.label, value)
        encode, _ = self.item.hooks
        return [encode(item) for item in value]

    def decode(self, raw: Any) -> Any:
        if type(raw) is not ARRAY:
            raise TypeMismatch(self.label, raw)
        _, decode = self.item.hooks
        items = [decode(item) for item in raw]
        return items if self.origin is list else tuple(items)

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        return _misfit_kind(self.label, ARRAY if raw else self.origin, value)

    def parts(self, value: Any) -> Iterator[Part]:
        for index, item in enumerate(value):
            yield f"[{index}]", self.item, item

    def children(self) -> tuple[WireType, ...]:
        return (self.item,)


class PlainItemsWireType(ItemsWireType):
    """The same for items that are written as they are: all their kinds are compared at once."""

    __slots__ = ("kinds",)

    def __init__(self, label: str, origin: type, item: WireType, kind: type) -> None:
        super().__init__(label, origin, item)
        self.kinds = {kind}

    def encode(self, value: Any) -> Any:
        if type(value) is not self.origin:
            raise TypeMismatch(self.label, value)
        self._compare(value)
        return list(value)

    def decode(self, raw: Any) -> Any:
        if type(raw) is not ARRAY:
            raise TypeMismatch(self.label, raw)
        self._compare(raw)
        return raw if self.origin is ARRAY else tuple(raw)

    def _compare(self, items: Any) -> None:
        kinds: set[type] = set(map(type, items))
        if items and kinds != self.kinds:
            other = next(item for item in items if type(item) not in self.kinds)
            raise TypeMismatch(self.item.label, other)


class SetWireType(ItemsWireType):
    """``set[X]`` and ``frozenset[X]``: an array without repetition, in no particular order."""

    __slots__ = ()

    def decode(self, raw: Any) -> Any:
        if type(raw) is not ARRAY:
            raise TypeMismatch(self.label, raw)
        _, decode = self.item.hooks
        items = [decode(item) for item in raw]
        if not self.item.is_hash_safe() and has_colliding_keys(items):
            raise TypeMismatch(self.label, raw, "too many values with one hash")
        result = self.origin(items)
        if len(result) != len(items):
            raise TypeMismatch(self.label, raw, "a value is repeated in a set")
        return result


class AbstractWireType(WireType):
    """``Sequence[X]``, ``Set[X]``, ``Mapping[K, V]``: the builtin ``kind``, which a value of ``also`` is made."""

    __slots__ = ("also", "inner", "kind")

    def __init__(self, label: str, inner: WireType, kind: type, also: tuple[type, ...]) -> None:
        super().__init__(label)
        self.inner = inner
        self.kind: type[Any] = kind
        self.also = also

    def encode(self, value: Any) -> Any:
        return self.inner.encode(self._concrete(value))

    def decode(self, raw: Any) -> Any:
        return self.inner.decode(raw)

    def _concrete(self, value: Any) -> Any:
        if type(value) is self.kind:
            return value
        if type(value) not in self.also:
            raise TypeMismatch(self.label, value)
        return self.kind(value)

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        try:
            return self.inner.explain_mismatch(value if raw else self._concrete(value), raw=raw)
        except TypeMismatch as mismatch:
            return str(mismatch)

    def parts(self, value: Any) -> Iterator[Part]:
        return self.inner.parts(self._concrete(value))

    def raw_parts(self, raw: Any) -> Iterator[Part]:
        return self.inner.raw_parts(raw)

    def children(self) -> tuple[WireType, ...]:
        return (self.inner,)


class TupleWireType(WireType):
    """``tuple[A, B]``: an array of that length."""

    __slots__ = ("items",)

    def __init__(self, label: str, items: tuple[WireType, ...]) -> None:
        super().__init__(label)
        self.items = items

    def encode(self, value: Any) -> Any:
        if type(value) is not TUPLE or len(value) != len(self.items):
            raise self._refusal(value)
        return [item.encode(part) for item, part in zip(self.items, value, strict=True)]

    def decode(self, raw: Any) -> Any:
        if type(raw) is not ARRAY or len(raw) != len(self.items):
            raise self._refusal(raw)
        return tuple([item.decode(part) for item, part in zip(self.items, raw, strict=True)])

    def _refusal(self, value: Any) -> TypeMismatch:
        if type(value) in (ARRAY, TUPLE):
            return TypeMismatch(self.label, value, f"expected {len(self.items)} items, got {len(value)}")
        return TypeMismatch(self.label, value)

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        fits = type(value) is (ARRAY if raw else TUPLE) and len(value) == len(self.items)
        return None if fits else str(self._refusal(value))

    def parts(self, value: Any) -> Iterator[Part]:
        for index, (item, part) in enumerate(zip(self.items, value, strict=True)):
            yield f"[{index}]", item, part

    def children(self) -> tuple[WireType, ...]:
        return self.items


class TextDictWireType(WireType):
    """``dict[str, X]`` and ``dict[bytes, X]``: a map."""

    __slots__ = ("item", "key")

    def __init__(self, label: str, key: WireType, item: WireType) -> None:
        super().__init__(label)
        self.key = key
        self.item = item

    def encode(self, value: Any) -> Any:
        if type(value) is not MAP:
            raise TypeMismatch(self.label, value)
        (key, _), (item, _) = self.key.hooks, self.item.hooks
        return {key(k): item(v) for k, v in value.items()}

    def decode(self, raw: Any) -> Any:
        if type(raw) is not MAP:
            raise TypeMismatch(self.label, raw)
        (_, key), (_, item) = self.key.hooks, self.item.hooks
        return {key(k): item(v) for k, v in raw.items()}

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        return _misfit_kind(self.label, MAP, value)

    def parts(self, value: Any) -> Iterator[Part]:
        for key, item in value.items():
            yield "[key]", self.key, key
            yield "[value]", self.item, item

    def children(self) -> tuple[WireType, ...]:
        return (self.key, self.item)


class PairsDictWireType(WireType):
    """A dict with any other keys: an array of pairs."""

    __slots__ = ("item", "key")

    def __init__(self, label: str, key: WireType, item: WireType) -> None:
        super().__init__(label)
        self.key = key
        self.item = item

    def encode(self, value: Any) -> Any:
        if type(value) is not MAP:
            raise TypeMismatch(self.label, value)
        (key, _), (item, _) = self.key.hooks, self.item.hooks
        return [[key(k), item(v)] for k, v in value.items()]

    def decode(self, raw: Any) -> Any:
        if type(raw) is not ARRAY:
            raise TypeMismatch(self.label, raw)
        if not _are_pairs(raw):
            raise TypeMismatch(self.label, raw, "expected pairs of key and value")
        (_, key), (_, item) = self.key.hooks, self.item.hooks
        keys = [key(pair[0]) for pair in raw]
        if not self.key.is_hash_safe() and has_colliding_keys(keys):
            raise TypeMismatch(self.label, raw, "too many keys with one hash")
        result = dict(zip(keys, [item(pair[1]) for pair in raw], strict=True))
        if len(result) != len(keys):
            raise TypeMismatch(self.label, raw, "a key is repeated")
        return result

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        fault = _misfit_kind(self.label, ARRAY if raw else dict, value)
        return "expected pairs of key and value" if fault is None and raw and not _are_pairs(value) else fault

    def parts(self, value: Any) -> Iterator[Part]:
        for key, item in value.items():
            yield "[key]", self.key, key
            yield "[value]", self.item, item

    def raw_parts(self, raw: Any) -> Iterator[Part]:
        for key, item in raw:
            yield "[key]", self.key, key
            yield "[value]", self.item, item

    def children(self) -> tuple[WireType, ...]:
        return (self.key, self.item)


def find_fault(shape: WireType, value: Any, path: str, *, raw: bool) -> str | None:
    """Return the path and the reason of the first ill-typed thing inside ``value``, or None.

    Looks at PARTS_EXAMINED_MAX parts, so that a peer cannot buy much work with a bad message; a
    fault behind them stays without its path. ``raw`` says that ``value`` came from bytes.
    """
    return _find_fault(shape, value, path, raw, iter(range(PARTS_EXAMINED_MAX)))


def _find_fault(shape: WireType, value: Any, path: str, raw: bool, steps: Iterator[int]) -> str | None:
    fault = shape.explain_mismatch(value, raw=raw)
    if fault is not None:
        return f"{path}: {fault}"
    for label, part_shape, part in shape.raw_parts(value) if raw else shape.parts(value):
        if next(steps, None) is None:
            return None
        fault = _find_fault(part_shape, part, path + label, raw, steps)
        if fault is not None:
            return fault
    return None


def _misfit_kind(label: str, kind: type[Any], value: Any) -> str | None:
    return None if type(value) is kind else str(TypeMismatch(label, value))


def _are_pairs(raw: list[Any]) -> bool:
    return all(type(pair) is ARRAY and len(pair) == 2 for pair in raw)


class LaterWireType(WireType):
    """Stands for the shape of a recursive alias while that is being built."""

    __slots__ = ("target",)

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.target: WireType = self

    def encode(self, value: Any) -> Any:
        return self.target.encode(value)

    def decode(self, raw: Any) -> Any:
        return self.target.decode(raw)

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        return self.target.explain_mismatch(value, raw=raw)

    def parts(self, value: Any) -> Iterator[Part]:
        return self.target.parts(value)

    def raw_parts(self, raw: Any) -> Iterator[Part]:
        return self.target.raw_parts(raw)

    def children(self) -> tuple[WireType, ...]:
        return (self.target,)
