"""A simulation as a value: nodes, faults and their times, and the seed of everything else.

Owns how a scenario is written and read. It does not know how one is run (`player`, `tasks`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields

from casty.config import ClusterSettings, FailureDetectorConfig, TransportLimits
from casty.config.validation import check_roles
from casty.errors import ConfigError
from casty.testing.simulation.scenario.faults import FAULTS, SECONDS_MAX, Fault, Restart, nodes_of, written
from casty.testing.simulation.scenario.lease import SimulatedLease

Timed = tuple[float, Fault]
"""Seconds after the nodes have come up, and the fault at that time."""


@dataclass(frozen=True, repr=False)
class Scenario:
    """A cluster, and its faults with their times. It prints as the code that makes it.

    >>> from casty.testing.simulation import Crash, Restart
    >>> Scenario(seed=7, nodes=("a", "b", "c"), faults=((1.5, Crash("b")), (3.0, Restart("b"))))
    Scenario(
        seed=7,
        nodes=("a", "b", "c"),
        faults=(
            (1.5, Crash("b")),
            (3.0, Restart("b")),
        ),
    )

    Raises:
        ConfigError: There are no nodes, two have one name, the times are not in order, or a fault names an unknown
            node.
    """

    seed: int
    """Seed of everything not said here: delays, losses, the order in which tasks run."""
    nodes: tuple[str, ...]
    """Names of the nodes up at the beginning of the scenario; each has all of them as seeds."""
    faults: tuple[Timed, ...] = ()
    """The faults, each after its seconds since the nodes came up, in that order."""
    settings: ClusterSettings = field(default=ClusterSettings())
    """Settings of all nodes."""
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]], hash=False)
    """Roles of nodes by name; a node not named has none."""

    def __post_init__(self) -> None:
        if not self.nodes or len(set(self.nodes)) != len(self.nodes) or not all(self.nodes):
            raise ConfigError(f"Scenario.nodes must be different names, at least one, got {self.nodes!r}")
        for name, roles in self.roles.items():
            if isinstance(roles, str):  # which is a sequence of names too, of one letter each
                raise ConfigError(f"the roles of a node are a tuple of names: write {{{name!r}: ({roles!r},)}}")
            check_roles(roles)
        last = 0.0
        known = set(self.nodes)
        for at, fault in self.faults:
            if not last <= at <= SECONDS_MAX:
                raise ConfigError(f"Scenario.faults must be in the order of their times, got {at!r} after {last!r}")
            if isinstance(fault, Restart):
                known.add(fault.node)
            unknown = sorted(set(nodes_of(fault)) - known)
            if unknown:
                raise ConfigError(f"{fault!r} names {unknown[0]!r}, which is no node of the scenario by then")
            last = at

    @property
    def ends_at(self) -> float:
        """The time of the last fault."""
        return self.faults[-1][0] if self.faults else 0.0

    def on_one_line(self) -> str:
        """Write the scenario as one line of code, as ``python -m casty.testing.simulation --replay`` takes it.

        Returns:
            The line.
        """
        return f"Scenario({', '.join(self._arguments(''))})"

    def __repr__(self) -> str:
        return "Scenario(\n" + "".join(f"    {argument},\n" for argument in self._arguments("\n        ")) + ")"

    def _arguments(self, gap: str) -> Iterator[str]:
        yield f"seed={self.seed}"
        yield f"nodes={written(self.nodes)}"
        if self.faults:
            faults = [f"({at!r}, {fault!r})" for at, fault in self.faults]
            yield f"faults=({gap}{(',' + (gap or ' ')).join(faults)},{gap[:-4]})"
        if self.settings != ClusterSettings():
            yield f"settings={_changed(self.settings)}"
        if self.roles:
            yield f"roles={written(self.roles)}"


Settings = ClusterSettings | FailureDetectorConfig | TransportLimits


def _changed(settings: Settings) -> str:
    """Return settings as code: the fields changed from the defaults."""
    arguments: list[str] = []
    for one in fields(settings):
        value = getattr(settings, one.name)
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if value != default:
            arguments.append(f"{one.name}={_changed(value) if isinstance(value, Settings) else written(value)}")
    return f"{type(settings).__name__}({', '.join(arguments)})"


SETTINGS = (ClusterSettings, FailureDetectorConfig, TransportLimits, SimulatedLease)
CALLS = {kind.__name__: kind for kind in (*FAULTS, Scenario, *SETTINGS)}


def scenario_from(text: str) -> Scenario:
    """Return the scenario printed as ``text``; only calls of scenarios, faults and settings are made.

    >>> from casty.testing.simulation import Heal
    >>> scenario_from('Scenario(seed=1, nodes=("a", "b"), faults=((2.0, Heal()),))').faults
    ((2.0, Heal()),)
    """
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(f"cannot read the scenario: {error}") from None
    if not isinstance(value, Scenario):
        raise ConfigError(f"expected a Scenario, got {value!r}")
    return value


def _value(node: ast.expr) -> object:
    match node:
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in CALLS:
            named = {one.arg: _value(one.value) for one in keywords if one.arg is not None}
            return CALLS[name](*map(_value, args), **named)  # type: ignore[arg-type]  # their own checks follow
        case ast.Tuple(elts=parts):
            return tuple(_value(part) for part in parts)
        case _:
            return ast.literal_eval(node)
