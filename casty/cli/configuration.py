"""Description of a node as a user writes it: ``casty.toml``, seeds, and the name of a behaviour factory.

Bad input is a ConfigError with one line for each mistake: where it stands, and the value expected there.
"""

from __future__ import annotations

import difflib
import inspect
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeGuard, TypeVar, cast, get_args, get_origin
from urllib.parse import urlsplit

import cattrs
from cattrs.errors import ForbiddenExtraKeysError

from casty import (
    Behavior,
    ClusterExtension,
    ClusterSettings,
    ConfigError,
    FailureDetector,
    Journal,
    Lease,
    SqliteLease,
    SystemConfig,
    TlsConfig,
    UniqueAddress,
)
from casty.cli.hosting import HostedActor, MakeExtension, NodePlan
from casty.cli.loading import attempt, imported, no_function, parts_of
from casty.cli.tls_options import tls_table
from casty.cluster.cluster import OWN_EXTENSIONS
from casty.cluster.extension import check_extension_type, check_extensions
from casty.config.downing import DowningStrategy, DowningStrategyName
from casty.config.validation import PORT_MAX, check_endpoint, check_node_id, check_roles
from casty.transport.network.tcp import is_loopback, reachable

T = TypeVar("T")

NO_TABLE = "expected a table"
KEYS_IN_PLACE = re.compile(r"\.(\w+)|\['(.*?)'\]")
KEY_IN_TEXT = re.compile(r"unknown key '(.*?)'|\w+\.(\w+)")
"""Form in which a mistake names a key of a table: casty's own checks begin with the class made from the table."""


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """Identity and roles of a node, from ``[node]`` of the file or from the command line; None where neither says."""

    name: str | None = None
    host: str | None = None
    port: int | None = None
    node_id: str | None = None
    seeds: tuple[str, ...] | None = None
    roles: tuple[str, ...] | None = None
    extensions: tuple[str, ...] | None = None
    required_quorum: int | None = None
    join_timeout: float | None = None
    allow_new_cluster: bool | None = None
    insecure: bool | None = None

    def over(self, other: NodeOptions) -> NodeOptions:
        """Return these options, and those of ``other`` where nothing was said."""
        said = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(other, **said)


@dataclass(frozen=True)
class Tables:
    """Casty's own tables of a ``casty.toml``, each named as the settings made from it."""

    node: NodeOptions = field(default_factory=NodeOptions)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    actors: SystemConfig = field(default_factory=SystemConfig)
    tls: TlsConfig | None = None


@dataclass(frozen=True)
class NodeFile(Tables):
    """Content of a ``casty.toml``, checked."""

    extensions: tuple[MakeExtension, ...] = ()
    """Extensions of ``node.extensions``, each with its table."""


def read_file(path: Path) -> NodeFile:
    """Read a configuration file. ConfigError for unknown keys and bad values, all in one."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    extensions, mistakes = _extensions_of(table)
    found, others = _structured(table, Tables)
    tables = found or Tables()
    mistakes += [*others, *_mistakes_of_node(tables.node)]
    if mistakes:
        head = f"{path}: {len(mistakes)} mistakes:\n  " if len(mistakes) > 1 else f"{path}: "
        raise ConfigError(head + "\n  ".join(mistakes))
    return NodeFile(tables.node, tables.cluster, tables.actors, tables.tls, extensions)


def _extensions_of(table: dict[str, Any]) -> tuple[tuple[MakeExtension, ...], list[str]]:
    """Return makers of the extensions named in a file, and the mistakes in them; take their tables out of ``table``."""
    node = cast("object", table.get("node"))
    said = cast("dict[str, object]", node).get("extensions") if isinstance(node, dict) else None
    targets = [one for one in cast("list[object]", said) if isinstance(one, str)] if isinstance(said, list) else []
    made, mistakes, first = list[MakeExtension](), list[str](), list[ClusterExtension]()
    for target in targets:
        try:
            cls = load_extension(target)
            settings, wrong = _settings_of(cls, table)
            mistakes += wrong
            if not wrong:
                make = partial(_make_extension, cls, settings)
                extension = attempt(make, f"{target} failed")
                check_extensions([*first, extension], own=OWN_EXTENSIONS)
                first.append(extension)
                # The first is made now, so that its mistakes are reported before anything starts.
                made.append(partial(next, chain([extension], iter(make, None))))
        except ConfigError as error:
            mistakes.append(f"in node.extensions: {error}")
    return tuple(made), mistakes


def _settings_of(cls: type[ClusterExtension], table: dict[str, Any]) -> tuple[object, list[str]]:
    """Return the settings made from an extension's table, and the mistakes in it; None where it takes no settings."""
    said = cast("object", table.pop(cls.name, None))
    if cls.settings_type is None:
        return None, [] if said is None else [f"in {cls.name}: {cls.__qualname__} takes no settings: drop this table"]
    if said is not None and not isinstance(said, dict):
        return None, [f"in {cls.name}: {NO_TABLE}, [{cls.name}] and below it a line for each setting, got {said!r}"]
    form = cls.settings_type
    try:  # not only values can be wrong, but also what the class asks for
        return _structured(cast("dict[str, Any]", said or {}), form, f".{cls.name}")
    except Exception as error:
        what = f"in {cls.name}: {form.__qualname__} cannot be made of a table"
        return None, [f"{what}: {type(error).__name__}: {error}"]


def _make_extension(cls: type[ClusterExtension], settings: object) -> ClusterExtension:
    return cls() if cls.settings_type is None else cast("Callable[[object], ClusterExtension]", cls)(settings)


def _structured(table: dict[str, Any], form: type[T], outer: str = "") -> tuple[T | None, list[str]]:
    """Return the settings made from the tables, and the mistakes: each is taken out, and the rest checked again.

    None where nothing can be taken out. Each round but the last takes a key out, so there are few.
    """
    mistakes = dict[str, None]()
    while True:
        try:
            return CONVERTER.structure(table, form), list(mistakes)
        except cattrs.BaseValidationError as error:
            is_less = False
            for line in cattrs.transform_error(error, path="", format_exception=_explain):
                texts, _, place = line.rpartition(" @ ")
                whole = (outer + place).lstrip(".")
                where = f"in {whole}: " if whole else ""
                keys = [dotted or quoted for dotted, quoted in KEYS_IN_PLACE.findall(place)]
                for text in texts.split("\n"):
                    mistakes[where + text + (_found(table, keys) if text == NO_TABLE else "")] = None
                    is_less = _cut(table, keys, text) or is_less
            if not is_less:
                return None, list(mistakes)


def _found(table: dict[str, Any], keys: list[str]) -> str:
    """Return the value found in place of the table under the keys."""
    value = cast("object", table)
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return ""  # it went with another mistake
        value = cast("object", value[key])
    return f", [{'.'.join(keys)}] and below it a line for each setting, got {value!r}"


def _cut(table: dict[str, Any], keys: list[str], text: str) -> bool:
    """Take out the key named by a mistake from the table under the keys, or the whole table.

    False where it is not there: it went with another mistake, or is missing in the file.
    """
    outer, value = table, cast("object", table)
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False
        outer, value = cast("dict[str, Any]", value), cast("object", value[key])
    named = KEY_IN_TEXT.match(text)
    if named is not None and isinstance(value, dict) and (named[1] or named[2]) in value:
        del value[named[1] or named[2]]
    elif keys:
        del outer[keys[-1]]
    else:
        is_less = bool(table)
        table.clear()
        return is_less
    return True


def _mistakes_of_node(node: NodeOptions) -> list[str]:
    """Return mistakes of the node, refused later otherwise, where nobody can tell any more that the file has them."""
    checks: dict[str, Callable[[], object]] = {
        "host": lambda: None if node.host is None else check_endpoint("the", node.host, 0),
        "port": lambda: None if node.port is None else check_endpoint("the", NodePlan.host, node.port),
        "seeds": lambda: [parse_address(seed) for seed in node.seeds or ()],
        "node_id": lambda: None if node.node_id is None else check_node_id(node.node_id),
        "roles": lambda: None if node.roles is None else check_roles(frozenset(node.roles)),
    }
    mistakes = list[str]()
    for name, check in checks.items():
        try:
            check()
        except ConfigError as error:
            mistakes.append(f"in node.{name}: {error}")
    return mistakes


def plan_of(options: NodeOptions, file: NodeFile, tls: TlsConfig | None = None) -> NodePlan:
    """Return the plan of a node; ConfigError when it has no name, a seed cannot be dialled, or others can reach it."""
    node = options.over(file.node)
    if node.node_id is None:
        raise ConfigError(
            "a node needs a name: give --node-id, or node_id in the table [node] of the file that --config names"
        )
    seeds = tuple(parse_address(seed) for seed in node.seeds or ())
    host, port = _said(node.host, NodePlan.host), _said(node.port, NodePlan.port)
    check_endpoint("the", host, port)
    if not node.insecure and tls is None and not is_loopback(host):
        allow = "add --insecure" if options.host is not None else "set insecure = true beside host in the file"
        raise ConfigError(f"{reachable(host)}, or {allow} on a network that you trust")
    settings = file.cluster
    if node.allow_new_cluster is not None:
        settings = replace(settings, allow_new_cluster=node.allow_new_cluster)
    return NodePlan(
        node_id=node.node_id,
        name=_said(node.name, NodePlan.name),
        host=host,
        port=port,
        seed_nodes=seeds,
        roles=frozenset(node.roles or ()),
        required_quorum=node.required_quorum,
        join_timeout=_said(node.join_timeout, NodePlan.join_timeout),
        insecure=bool(node.insecure),
        tls=tls,
        settings=settings,
        config=file.actors,
        extensions=file.extensions,
    )


def parse_address(text: str, what: str = "a seed") -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``; an IPv6 address stands in brackets.

    >>> parse_address("10.0.0.1:2551"), parse_address("[::1]:2551")
    (('10.0.0.1', 2551), ('::1', 2551))
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    number = text.rpartition(":")[2]
    if number.isdecimal() and (len(number) > len(str(PORT_MAX)) or not 0 < int(number) <= PORT_MAX):
        raise ConfigError(f"the port of {what} must be an integer from 1 to {PORT_MAX}, got {text!r}")
    if not host or not port or any(c.isspace() or c in "/@?#" for c in text):
        raise ConfigError(f"{what} is HOST:PORT, such as 127.0.0.1:2551 or [::1]:2551, got {text!r}")
    return host, port


def load_guest(target: str) -> HostedActor:
    """Return the actor meant by ``MODULE:FUNCTION``; ConfigError for any mistake in it.

    The module is looked for in the working directory first. The function takes no arguments and returns the actor's
    behaviour; the actor gets the function's name.
    """
    module_name, name = parts_of(target, "a behaviour factory is MODULE:FUNCTION, such as shop.app:cashier")
    if name.startswith("_"):
        raise ConfigError(f"{name} cannot name an actor: names that begin with '_' are casty's own")
    module = imported(module_name)
    factory: object = getattr(module, name, None)
    if not callable(factory):
        raise ConfigError(no_function(module, name))
    _check_factory(factory, target)

    def make() -> Behavior[Any]:
        behavior: object = attempt(factory, f"{target} failed")
        if not _is_behavior(behavior):
            raise ConfigError(f"{target} must return a behaviour, made by casty.Behaviors, got {behavior!r}")
        return behavior

    # The first is made now, so that its mistakes are reported before anything starts.
    return HostedActor(name, partial(next, chain([make()], iter(make, None))))


def load_extension(target: str) -> type[ClusterExtension]:
    """Return the class meant by ``MODULE:CLASS``; ConfigError for any mistake in it.

    The module is looked for in the working directory first.
    """
    module_name, name = parts_of(target, "an extension is MODULE:CLASS, such as shop.census:Census")
    cls: object = getattr(imported(module_name), name, None)
    if not isinstance(cls, type) or not issubclass(cls, ClusterExtension):
        raise ConfigError(f"{target} must be a subclass of casty.ClusterExtension, got {cls!r}")
    check_extension_type(cls)
    return cls


def _check_factory(factory: Callable[..., object], target: str) -> None:
    """Refuse a function with required arguments or an async one: most likely it is a handler, and its factory is
    missing.
    """
    advice = "write a function that returns, for example, Behaviors.receive(handler)"
    if inspect.iscoroutinefunction(factory):
        raise ConfigError(f"{target} is async, and must be a plain function without arguments: {advice}")
    try:
        signature = inspect.signature(factory)
    except ValueError:
        return  # of a builtin
    try:
        signature.bind()
    except TypeError:
        raise ConfigError(f"{target} takes the arguments {signature}, and must take none: {advice}") from None


def _is_behavior(value: object) -> TypeGuard[Behavior[Any]]:
    return isinstance(value, Behavior)


def _said(value: T | None, default: T) -> T:
    return default if value is None else value


def _explain(error: BaseException, expected: type | None) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        return "\n".join(_explain_key(key, error.cl) for key in sorted(error.extra_fields))
    if is_dataclass(expected) and isinstance(error, (AttributeError, TypeError)):
        return NO_TABLE
    return str(error)


def _explain_key(key: str, table: type) -> str:
    near = difflib.get_close_matches(key, [f.name for f in fields(table)], n=1, cutoff=0.0)
    also = ", and no extension that `extensions` in [node] names has this table" if table is Tables else ""
    return f"unknown key {key!r}; the nearest that exists is {near[0]!r}{also}" if near else f"unknown key {key!r}"


def _strict(kind: type, *also: type) -> Callable[[object, object], object]:
    """Return a hook that takes values of exactly these kinds: cattrs alone would convert others."""
    accepted = (kind, *also)

    def structure(value: object, _: object) -> object:
        if type(value) not in accepted:
            raise ConfigError(f"expected {kind.__name__}, got {value!r}")
        return kind(value)

    return structure


def _structure_names(value: object, _: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in cast("list[object]", value)):
        raise ConfigError(f"expected a list of strings, got {value!r}")
    return tuple(cast("list[str]", value))


def _structure_choice(value: object, form: Any) -> object:  # a Literal, or an Enum by its values
    choices = {choice: choice for choice in get_args(form)} or {member.value: member for member in form}
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"expected one of {', '.join(map(repr, choices))}, got {value!r}")
    return choices[value]


def _structure_lease(value: object, _: object) -> SqliteLease:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"expected the path of a file for a SqliteLease, got {value!r}")
    return SqliteLease(value)


def _structure_downing(value: object, _: object) -> object:
    return _structure_choice(value, DowningStrategyName)  # a file names a strategy: an object is for programs


def _structure_detector_factory(value: object, _: object) -> object:
    raise ConfigError(f"expected a function, which a file cannot name: set it in a program; got {value!r}")


def _structure_journal(value: object, _: object) -> object:
    raise ConfigError(
        "expected nothing: casty node has no journal; start the node from a program, with "
        f"ClusteredActorSystem(journal=...); got {value!r}"
    )


def _is_literal(form: object) -> bool:
    return get_origin(form) is Literal


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _strict(str))
    converter.register_structure_hook(int, _strict(int))
    converter.register_structure_hook(bool, _strict(bool))
    converter.register_structure_hook(float, _strict(float, int))
    converter.register_structure_hook_func(lambda form: form == tuple[str, ...], _structure_names)
    converter.register_structure_hook_func(lambda form: form == Lease | None, _structure_lease)
    converter.register_structure_hook_func(
        lambda form: form == DowningStrategyName | DowningStrategy, _structure_downing
    )
    converter.register_structure_hook_func(
        lambda form: form == Callable[[UniqueAddress], FailureDetector] | None, _structure_detector_factory
    )
    converter.register_structure_hook_func(lambda form: form == Journal | None, _structure_journal)
    converter.register_structure_hook_func(lambda form: form == TlsConfig | None, tls_table)
    converter.register_structure_hook_func(_is_literal, _structure_choice)
    converter.register_structure_hook(Enum, _structure_choice)  # by its class: cattrs 25.1 looks there first
    return converter


CONVERTER = _make_converter()
