"""Tables of extensions on real nodes: rows of each at all, budgets, bad values, and the end of whoever wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import pytest
import trio

import casty
from casty import (
    CastyError,
    ClusteredActorSystem,
    ClusterExtension,
    ClusterTable,
    ConfigError,
    EncodeError,
    ExtensionNode,
    MemoryNetwork,
    TableFull,
    UniqueAddress,
)
from casty.cluster.commands import GetMembership
from casty.protocol.gossip.tables import TABLES_TOLD
from casty.protocol.state.rows import ROWS_MAX, TABLE_BYTES_MAX, TABLES_MAX, RowPage, RowTable, TableRows
from casty.testing.inspect import node_of


@casty.message("test.tables.Stock")
@dataclass(frozen=True)
class Stock:
    item: str
    count: int


class Shop(ClusterExtension):
    name = "shop"

    def __init__(self, value_type: object = Stock, bytes_max: int = 4_096) -> None:
        self.said: list[tuple[str, dict[str, object]]] = []
        self.stock: ClusterTable = ClusterTable("stock", value_type, bytes_max=bytes_max, changed=self.heard)  # type: ignore[type-arg,arg-type]  # of each test's own type
        self.tables = (self.stock,)

    def heard(self, owner: UniqueAddress, rows: Mapping[str, object]) -> None:
        self.said.append((owner.address.host, dict(rows)))

    def start(self, node: ExtensionNode) -> None:
        if self.stock.value_type is Stock:
            self.stock.set("first", Stock("tea", 1))

    def known(self) -> dict[str, dict[str, object]]:
        return {owner.address.host: dict(rows) for owner, rows in self.stock.rows.items()}


FIRST = {"first": Stock("tea", 1)}


async def started(nodes, *names: str, **shops: Shop) -> dict[str, Shop]:
    for name in names:
        await nodes.start(name, "" if name == "a" else "a", extensions=[shops[name]] if name in shops else [])
    await nodes.all_up(*names)
    return shops


async def test_rows_of_each_node_are_known_at_all(autojump_clock, nodes):
    shops = await started(nodes, *"abc", a=Shop(), b=Shop(), c=Shop())
    shops["b"].stock.set("milk", Stock("milk", 3))
    await trio.sleep(0.2)
    expected = {"a": FIRST, "b": {**FIRST, "milk": Stock("milk", 3)}, "c": FIRST}
    assert all(shop.known() == expected for shop in shops.values())
    shops["b"].stock.set("milk", Stock("milk", 4))
    shops["b"].stock.remove("first")
    shops["b"].stock.remove("nothing")
    assert shops["b"].stock.own == {"milk": Stock("milk", 4)}
    await trio.sleep(0.2)
    expected["b"] = {"milk": Stock("milk", 4)}
    assert all(shop.known() == expected for shop in shops.values())
    assert ("b", expected["b"]) in shops["c"].said


async def test_rows_of_a_removed_member_go_and_those_of_its_next_run_come(autojump_clock, nodes):
    shops = await started(nodes, *"abc", a=Shop(), b=Shop(), c=Shop())
    await nodes.stop("b")
    await trio.sleep(1)
    assert shops["a"].known() == {"a": FIRST, "c": FIRST}
    assert shops["a"].said[-1] == ("b", {})
    again = Shop()
    await nodes.start("b", "a", extensions=[again])
    await nodes.all_up(*"abc")
    again.stock.set("milk", Stock("milk", 3))
    await trio.sleep(1)
    assert shops["a"].known()["b"] == {**FIRST, "milk": Stock("milk", 3)}
    assert again.known() == shops["c"].known()


async def test_rows_are_made_again_for_changed_owners_alone(autojump_clock, nodes, monkeypatch):
    shops = await started(nodes, *"abc", a=Shop(), b=Shop(), c=Shop())
    await trio.sleep(1)
    made: list[str] = []
    rows_of = RowTable.rows_of

    def counted(table: RowTable, owner: UniqueAddress) -> dict[str, bytes]:
        made.append(owner.address.host)
        return rows_of(table, owner)

    monkeypatch.setattr(RowTable, "rows_of", counted)
    await nodes.start("d", "a")  # without the table: let in, up, and gone again
    await nodes.all_up(*"abcd")
    await nodes.stop("d")
    await trio.sleep(20)
    assert made == []
    shops["b"].stock.set("milk", Stock("milk", 3))
    await trio.sleep(5)
    assert made == ["b"] * 3, "once at each node"
    assert all(shop.known()["b"] == {**FIRST, "milk": Stock("milk", 3)} for shop in shops.values())


async def test_a_node_without_the_table_is_told_nothing_of_it(autojump_clock, nodes):
    shops = await started(nodes, *"abc", a=Shop(), c=Shop())
    shops["a"].stock.set("milk", Stock("milk", 3))
    await trio.sleep(20)
    assert shops["a"].known() == shops["c"].known() == {"a": {**FIRST, "milk": Stock("milk", 3)}, "c": FIRST}
    b = node_of(nodes.handles["b"].system.cluster)
    assert "casty.table.rows" not in b.cluster_metrics.received
    assert b.cluster_metrics.unknown_tables == {}
    (without, *_) = (m for m in (await nodes.handles["a"].system.get_cluster_state()).members if m.id == "b")
    (with_it, *_) = (m for m in (await nodes.handles["a"].system.get_cluster_state()).members if m.id == "c")
    tables = [set(dict(member.extra)[TABLES_TOLD].split()) for member in (with_it, without)]
    assert tables[0] - tables[1] == {b"shop.stock"}

    before = dict(b.cluster_metrics.sent)
    await trio.sleep(60)
    assert b.cluster_metrics.sent["casty.gossip.versions"] == before["casty.gossip.versions"], "digests stay equal"


async def test_a_burst_of_changes_travels_together(autojump_clock, nodes):
    shops = await started(nodes, *"ab", a=Shop(), b=Shop())
    await trio.sleep(1)
    a = node_of(nodes.handles["a"].system.cluster)
    before = a.cluster_metrics.sent["casty.table.rows"]
    for count in range(1_000):
        shops["a"].stock.set("milk", Stock("milk", count))
        if count % 100 == 0:
            await trio.sleep(0.001)
    await trio.sleep(0.2)
    assert shops["b"].known()["a"]["milk"] == Stock("milk", 999)
    assert a.cluster_metrics.sent["casty.table.rows"] - before <= 4


async def test_rows_beyond_the_budget_are_refused_and_nothing_changes(autojump_clock, nodes):
    shops = await started(nodes, "a", a=Shop(bytes, bytes_max=1_000))
    table = shops["a"].stock
    table.set("one", bytes(500))
    with pytest.raises(TableFull, match=r"'shop.stock' holds at most 4096 rows and 1000 bytes.*it had 2 and 11\d\d"):
        table.set("two", bytes(500))
    assert table.own == {"one": bytes(500)}
    table.set("one", bytes(600))  # in place of the other value
    table.remove("one")
    table.set("two", bytes(800))
    assert table.own == {"two": bytes(800)}


async def test_the_largest_budget_holds_few_large_or_many_small_rows(autojump_clock, nodes):
    shops = await started(nodes, "a", a=Shop(int, bytes_max=TABLE_BYTES_MAX))
    with pytest.raises(TableFull, match=r"4096 rows .* it had 3\d\d\d and 262\d\d\d"):
        for number in range(ROWS_MAX + 1):
            shops["a"].stock.set(f"{number:x}", 1)


async def test_bad_rows_are_errors_of_whoever_sets_them(autojump_clock, nodes):
    shops = await started(nodes, "a", a=Shop(bytes, bytes_max=TABLE_BYTES_MAX))
    table = shops["a"].stock
    for key, told in (("\ud800", "lone surrogate"), (5, "a key must be a text, got int"), (b"k", "got bytes")):
        with pytest.raises(ValueError, match=told):
            table.set(key, b"")  # type: ignore[arg-type]  # what is tested
    for key in ("", "k" * 256):
        with pytest.raises(ValueError, match="1 to 255 characters"):
            table.set(key, b"")
    with pytest.raises(EncodeError, match="at most 65536 bytes, got 65552 under 'large'"):
        table.set("large", bytes(65_536))
    with pytest.raises(EncodeError, match="bytes"):
        table.set("text", "text")
    assert table.own == {}


async def test_a_value_of_another_type_is_left_out_and_named(autojump_clock, nodes, caplog):
    shops = await started(nodes, *"ab", a=Shop(int), b=Shop(str))
    shops["a"].stock.set("count", 3)
    shops["b"].stock.set("count", "three")
    await trio.sleep(30)
    assert (shops["a"].known(), shops["b"].known()) == ({"a": {"count": 3}}, {"b": {"count": "three"}})
    assert "its row 'count' of the table shop.stock is left out: expected int, got str" in caplog.text
    a = node_of(nodes.handles["a"].system.cluster)
    before = a.cluster_metrics.sent["casty.gossip.versions"]
    await trio.sleep(30)
    assert a.cluster_metrics.sent["casty.gossip.versions"] == before, "both have the bytes of all"


async def test_an_error_of_the_callback_costs_nothing_else(autojump_clock, nodes, caplog):
    class Failing(Shop):
        def heard(self, owner: UniqueAddress, rows: Mapping[str, object]) -> None:
            raise RuntimeError("no")

    shops = await started(nodes, *"ab", a=Failing(), b=Shop())
    shops["b"].stock.set("milk", Stock("milk", 3))
    await trio.sleep(0.2)
    assert shops["a"].known() == shops["b"].known()
    assert "the table shop.stock failed as it told of rows of" in caplog.text


class Quitting(Shop):
    """Leaves the program where it is told of milk."""

    def heard(self, owner: UniqueAddress, rows: Mapping[str, object]) -> None:
        super().heard(owner, rows)
        if "milk" in rows:
            raise self.error

    def ended(self) -> None:
        self.said.append(("ended", {}))

    error: BaseException = SystemExit(3)


async def test_sys_exit_in_the_callback_ends_an_extension_that_the_node_can_do_without(autojump_clock, nodes, caplog):
    class Dispensable(Quitting):
        when_it_fails = "go_without"

    shops = await started(nodes, *"ab", a=Dispensable(), b=Shop())
    shops["b"].stock.set("milk", Stock("milk", 3))
    await trio.sleep(1)
    assert [line for line in caplog.messages if "the extension shop" in line] == [
        "the extension shop failed in `changed` of the table shop.stock: the node goes on without it"
    ]
    assert shops["a"].said[-1] == ("ended", {})
    assert "a" not in shops["b"].known(), "its rows are taken back"
    shops["b"].stock.set("milk", Stock("milk", 4))
    await trio.sleep(1)
    assert shops["a"].said[-1] == ("ended", {})
    await nodes.all_up("a", "b")
    assert len([line for line in caplog.messages if "the extension shop" in line]) == 1


@pytest.mark.parametrize("policy", ["go_without", "end_node"])
async def test_sys_exit_in_the_callback_is_its_last_call(autojump_clock, nodes, caplog, policy):
    class Last(Quitting):
        when_it_fails = policy

    last = Last()
    shops = await started(nodes, *"abc", a=Shop(), b=Shop(), c=Shop())
    for shop in shops.values():
        shop.stock.set("milk", Stock("milk", 3))
    await trio.sleep(1)
    with suppress(CastyError):
        await nodes.start("d", "a", extensions=[last])
        await trio.sleep(1)
    assert ["milk" in rows for _, rows in last.said].count(True) == 1
    assert len([line for line in caplog.messages if "the extension shop failed" in line]) == 1


async def test_sys_exit_in_the_callback_ends_a_node_that_needs_the_extension(autojump_clock, nodes, caplog):
    shops = await started(nodes, *"ab", a=Quitting(), b=Shop())
    shops["b"].stock.set("milk", Stock("milk", 3))
    await trio.sleep(1)
    error = nodes.handles["a"].error
    assert isinstance(error, CastyError)
    assert str(error) == "the extension shop has ended, and the node with it"
    assert isinstance(error.__cause__, SystemExit)
    assert "the extension shop failed in `changed` of the table shop.stock: it ends the node" in caplog.text


async def test_ctrl_c_in_the_callback_is_no_failure_of_the_extension(autojump_clock, caplog):
    shop = Quitting()
    shop.error = KeyboardInterrupt()
    network = MemoryNetwork().host("a")
    system = ClusteredActorSystem(name="shop", host="a", port=1, node_id="a", network=network, extensions=[shop])
    with pytest.raises(CastyError, match="/_cluster/_gossip has ended"):
        async with system:
            shop.stock.set("milk", Stock("milk", 3))
            await trio.sleep(1)
    assert "failed in" not in caplog.text


async def test_bad_pages_of_a_member_change_nothing_and_are_named(autojump_clock, nodes, caplog):
    shops = await started(nodes, *"ab", a=Shop(), b=Shop())
    await trio.sleep(0.5)
    a, b = (node_of(nodes.handles[name].system.cluster) for name in "ab")
    own = b.self_node
    cluster_id = (await nodes.handles["a"].system.ask(a.subsystems.topology, GetMembership)).state.cluster_id
    for changes, fault in (
        (((5, "", b""),), "1 to 255 characters, got 0"),
        (((5, "k", bytes(65_537)),), "at most 65536 bytes"),
        (((6, "k", b""), (5, "l", b"")), "in order"),
    ):
        caplog.clear()
        b.send_control(a.self_node, TableRows(cluster_id, "shop.stock", (RowPage(own, 1, 6, 0, changes),)))
        await trio.sleep(0.2)
        assert fault in caplog.text
    b.send_control(a.self_node, TableRows(cluster_id, "newer.one", ()))
    await trio.sleep(0.2)
    assert a.cluster_metrics.unknown_tables == {"newer.one": 1}
    assert shops["a"].known() == {"a": FIRST, "b": FIRST}


class Dispensable(Shop):
    when_it_fails = "go_without"

    def start(self, node: ExtensionNode) -> None:
        super().start(node)

        async def fail(ctx: casty.ActorContext[str], message: str) -> casty.Behavior[str]:
            raise RuntimeError(message)

        self.actor = node.spawn(casty.Behaviors.receive(fail), "_shop")


async def test_rows_of_an_extension_that_failed_are_taken_back(autojump_clock, nodes):
    failing = Dispensable()
    shops = await started(nodes, *"ab", a=Shop(), b=failing)
    await trio.sleep(0.2)
    assert shops["a"].known() == {"a": FIRST, "b": FIRST}
    failing.actor.tell("no")
    await trio.sleep(1)
    assert shops["a"].known() == {"a": FIRST}
    with pytest.raises(RuntimeError, match="has no node"):
        failing.stock.set("milk", Stock("milk", 1))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("Stock", int), "1 to 64 lower-case letters"),
        (("", int), "1 to 64 lower-case letters"),
        ((7, int), "1 to 64 lower-case letters"),
        (("stock", int, 0), "from 1 to 262144, got 0"),
        (("stock", int, TABLE_BYTES_MAX + 1), "from 1 to 262144, got 262145"),
        (("stock", int, True), "got True"),
        (("stock", int, "9"), "got '9'"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(arguments: tuple[object, ...], fault: str) -> None:
    name, value_type, *bytes_max = arguments
    with pytest.raises(ConfigError, match=fault):
        ClusterTable(name, value_type, bytes_max=bytes_max[0] if bytes_max else 1)  # type: ignore[arg-type]  # on purpose


def test_a_callback_must_be_a_plain_function() -> None:
    async def later(owner: UniqueAddress, rows: Mapping[str, int]) -> None: ...

    with pytest.raises(TypeError, match="async"):
        ClusterTable("stock", int, changed=later)  # type: ignore[arg-type]  # as a user may write it


def system_with(*extensions: ClusterExtension) -> ClusteredActorSystem:
    host = MemoryNetwork().host("a")
    return ClusteredActorSystem(name="shop", host="a", port=2551, node_id="a", network=host, extensions=extensions)


def with_tables(*tables: object) -> ClusterExtension:
    extension = Shop()
    extension.tables = tables  # type: ignore[assignment]  # as a user may write it
    return extension


@pytest.mark.parametrize(
    ("extension", "fault"),
    [
        (with_tables(7), "instances of ClusterTable, got 7"),
        (with_tables(ClusterTable("one", int), ClusterTable("one", str)), "two of the name 'one'"),
        (with_tables(*(ClusterTable(f"t{n}", int) for n in range(TABLES_MAX + 1))), "at most 8 tables, got 9"),
        (with_tables(*(ClusterTable(f"t{n}" + "x" * 60, int) for n in range(TABLES_MAX))), None),
    ],
)
def test_tables_that_a_node_cannot_have_are_refused(extension: ClusterExtension, fault: str | None) -> None:
    if fault is None:
        system_with(extension)
        return
    with pytest.raises(ConfigError, match=fault):
        system_with(extension)


def test_one_table_in_two_extensions_of_a_node_is_refused() -> None:
    table = ClusterTable("stock", int)
    first, second = with_tables(table), with_tables(table)
    second.name = "second"
    with pytest.raises(ConfigError, match="two of them have one together"):
        system_with(first, second)


async def test_a_type_that_cannot_travel_and_a_table_in_use_are_refused(autojump_clock, nodes):
    class Odd:
        pass

    with pytest.raises(ConfigError, match=r"extension 'shop': the table 'stock': .*Odd"):
        async with system_with(Shop(Odd)):
            raise AssertionError("it must not start")
    shops = await started(nodes, "a", a=Shop())
    other = Shop()
    other.tables = shops["a"].tables
    with pytest.raises(ConfigError, match="belongs to a node already"):
        async with system_with(other):
            raise AssertionError("it must not start")


def test_a_table_without_a_node_cannot_be_written() -> None:
    with pytest.raises(RuntimeError, match="has no node"):
        ClusterTable("stock", int).set("milk", 1)
    assert ClusterTable("stock", int).rows == {}
