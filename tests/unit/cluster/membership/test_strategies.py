"""Five nodes and a partition, by every downing strategy: who goes on, what the others raise, and the heal."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio

from casty import CastyError, ClusterSettings, ConfigError, JoinRefused, NodeDowned, PartitionView

NAMES = "abcde"
"""``a`` is the lowest address and the oldest member."""


@dataclass(frozen=True)
class Case:
    """A cut into sides, and what follows by the strategy."""

    name: str
    settings: ClusterSettings
    sides: tuple[str, ...]
    stays: str
    says: dict[str, str]
    """What the error of a node that goes says."""
    roles: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Preferred:
    """The side with a node of this host, whatever else it has lost."""

    host: str

    def against(self, partition: PartitionView) -> str:
        is_here = any(member.unique.address.host == self.host for member in partition.reachable)
        return "" if is_here else f"could not reach {self.host}"


class Failing:
    """Judges two nodes, as at the start, and no third one."""

    def against(self, partition: PartitionView) -> str:
        if len(partition.reachable) + len(partition.unreachable) > 2:
            raise LookupError("as a bug would")
        return ""

    def __str__(self) -> str:
        return "failing"


@dataclass
class Sleepy:
    async def against(self, partition: PartitionView) -> str:
        return ""


@dataclass
class Blunt:
    answer: object = True

    def against(self, partition: PartitionView) -> object:
        return self.answer


@dataclass
class Narrow:
    def against(self) -> str:
        return ""


@dataclass
class Holding:
    what: object

    def against(self, partition: PartitionView) -> str:
        return ""


class Unwritten(Holding):
    def __str__(self) -> str:
        raise LookupError("as a bug would")


class Posing:
    """Calls itself as one of the library's does."""

    def against(self, partition: PartitionView) -> str:
        return ""

    def __str__(self) -> str:
        return "keep_majority"


class Nameless:
    def against(self, partition: PartitionView) -> str:
        return ""


QUORUM = ClusterSettings(downing="static_quorum", quorum_size=3)
OLDEST = ClusterSettings(downing="keep_oldest")
CASES = [
    Case(
        "the side that a strategy of a user's prefers",
        ClusterSettings(downing=Preferred("d")),
        ("abc", "de"),
        stays="de",
        says=dict.fromkeys("abc", "could not reach d"),
    ),
    Case(
        "the larger side",
        ClusterSettings(),
        ("ab", "cde"),
        stays="cde",
        says=dict.fromkeys("ab", "could not reach a majority (saw 2 of 5)"),
    ),
    Case(
        "the side with most voters of the role",
        ClusterSettings(downing_role="core"),
        ("ab", "cde"),
        stays="ab",
        says=dict.fromkeys("cde", "could not reach a majority (saw 1 of 3)"),
        roles=dict.fromkeys("abc", "core"),
    ),
    Case(
        "the side with the quorum",
        QUORUM,
        ("ab", "cde"),
        stays="cde",
        says=dict.fromkeys("ab", "could not reach a quorum of 3 (saw 2 of 5)"),
    ),
    Case(
        "nobody, of three sides without a quorum",
        QUORUM,
        ("ab", "cd", "e"),
        stays="",
        says={**dict.fromkeys("abcd", "could not reach a quorum of 3 (saw 2 of 5)"), "e": "(saw 1 of 5)"},
    ),
    Case(
        "the side of the oldest",
        OLDEST,
        ("ab", "cde"),
        stays="ab",
        says=dict.fromkeys("cde", "could not reach the oldest member, a:2551"),
    ),
    Case(
        "the others, when the oldest is alone",
        OLDEST,
        ("a", "bcde"),
        stays="bcde",
        says={"a": "was left alone with the oldest member (saw 1 of 5)"},
    ),
    Case(
        "the oldest, however alone",
        ClusterSettings(downing="keep_oldest", down_if_alone=False),
        ("a", "bcde"),
        stays="a",
        says=dict.fromkeys("bcde", "could not reach the oldest member, a:2551"),
    ),
    Case(
        "nobody, when whoever loses somebody stops",
        ClusterSettings(downing="down_all"),
        ("abcd", "e"),
        stays="",
        says={
            **dict.fromkeys("abcd", "could not reach e:2551, and downing is down_all"),
            "e": "a:2551, b:2551, c:2551",
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_at_most_one_side_goes_on_and_the_heal_ends_in_one_cluster(autojump_clock, nodes, case: Case) -> None:
    for name in NAMES:
        await start(nodes, name, case)
    await nodes.all_up(*NAMES)
    for one in case.sides:
        for other in case.sides:
            for a, b in [(a, b) for a in one for b in other if one < other]:
                nodes.network.cut(a, b)
    goes = sorted(set(NAMES) - set(case.stays))
    with trio.fail_after(60):
        for name in goes:
            await nodes.handles[name].ended.wait()
    for name in goes:
        error = nodes.handles[name].error
        assert isinstance(error, NodeDowned)
        assert case.says[name] in str(error)
    for name in case.stays:
        await nodes.sees(name, dict.fromkeys(case.stays, "up"))

    nodes.network.heal_all()
    async with trio.open_nursery() as nursery:
        for name in goes:
            nursery.start_soon(start, nodes, name, case)
    await nodes.all_up(*NAMES)
    assert all(nodes.handles[name].error is None for name in NAMES)


async def start(nodes, name: str, case: Case) -> None:
    """Start a node that knows the other places."""
    seeds = [] if name == "a" and name not in nodes.handles else list(NAMES)
    await nodes.start(name, seeds, settings=case.settings, roles=case.roles.get(name, "other").split())


@pytest.mark.parametrize("settings", [QUORUM, OLDEST, ClusterSettings(downing="down_all")], ids=lambda s: s.downing)
async def test_a_partition_that_ends_before_the_decision_takes_nobody(autojump_clock, nodes, settings) -> None:
    case = Case("short", settings, ("ab", "cde"), stays=NAMES, says={})
    for name in NAMES:
        await start(nodes, name, case)
    await nodes.all_up(*NAMES)
    runs = {member.incarnation for member in (await nodes.handles["a"].system.get_cluster_state()).members}
    for a in "ab":
        for b in "cde":
            nodes.network.cut(a, b)
    await trio.sleep(8.0)
    assert (await nodes.handles["a"].system.get_cluster_state()).unreachable
    nodes.network.heal_all()
    await nodes.all_up(*NAMES)
    assert {member.incarnation for member in (await nodes.handles["e"].system.get_cluster_state()).members} == runs


async def test_a_first_seed_that_starts_again_while_cut_off_waits_and_joins_after_the_heal(
    autojump_clock, nodes
) -> None:
    case = Case("alone", ClusterSettings(), ("a", "bcde"), stays="bcde", says={})
    for name in NAMES:
        await start(nodes, name, case)
    await nodes.all_up(*NAMES)
    for other in "bcde":
        nodes.network.cut("a", other)
    with trio.fail_after(60):
        await nodes.handles["a"].ended.wait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(start, nodes, "a", case)
        await trio.sleep(40)
        assert nursery.child_tasks
        await nodes.sees("b", dict.fromkeys("bcde", "up"))
        nodes.network.heal_all()
    await nodes.all_up(*NAMES)
    assert all(nodes.handles[name].error is None for name in NAMES)


async def test_node_with_another_strategy_is_refused(autojump_clock, nodes):
    await nodes.start("a", settings=ClusterSettings(downing=Preferred("a")))
    told = (
        r"expected downing \"custom Preferred\(host='a'\)\", as the cluster .* found \"custom Preferred\(host='b'\)\""
    )
    with pytest.raises(JoinRefused, match=told):
        await nodes.start("b", ["a"], settings=ClusterSettings(downing=Preferred("b")))


async def test_node_whose_strategy_poses_as_one_of_the_library_is_refused(autojump_clock, nodes):
    await nodes.start("a")
    with pytest.raises(JoinRefused, match="expected downing 'keep_majority'.* found 'custom keep_majority'"):
        await nodes.start("b", ["a"], settings=ClusterSettings(downing=Posing()))


async def test_strategy_that_raises_ends_its_nodes_with_that(autojump_clock, nodes):
    for name in "abc":
        await nodes.start(name, ["a"], settings=ClusterSettings(downing=Failing()))
    await nodes.all_up("a", "b", "c")
    nodes.network.freeze("c")
    for name in "ab":
        with trio.fail_after(60):
            await nodes.handles[name].ended.wait()
        error = nodes.handles[name].error
        assert isinstance(error, CastyError)
        assert isinstance(error.__cause__, LookupError)


async def test_text_of_a_strategy_is_that_of_the_start(autojump_clock, nodes):
    strategy = Holding(0)
    await nodes.start("a", settings=ClusterSettings(downing=strategy))
    strategy.what = 1
    await nodes.start("b", ["a"], settings=ClusterSettings(downing=Holding(0)))
    await nodes.all_up("a", "b")


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (Blunt(), r"custom Blunt\(answer=True\) cannot judge a partition: TypeError.*must return the reason.*got True"),
        (Blunt(None), "got None"),
        (Narrow(), r"custom Narrow\(\) cannot judge a partition: TypeError"),
    ],
)
async def test_strategy_that_cannot_judge_is_found_before_anything_runs(nodes, strategy, told):
    with pytest.raises(ConfigError, match=told):
        await nodes.start("a", settings=ClusterSettings(downing=strategy))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"downing": "keep_all"}, r"must be one of \('keep_majority', .*got 'keep_all'"),
        ({"downing": 3}, r"or a DowningStrategy: an object with `against\(partition\)`; got 3"),
        ({"downing": Preferred}, r"\(a class: write brackets behind it\)"),
        ({"downing": Nameless()}, "of a Nameless must be the same on all nodes.*give it a __str__"),
        ({"downing": Preferred("x" * 300)}, "of a Preferred must be 1 to 200 printable characters"),
        ({"downing": Sleepy()}, "`Sleepy.against` must be a plain function, got an async one"),
        ({"downing": Holding(object())}, "of a Holding must be the same on all nodes, got an address in memory"),
        ({"downing": Unwritten(1)}, "of a Unwritten must be the same on all nodes, and fails: LookupError"),
        ({"downing": Preferred("a"), "quorum_size": 2}, "quorum_size is for downing='static_quorum'"),
        ({"downing": Preferred("a"), "downing_role": "core"}, "downing_role has no meaning with downing=Preferred"),
    ],
)
def test_strategy_that_is_none_is_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        ClusterSettings(**settings)
