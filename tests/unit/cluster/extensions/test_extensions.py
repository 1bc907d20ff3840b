"""An extension of a user's, on real nodes: what it says, who may ask it, its order, its end, and bad input."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import census
import pytest
import trio
from census import Census, CensusSettings, GetCensus
from helpers.systems import fail
from prometheus_client import CollectorRegistry, generate_latest

from casty import (
    ActorContext,
    ActorRef,
    AskFailed,
    Behavior,
    Behaviors,
    CastyError,
    ClusteredActorSystem,
    ClusterExtension,
    ClusterSettings,
    ConfigError,
    EncodeError,
    ExtensionNode,
    MemoryNetwork,
    Metric,
    Metrics,
)
from casty.cluster.extension import PLAIN_HOOKS
from casty.prometheus import PrometheusCollector
from casty.testing.inspect import node_of
from casty.testing.samples import run_of
from casty.wire.frame import HEADER_BYTES, FrameKind, Lane

SETTINGS = CensusSettings(interval=0.5)


@dataclass(frozen=True)
class Note:
    text: str


@dataclass(frozen=True)
class Unfit:
    anything: Any


async def idle(ctx: ActorContext[Note], message: Note) -> Behavior[Note]:
    return Behaviors.same()


class Figures:
    def __init__(self) -> None:
        self.rows: dict[tuple[str, ...], float] = {}

    def counter(self, metric: Metric, value: float, *labels: str) -> None:
        self.rows[metric.name, *labels] = value

    gauge = counter


class Extra(ClusterExtension):
    """An extension that notes in which order it is called, and does what a test gives it to do."""

    name = "extra"

    def __init__(self, said: list[str] | None = None, actors: tuple[str, ...] = ()) -> None:
        self.said, self.actors = [] if said is None else said, actors or (f"_{self.name}",)
        self.got: list[Note] = []

    def attach(self, node: ExtensionNode) -> None:
        self.said.append(f"{self.name} attach")
        node.add_control(Note, f"test.{self.name}.note", lambda peer, message, size: self.got.append(message))

    def start(self, node: ExtensionNode) -> None:
        self.said.append(f"{self.name} start")
        for actor in self.actors:
            node.spawn(Behaviors.with_lifecycle(Behaviors.receive(idle), post_stop=self.stopped), actor)

    async def stopped(self, ctx: ActorContext[Note]) -> None:
        self.said.append(f"{ctx.self.path.rpartition('/')[2]} stopped")

    async def leave(self) -> None:
        self.said.append(f"{self.name} leave")

    def ended(self) -> None:
        self.said.append(f"{self.name} ended")


class Other(Extra):
    name = "other"

    def attach(self, node: ExtensionNode) -> None:
        self.said.append("other attach")


class Dispensable(Extra):
    when_it_fails = "go_without"


def node(*extensions: ClusterExtension, network: MemoryNetwork | None = None) -> ClusteredActorSystem:
    host = (network or MemoryNetwork()).host("a")
    return ClusteredActorSystem(name="shop", host="a", port=2551, node_id="a", network=host, extensions=extensions)


def figures_of(system: ClusteredActorSystem) -> dict[tuple[str, ...], float]:
    figures = Figures()
    system.collect(figures)
    return figures.rows


async def census_of(system: ClusteredActorSystem, of: str) -> dict[str, int]:
    ref = system.remote("/_cluster/_census", of).of(GetCensus)
    found: dict[str, int] = await system.ask(ref, GetCensus)
    return found


async def test_nodes_with_an_extension_tell_each_other_and_answer_members(autojump_clock, nodes):
    for name in "abc":
        seeds = "" if name == "a" else "a"
        await nodes.start(name, seeds, extensions=[Census(SETTINGS)])
    await nodes.all_up(*"abc")
    await trio.sleep(2)
    a, b, c = (nodes.handles[name].system for name in "abc")
    assert set(await census_of(a, "b")) == {"a:2551", "b:2551", "c:2551"}
    assert figures_of(a)["census_nodes",] == 3
    (member,) = (one for one in (await a.get_cluster_state()).members if one.id == "b")
    extra = dict(member.extra)
    assert extra["census"] == b"1"
    assert b"census.counts" in extra["casty.tables"].split()
    assert node_of(a).cluster_metrics.received["casty.table.rows"] > 0

    await nodes.stop("c")
    assert node_of(a).cluster_metrics.received["example.census.recount"] == 1
    assert set(await census_of(b, "a")) == {"a:2551", "b:2551"}
    assert node_of(c).cluster_metrics.sent["example.census.recount"] == 2


async def test_a_node_without_it_is_told_nothing_and_ignores_what_comes_all_the_same(autojump_clock, nodes):
    await nodes.start("a", extensions=[Census(SETTINGS)])
    await nodes.start("b", "a")
    await nodes.all_up("a", "b")
    await trio.sleep(2)
    a, b = (nodes.handles[name].system.cluster for name in "ab")
    assert set(await census_of(nodes.handles["b"].system, "a")) == {"a:2551"}
    assert "casty.table.rows" not in node_of(a).cluster_metrics.sent
    with pytest.raises(AskFailed):
        await census_of(nodes.handles["a"].system, "b")

    extra = Extra()
    await nodes.start("c", "a", extensions=[extra])
    await nodes.all_up("a", "b", "c")
    assert extra.node is not None
    assert extra.node.send(node_of(b).self_node, Note("x"))
    await trio.sleep(1)
    assert node_of(b).cluster_metrics.unknown == {"test.extra.note": 1}
    await nodes.all_up("a", "b", "c")


async def test_strangers_reach_neither_its_messages_nor_its_actor(autojump_clock, nodes):
    extra, census = Extra(), Census(SETTINGS)
    await nodes.start("a", extensions=[extra, census])
    running = nodes.handles["a"].node
    inbound = running.transport.link_manager.handler
    body = running.control_codec.frame_control(Note("x"))[HEADER_BYTES:]
    inbound.frame(run_of("stranger"), Lane.ordinary, FrameKind.CONTROL, body)
    assert running.cluster_metrics.refused["test.extra.note"] == 1
    assert extra.got == []
    reply_to = running.remote("/there", run_of("stranger").address)
    for path in ("/_cluster/_census", "/_cluster/_extra"):
        asked = running.codec.frame_envelope(path, 0, GetCensus(reply_to.of(dict[str, int])))
        inbound.frame(run_of("stranger"), Lane.ordinary, FrameKind.ENVELOPE, asked[HEADER_BYTES:])
    assert running.cluster_metrics.refused["example.census.GetCensus"] == 1


async def test_extensions_start_in_their_order_and_leave_and_stop_in_the_opposite_one(autojump_clock, nodes):
    said: list[str] = []
    first, second = Extra(said, ("_one", "_two")), Other(said)
    await nodes.start("a")
    await nodes.start("b", "a", extensions=[first, second])
    await nodes.stop("b")
    assert said == [
        "extra attach", "other attach", "extra start", "other start",
        "other leave", "extra leave",
        "_other stopped", "_two stopped", "_one stopped", "other ended", "extra ended",
    ]  # fmt: skip
    assert first.node is not None
    assert not first.node.send(run_of("c"), Note("x"))


async def test_an_extension_that_hangs_or_raises_as_it_leaves_keeps_nobody(autojump_clock, nodes, caplog):
    class Hanging(Other):
        async def leave(self) -> None:
            await trio.sleep_forever()

    class Raising(Extra):
        async def leave(self) -> None:
            raise LookupError("as a bug would")

    said: list[str] = []
    settings = ClusterSettings(leave_timeout=2.0)
    await nodes.start("a")
    await nodes.start("b", "a", extensions=[Raising(said), Hanging(said)], settings=settings)
    await nodes.all_up("a", "b")
    await nodes.stop("b")
    await nodes.all_up("a")
    assert nodes.handles["b"].error is None
    assert "the extension other did not leave in time, and is cancelled" in caplog.text
    assert "the extension extra failed as it left" in caplog.text
    assert said[-2:] == ["other ended", "extra ended"]


async def test_sys_exit_in_a_function_for_messages_ends_the_extension_by_its_policy(autojump_clock, nodes, caplog):
    class Quitting(Dispensable):
        def attach(self, node: ExtensionNode) -> None:
            node.add_control(Note, "test.extra.note", self.deliver)

        def deliver(self, sender: object, note: Note, size: int) -> None:
            raise SystemExit(3)

    quitting, other = Quitting(), Extra()
    await nodes.start("a", extensions=[quitting])
    await nodes.start("b", "a", extensions=[other])
    await nodes.all_up("a", "b")
    (peer,) = (member for member in other.node.members if member.id == "a")
    for _ in range(2):
        other.node.send(peer.unique, Note("again"))
        await trio.sleep(0.5)
    await nodes.all_up("a", "b")
    failed = [line for line in caplog.messages if "failed in" in line]
    assert failed == ["the extension extra failed in `deliver` of test.extra.note: the node goes on without it"]


async def test_a_node_ends_with_an_extension_that_it_needs(autojump_clock):
    extra = Extra()
    with pytest.raises(CastyError, match="/_cluster/_extra has ended, and the node with it") as caught:
        async with node(extra) as system:
            fail(system, "/_cluster/_extra")
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, LookupError)
    assert "extra leave" not in extra.said
    assert extra.said[-1] == "extra ended"


async def test_a_node_goes_on_without_an_extension_that_it_does_not_need(autojump_clock, nodes, caplog):
    lost, kept = Dispensable(actors=("_one", "_two")), Extra()
    await nodes.start("a", extensions=[lost])
    await nodes.start("b", "a", extensions=[kept])
    await nodes.all_up("a", "b")
    a, b = (nodes.handles[name].system for name in "ab")
    assert kept.node is not None and lost.node is not None
    assert kept.node.send(node_of(a).self_node, Note("before"))
    await trio.sleep(1)
    fail(a, "/_cluster/_one")
    await trio.sleep(1)
    assert "/_cluster/_one has ended, and the node goes on without the extension extra" in caplog.text
    assert a.lookup("/_cluster/_two") is None
    assert lost.said[2:] == ["_one stopped", "extra ended", "_two stopped"]
    assert kept.node.send(node_of(a).self_node, Note("after"))
    assert not lost.node.send(node_of(b).self_node, Note("after"))
    await trio.sleep(1)
    assert lost.got == [Note("before")]
    assert node_of(a).cluster_metrics.unknown == {"test.extra.note": 1}
    await nodes.all_up("a", "b")
    await nodes.stop("a")
    assert nodes.handles["a"].error is None
    assert lost.said.count("extra ended") == 1
    assert "extra leave" not in lost.said


class Raising(Other):
    def __init__(self, said: list[str], hook: str, error: BaseException) -> None:
        super().__init__(said)
        self.hook, self.error = hook, error

    def reach(self, hook: str) -> None:
        if self.hook == hook:
            raise self.error

    def attach(self, node: ExtensionNode) -> None:
        super().attach(node)
        self.reach("attach")

    def start(self, node: ExtensionNode) -> None:
        super().start(node)
        self.reach("start")

    def ended(self) -> None:
        super().ended()
        self.reach("ended")


class Third(Other):
    name = "third"


@pytest.mark.parametrize("error", [LookupError("as a bug would"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize(
    ("hook", "ended"),
    [
        ("attach", ["extra ended"]),
        ("start", ["third ended", "other ended", "extra ended"]),
        ("ended", ["third ended", "other ended", "extra ended"]),
    ],
)
async def test_each_extension_that_was_attached_lets_go_once(autojump_clock, hook, ended, error):
    said: list[str] = []
    extensions = Extra(said), Raising(said, hook, error), Third(said)
    end = contextlib.nullcontext() if hook == "ended" and isinstance(error, Exception) else pytest.raises(BaseException)
    with end:
        async with node(*extensions):
            pass
    assert [line for line in said if line.endswith(" ended")] == ended


async def test_what_others_say_to_who_leaves_is_no_dead_letter(autojump_clock, nodes):
    class Teller(Extra):
        def attach(self, node: ExtensionNode) -> None:
            node.add_control(Note, "test.extra.note", lambda peer, message, size: self.actor.tell(message))

        def start(self, node: ExtensionNode) -> None:
            self.actor = node.spawn(Behaviors.receive(self.take), "_extra")

        async def take(self, ctx: ActorContext[Note], message: Note) -> Behavior[Note]:
            await trio.sleep(0.002)
            return Behaviors.same()

    first, second = Teller(), Teller()
    await nodes.start("a", extensions=[first])
    await nodes.start("b", "a", extensions=[second])
    await nodes.all_up("a", "b")
    a, b = (nodes.handles[name].system for name in "ab")
    assert first.node is not None
    async with trio.open_nursery() as nursery:

        async def talk() -> None:
            while True:
                first.node.send(node_of(b).self_node, Note("x"))
                await trio.sleep(0.001)

        nursery.start_soon(talk)
        await trio.sleep(0.1)
        received = node_of(b).cluster_metrics.received
        assert received["test.extra.note"] > 50
        await nodes.stop("b")
        nursery.cancel_scope.cancel()
    assert b.statistics().dead_letters.get("actor stopped", 0) == 0
    assert second.said == ["extra leave", "extra ended"]


async def test_figures_that_an_extension_cannot_tell_cost_no_other_figure(autojump_clock, caplog):
    class Broken(Extra):
        def collect(self, metrics: object) -> None:
            raise LookupError("as a bug would")

    async with node(Broken(), Census()) as system:
        assert figures_of(system)["census_nodes",] == 0
        assert figures_of(system)["members", "up"] >= 0
    assert caplog.text.count("the extension extra cannot tell its figures") == 1


@pytest.mark.parametrize(
    ("name", "told", "expected"),
    [
        ("dead", [(Metric("letters", "mine", ("reason",)), 7, "x")], "dead_letters is another figure of this node"),
        ("control", [(Metric("messages_unknown", "mine"), 7)], "control_messages_unknown is another figure"),
        ("told", [(Metric("l", "odd"), 1), (Metric("l", "other"), 2)], "told_l is another figure of this node already"),
        ("extra", [(Metric("b_c", "here"), 1)], "extra_b_c is another figure of this node already: give b_c another"),
        ("told", [(Metric("l", "odd"), "text")], "the value of l must be a number, got 'text'"),
        ("told", [(Metric("l", "odd"), None)], "the value of l must be a number, got None"),
        ("told", [(Metric("l", "odd", ("k",)), 1, None)], r"l must have a text for each of its labels \('k',\), got "),
        ("told", [(Metric("l", "odd", ("k",)), 1)], r"l must have a text for each of its labels \('k',\), got \(\)"),
        ("told", [(Metric("l", "odd"), 1, "x")], r"l must have a text for each of its labels \(\), got \('x',\)"),
        ("told", [(Metric("a b", "odd"), 1)], "Metric.name must be lower-case letters, .*, got 'a b'"),
        ("told", [("l", 1)], "a figure has a casty.Metric, got 'l'"),
    ],
)
async def test_what_is_no_figure_of_an_extension_costs_its_own_alone(autojump_clock, caplog, name, told, expected):
    class Telling(Other):
        def collect(self, metrics: Metrics) -> None:
            metrics.counter(Metric("good", "Told first."), 1)
            for figure in told:
                metrics.gauge(*figure)

    class Counting(Extra):
        name = "extra_b"

        def collect(self, metrics: Metrics) -> None:
            metrics.counter(Metric("c", "Another one."), 5)

    Telling.name = name
    async with node(Counting(), Telling()) as system:
        whole = Figures()
        system.collect(whole)
        rows = generate_latest(registered(system)).decode()
    assert whole.rows["extra_b_c",] == 5
    assert not any(row[0] == f"{name}_good" for row in whole.rows)
    assert "casty_extra_b_c_total" in rows
    assert "mine" not in rows
    assert re.search(expected, caplog.text)


def registered(system: ClusteredActorSystem) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(PrometheusCollector(system))
    return registry


async def test_who_sends_what_is_no_message_of_the_extension_is_told(autojump_clock):
    extra = Extra()
    async with node(extra):
        assert extra.node is not None
        with pytest.raises(TypeError, match="GetCensus is no control message of the extension 'extra': add_control it"):
            extra.node.send(run_of("c"), GetCensus(extra.node.system.lookup("/_cluster")))
        with pytest.raises(RuntimeError, match="the extension 'extra' spawns its actors in `start`, and at no other"):
            extra.node.spawn(Behaviors.receive(idle), "_late")
        assert repr(extra.node) == "<ExtensionNode extra of " + str(extra.node.self_node) + ">"


def broken(what: str) -> ClusterExtension:
    class Broken(Extra):
        name = "broken"

        def attach(self, node: ExtensionNode) -> None:
            match what:
                case "taken name":
                    node.add_control(Note, "casty.heartbeat", print)
                case "own name":
                    node.add_control(Note, "casty.note", print)
                case "unfit":
                    node.add_control(Unfit, "test.unfit", print)
                case "lane":
                    node.add_control(Note, "test.note", print, lane="large")  # type: ignore[arg-type]  # what is tested
                case _:
                    pass

        def start(self, node: ExtensionNode) -> None:
            match what:
                case "actor" | "later actor" | "no name":
                    names = {"actor": "_receptionist", "later actor": "_peers", "no name": "a/b"}
                    node.spawn(Behaviors.receive(idle), names[what])
                case "accepts":
                    node.spawn(Behaviors.receive(idle), "_broken", accepts=[Unfit])
                case _:
                    pass

    return Broken()


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("taken name", "the extension 'broken': Note cannot be the control message 'casty.heartbeat': that is taken"),
        ("own name", "the extension 'broken': Note cannot .*: names that begin with 'casty.' belong to the library"),
        ("unfit", "the extension 'broken': Unfit cannot be .* 'test.unfit': Unfit.anything: typing.Any cannot travel"),
        ("lane", "the extension 'broken': 'test.note' needs the lane 'control' or 'ordinary' .* got 'large'"),
        ("actor", "the extension 'broken': there is an actor at /_cluster/_receptionist already"),
        ("later actor", "the extension 'broken': the actor name '_peers' is taken by casty itself"),
        ("no name", "the extension 'broken': an actor's name must be text"),
        ("accepts", "the extension 'broken': Unfit.anything: typing.Any cannot travel between nodes"),
    ],
)
async def test_an_extension_that_makes_no_sense_ends_the_start_and_leaves_nothing(autojump_clock, what, expected):
    network = MemoryNetwork()
    with trio.fail_after(5), pytest.raises(ConfigError, match=expected):
        async with node(broken(what), network=network):
            raise AssertionError("never entered")
    async with node(network=network):
        pass


@dataclass(frozen=True)
class Deep:
    inner: Deep | None = None


async def test_what_is_done_at_another_time_or_for_nobody_says_so(autojump_clock):
    class Early(Extra):
        def attach(self, node: ExtensionNode) -> None:
            super().attach(node)
            node.add_control(Deep, "test.extra.deep", lambda peer, message, size: None)
            with pytest.raises(RuntimeError, match="'extra' cannot subscribe before its node has started: do it"):
                node.subscribe(node.system.event_stream)

        def start(self, node: ExtensionNode) -> None:
            super().start(node)
            with pytest.raises(RuntimeError, match="'extra' adds its control messages in `attach`, and at no other"):
                node.add_control(Other, "test.extra.late", print)

    extra = Early()
    async with node(extra) as system:
        assert extra.node is not None
        (member,) = extra.node.members
        send, note = extra.node.send, Note("x")
        with pytest.raises(TypeError, match="to the run of a node, a UniqueAddress, got NodeAddress"):
            send(system.self_node, note)  # type: ignore[arg-type]  # what is tested
        with pytest.raises(TypeError, match=r"a UniqueAddress, got Member.*: write member.unique"):
            send(member, note)  # type: ignore[arg-type]  # what is tested
        with pytest.raises(ValueError, match="is this node: a control message goes to another one; tell the own actor"):
            send(member.unique, note)
        with pytest.raises(TypeError, match="an actor subscribes to the topology, by its ref, got 'extra'"):
            extra.node.subscribe("extra")  # type: ignore[arg-type]  # what is tested
        deep = Deep()
        for _ in range(5_000):
            deep = Deep(deep)
        with pytest.raises(EncodeError, match="test.extra.deep: values in values, deeper than this process can follow"):
            send(run_of("c"), deep)


def mistaken(**said: object) -> ClusterExtension:
    """Return an extension whose class has these attributes."""
    return type("Mistaken", (ClusterExtension,), {"name": "mistaken", **said})()


def instance_with(name: str, value: object) -> ClusterExtension:
    extension = mistaken()
    setattr(extension, name, value)
    return extension


async def coroutine(*_: object) -> None: ...


def inert(*_: object) -> None: ...


@pytest.mark.parametrize(
    ("extension", "expected"),
    [
        *((mistaken(**{hook: coroutine}), f"Mistaken.{hook} must be a plain function") for hook in PLAIN_HOOKS),
        (mistaken(leave=inert), "Mistaken.leave must be an async function: write `async def leave"),
        (instance_with("node", "rack-1"), "Mistaken.node is where its node is put, .* got 'rack-1': choose another"),
        (mistaken(node="rack-1"), "Mistaken.node is where its node is put, .* got 'rack-1': choose another"),
        (instance_with("name", "node"), "Mistaken.name cannot be 'node'"),
        (instance_with("name", "A b"), "Mistaken.name must be .*, got 'A b'"),
        (instance_with("name", 7), "Mistaken.name must be .*, got 7"),
    ],
)
def test_an_extension_that_cannot_work_is_refused_where_it_is_given(extension, expected):
    with pytest.raises(ConfigError, match=expected):
        node(extension)


async def test_a_refused_actor_opens_no_path(autojump_clock):
    class Catching(Extra):
        def start(self, node: ExtensionNode) -> None:
            self.paths = node.inside.open_paths
            for name in ("_watch", "_receptionist", "_peers", "a/b"):
                with pytest.raises(ConfigError):
                    node.spawn(Behaviors.receive(idle), name, accepts=iter([GetCensus]))
            node.spawn(Behaviors.receive(idle), "_extra", accepts=iter([GetCensus, int]))

    extra = Catching()
    async with node(extra):
        assert set(extra.paths) == {"/_cluster", "/_cluster/_extra"}
        assert set(extra.paths["/_cluster/_extra"]) == {GetCensus, int}


@pytest.mark.parametrize(
    "accepts", [[list[int]], [int | str], [ActorRef[int]], [GetCensus | int], [Note("x")], ["Note"], "Note", 7, None]
)
async def test_what_is_no_class_is_accepted_by_no_actor(autojump_clock, accepts):
    class Accepting(Extra):
        def start(self, node: ExtensionNode) -> None:
            node.spawn(Behaviors.receive(idle), "_extra", accepts=accepts)

    with pytest.raises(
        ConfigError, match="the extension 'extra': accepts must (be a list of classes|hold classes) of .*, got "
    ):
        async with node(Accepting()):
            raise AssertionError("never entered")


class NoName(ClusterExtension):
    pass


class Capital(ClusterExtension):
    name = "Capital"


class Table(ClusterExtension):
    name = "actors"


class Receptionist(ClusterExtension):
    name = "receptionist"


class Wordy(ClusterExtension):
    name = "wordy"
    capability = bytes(2_000)


class Textual(ClusterExtension):
    name = "textual"
    capability = "1"  # type: ignore[assignment]  # what is tested


class Untabled(ClusterExtension):
    name = "untabled"
    settings_type = int


@dataclass(frozen=True)
class Defaultless:
    size: int
    name: str = ""


class Demanding(ClusterExtension):
    name = "demanding"
    settings_type = Defaultless


class Vague(ClusterExtension):
    name = "vague"
    when_it_fails = "shrug"  # type: ignore[assignment]  # what is tested


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ([Census(), Census()], "two extensions are called 'census': give one of them another name"),
        ([Receptionist()], "two extensions are called 'receptionist'"),
        ([Census], r"instances of ClusterExtension, got <class 'census.Census'> \(a class: write brackets behind it\)"),
        (["census"], "extensions must be instances of ClusterExtension, got 'census'"),
        ([NoName()], "NoName.name must be 1 to 64 lower-case letters, digits and underscores, .*, got ''"),
        ([Capital()], "Capital.name must be .*, got 'Capital'"),
        ([Table()], "Table.name cannot be 'actors': that is one of casty's own tables"),
        ([Wordy()], "at most 16 extensions can, in 1024 bytes with their names, got 1 in 2005"),
        ([Textual()], "Textual.capability must be bytes or None, got '1'"),
        ([Untabled()], "Untabled.settings_type must be a dataclass or None, got <class 'int'>"),
        ([Demanding()], "Demanding.settings_type: Defaultless must be made without .*: give a default to size$"),
        ([Vague()], "Vague.when_it_fails must be 'end_node' or 'go_without', got 'shrug'"),
    ],
)
def test_extensions_that_a_node_cannot_have_are_refused_where_they_are_given(extensions, expected):
    with pytest.raises(ConfigError, match=expected):
        node(*extensions)


async def test_an_extension_belongs_to_one_run_of_a_node(autojump_clock):
    census = Census()
    async with node(census):
        pass
    with pytest.raises(ConfigError, match="the extension 'census' belongs to a:2551 already: make one for each node"):
        async with node(census):
            raise AssertionError("never entered")


def test_the_page_shows_this_extension() -> None:
    page = (Path(__file__).parents[4] / "docs" / "how-to" / "extend-the-cluster.md").read_text(encoding="utf-8")
    source = Path(census.__file__).read_text(encoding="utf-8")
    shown = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[:2]
    _, _, code = source.partition("from __future__ import annotations\n\n")
    assert "\n\n".join(shown).split() == code.replace("example.census", "shop.census").split()
