"""The user's entities, as ``--app [KEY=]MODULE:NAME`` names them, and the ids in a journal that are theirs.

Owns the ways in which a program names a behaviour: a function of an id, a function without arguments, a behaviour, or
what hosts a kind. It does not know journals.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from casty import Behavior, ConfigError, WireType
from casty.cli.loading import attempt, imported, no_function, parts_of
from casty.cluster.sharding.region_behavior import EntityRegionBehavior
from casty.persistence.journal_view import IdEntry
from casty.runtime.behavior import behavior as forms
from casty.runtime.sourcing.sourced_behavior import SourcedBehavior
from casty.wire.storing.stored_codec import StoredCodec

EXPECTED: Final = "--app is [KEY=]MODULE:NAME, such as shop.carts:cart or carts=shop.carts:cart"
EXAMPLE_ID: Final = "example"
"""Id given to a function of an id, where no stored one is at hand."""


@dataclass(frozen=True, slots=True)
class App:
    """One kind of entities, or one lone actor."""

    target: str
    key: str | None
    """Name of the kind; None: any."""
    persistence_id: str | None
    """Id of the lone actor; None: any."""
    make: Callable[[str], SourcedBehavior[Any]]
    """Function from an entity's id to its behaviour. Raises ConfigError."""

    def covers(self, entry: IdEntry) -> bool:
        """Return whether an id is of this kind."""
        if self.persistence_id is not None:
            return entry.persistence_id == self.persistence_id
        return self.key is None or key_of(entry) == self.key

    def behavior_of(self, entry: IdEntry) -> SourcedBehavior[Any]:
        """Return the behaviour of an id. Raises ConfigError."""
        is_lone = key_of(entry) is None
        return self.make(entry.persistence_id if is_lone else entry.persistence_id.partition("/")[2])

    def example(self) -> SourcedBehavior[Any]:
        """Return a behaviour of the kind. Raises ConfigError."""
        return self.make(self.persistence_id or EXAMPLE_ID)


def key_of(entry: IdEntry) -> str | None:
    """Return the kind of an entity's id, as its scope has it; None for a lone actor."""
    key, mark, _ = entry.scope.rpartition("#")
    return key if mark else None


def load_apps(targets: Sequence[str]) -> list[App]:
    """Return what the options name. ConfigError for any mistake in them, and where two cover one id."""
    if not targets:
        raise ConfigError(f"the code of the entities is needed: {EXPECTED}")
    apps = [_load_app(target) for target in targets]
    open_ended = [app for app in apps if app.key is None and app.persistence_id is None]
    if open_ended and len(apps) > 1:
        raise ConfigError(
            f"--app {open_ended[0].target} covers all ids, and there are others: write the kind before it, such as "
            f"carts={open_ended[0].target}"
        )
    return apps


def load_codec(target: str | None) -> StoredCodec:
    """Return the codec with the types taught to the user's systems, ``MODULE:NAME`` of a list. ConfigError."""
    if target is None:
        return StoredCodec()
    module_name, name = parts_of(target, "--wire-types is MODULE:NAME of a list, such as shop.types:WIRE_TYPES")
    module = imported(module_name)
    found: object = getattr(module, name, None)
    taught = list(cast("list[object]", found)) if isinstance(found, (list, tuple)) else None
    if taught is None or not all(isinstance(one, WireType) for one in taught):
        raise ConfigError(f"--wire-types {target} must be a list of casty.WireType, got {found!r}")
    return StoredCodec(cast("list[WireType[Any, Any]]", taught))


def app_of(apps: Sequence[App], entry: IdEntry) -> App | None:
    """Return the kind of an id, if there is one."""
    return next((app for app in apps if app.covers(entry)), None)


def _load_app(text: str) -> App:
    key, mark, target = text.rpartition("=")
    module_name, name = parts_of(target, EXPECTED)
    module = imported(module_name)
    found: object = getattr(module, name, None)
    is_behavior = isinstance(found, Behavior)
    if not is_behavior:
        if not callable(found):
            raise ConfigError(no_function(module, name))
        if _takes_an_id(found, target):
            by_id = cast("Callable[[str], object]", found)
            return App(target, key if mark else None, None, lambda given: _sourced(_made(by_id, given, target), target))
        found = attempt(cast("Callable[[], object]", found), f"{target} failed")
    made = cast("Any", found)
    region = _region(made)
    if region is not None:
        by_id, kind = region.factory, region.key.name
        return App(target, key if mark else kind, None, lambda given: _sourced(_made(by_id, given, target), target))
    behavior = _sourced(made, target)
    return App(target, key if mark else None, None if mark else behavior.persistence_id, lambda _: behavior)


def _takes_an_id(function: Callable[..., object], target: str) -> bool:
    """Return whether a function needs one argument; False where it needs none."""
    advice = "write a function of the entity's id that returns its behaviour"
    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"{target} is async, and must be a plain function: {advice}")
    signature = inspect.signature(function)
    for given in ((), (EXAMPLE_ID,)):
        try:
            signature.bind(*given)
        except TypeError:
            continue
        return bool(given)
    raise ConfigError(f"{target} takes the arguments {signature}, and must take the entity's id or none: {advice}")


def _made(function: Callable[[str], object], entity_id: str, target: str) -> object:
    return attempt(lambda: function(entity_id), f"{target} failed for the id {entity_id!r}")


def _inner(behavior: object) -> object:
    """Return the behaviour inside of wrappers."""
    while isinstance(behavior, (forms.Supervised, forms.Lifecycle, forms.Intercepted, forms.Discoverable)):
        behavior = behavior.inner
    return behavior


def _region(behavior: object) -> EntityRegionBehavior[Any] | None:
    inner = _inner(behavior)
    return cast("Any", inner) if isinstance(inner, EntityRegionBehavior) else None


def _sourced(behavior: object, target: str) -> SourcedBehavior[Any]:
    inner = _inner(behavior)
    if not isinstance(inner, SourcedBehavior):
        raise ConfigError(
            f"{target} must give a behaviour made by Behaviors.event_sourced, event_sourced_actor, durable_state or "
            f"sharded, got {behavior!r}"
        )
    found: SourcedBehavior[Any] = cast("Any", inner)
    found.check_types()
    return found
