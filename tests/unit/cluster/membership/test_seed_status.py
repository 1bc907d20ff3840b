"""A node that no seed lets in says why, while it waits and when it gives up."""

from __future__ import annotations

import logging

import pytest
import trio
from helpers.tasks import in_background

from casty import ClusterTimeoutError, NodeAddress
from casty.cluster.membership.seed_status import SeedStatus
from casty.protocol.messages.membership import JoinAnswer, JoinState
from casty.transport.network.interface import Connection

SEED, NODE = NodeAddress("seed", 2551), NodeAddress("node", 2551)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if "no seed has let this node in" in record.getMessage()]


async def test_a_wrong_seed_is_named_with_its_cause_after_two_seconds(autojump_clock, nodes, caplog):
    async with in_background(nodes.start, "a", ["nowhere"]):
        await trio.sleep(1.9)
        assert warnings(caplog) == []
        await trio.sleep(0.2)
        assert warnings(caplog) == [
            "no seed has let this node in for 2 s: cannot connect to nowhere:2551: nobody listens there"
        ]


@pytest.mark.parametrize("join_timeout", [0.4, 3.0, 20.0])
async def test_a_seed_that_accepts_and_says_nothing_does_not_lengthen_the_join(
    autojump_clock, nodes, nursery: trio.Nursery, join_timeout: float
):
    listener = await nodes.network.host("mute").listen("mute", 2551)

    async def say_nothing(connection: Connection) -> None:
        await trio.sleep_forever()

    nursery.start_soon(listener.serve, say_nothing)
    began = trio.current_time()
    with pytest.raises(ClusterTimeoutError, match=f"gave up after {join_timeout:g} s"):
        await nodes.start("a", ["mute"], join_timeout=join_timeout)
    assert trio.current_time() - began <= join_timeout
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("join_timeout", [0.4, 3.0, 20.0])
async def test_a_quorum_that_does_not_come_does_not_lengthen_the_join(autojump_clock, nodes, join_timeout: float):
    await nodes.start("a")
    nodes.network.host("b")
    began = trio.current_time()
    with pytest.raises(ClusterTimeoutError, match="of 3 required members were up"):
        await nodes.start("b", "a", required_quorum=3, join_timeout=join_timeout)
    assert trio.current_time() - began <= join_timeout
    await nodes.all_up("a")


async def test_the_warning_is_repeated_ever_more_sparsely(autojump_clock, nodes, caplog):
    with pytest.raises(ClusterTimeoutError):
        await nodes.start("a", ["nowhere"], join_timeout=300)
    waits = [text.partition(":")[0].rpartition(" for ")[2] for text in warnings(caplog)]
    assert waits == ["2 s", "10 s", "30 s", "90 s", "150 s", "210 s", "270 s"]


async def test_the_error_says_what_happened_last_with_each_seed(autojump_clock, nodes):
    nodes.network.host("silent")
    nodes.network.cut("a", "silent")
    with pytest.raises(ClusterTimeoutError) as caught:
        await nodes.start("a", ["nowhere", "silent"], join_timeout=20)
    assert str(caught.value) == (
        "'a' gave up after 20 s: no seed let it in: cannot connect to nowhere:2551: nobody listens there; "
        "silent:2551 did not answer the dial within 5 s"
    )


async def test_a_seed_says_for_whom_it_waits_and_warns_only_after_a_while(autojump_clock, nodes, caplog):
    caplog.set_level(logging.INFO, logger="casty.cluster")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nodes.start, "a", ["a", "nowhere", "b"])
        await trio.sleep(31)
        told = [r for r in caplog.records if "a cluster begins with 2 of 3 seeds" in r.getMessage()]
        assert [r.levelname for r in told] == ["INFO", "INFO", "WARNING"]
        hints = ["(others are gone for good? see allow_new_cluster)" in one.getMessage() for one in told]
        assert hints == [False, False, True]  # before, they may just be starting
        assert told[0].getMessage() == (
            "waiting for other seeds for 2 s: cannot connect to nowhere:2551: nobody listens there; "
            "cannot connect to b:2551: nobody listens there; a cluster begins with 2 of 3 seeds, this one included"
        )
        await nodes.start("b", ["a", "nowhere", "b"])
        await nodes.sees("b", {"a": "up", "b": "up"})
        nursery.cancel_scope.cancel()


async def test_a_seed_that_may_begin_alone_says_so_and_does(autojump_clock, nodes, caplog):
    caplog.set_level(logging.INFO, logger="casty.cluster")
    await nodes.start("a", ["nowhere", "a"], allow_new_cluster=True)
    rule = "this node begins a cluster alone if no seed answers for 5 s, not even one that was downed, and waits"
    assert rule in caplog.text


@pytest.mark.parametrize("seeds", [["a", "nowhere"], ["nowhere", "a"]])
async def test_the_error_says_what_a_seed_waits_for(autojump_clock, nodes, seeds):
    with pytest.raises(ClusterTimeoutError) as caught:
        await nodes.start("a", seeds, join_timeout=20)
    assert str(caught.value).endswith(
        ": no seed let it in: cannot connect to nowhere:2551: nobody listens there; "
        "a cluster begins with 2 of 2 seeds, this one included"
    )


async def test_a_node_that_is_let_in_at_once_warns_of_nothing(autojump_clock, nodes, caplog):
    await nodes.start("a")
    await nodes.start("b", "a")
    await trio.sleep(60)
    assert warnings(caplog) == []


async def test_a_seed_that_waits_for_others_itself_is_shown_as_such(autojump_clock, nodes, caplog):
    async with trio.open_nursery() as nursery:
        for name in "ab":  # each waits for c, which is the only one that may form the cluster
            nursery.start_soon(nodes.start, name, ["c", "b" if name == "a" else "a"])
        await trio.sleep(2.5)
        assert any("b:2551 answered that it is in no cluster yet either" in text for text in warnings(caplog))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (JoinState.not_in_cluster, "seed:2551 answered that it is in no cluster yet either"),
        (
            JoinState.waiting,
            "seed:2551 was downed, and waits for those whom it knew: it does not count here "
            "(are they gone for good? end its process, and start it anew)",
        ),
        (JoinState.in_cluster, "seed:2551 would let this node in, and the welcome has not come yet"),
        (JoinState.retry, "seed:2551 asks this node to wait: because"),
        (JoinState.refused, "seed:2551 refused this node: because"),
    ],
)
def test_each_answer_has_its_words(state, text):
    contacts = SeedStatus()
    contacts.expect([SEED], NODE)
    contacts.answered(SEED, JoinAnswer(7, state, "because"))
    assert str(contacts) == text


def test_news_of_other_addresses_are_not_kept_and_a_reason_cannot_fake_a_line():
    contacts = SeedStatus()
    contacts.expect([SEED], NODE)
    contacts.failed(NodeAddress("other", 1), "gone")
    contacts.refused(SEED, "no\nFAKE LINE")
    assert str(contacts) == r"seed:2551 refused the connection: no\nFAKE LINE"


def test_the_latest_news_replaces_what_was_known():
    contacts = SeedStatus()
    contacts.expect([SEED], NODE)
    contacts.failed(SEED, "reset by peer")
    assert str(contacts) == "seed:2551: reset by peer"
    contacts.is_self(SEED)
    assert str(contacts) == "seed:2551 is this node itself"


async def test_the_error_names_the_way_out_for_who_has_waited_for_long(autojump_clock, nodes):
    with pytest.raises(
        ClusterTimeoutError, match=r"this one included \(others are gone for good\? see allow_new_cluster\)$"
    ):
        await nodes.start("a", ["a", "nowhere"])
