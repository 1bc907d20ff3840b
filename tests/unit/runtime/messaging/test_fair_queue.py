"""Several senders at one mailbox: each has its own queue once there is much, and all have their turns."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casty import Mailbox, MailboxOverflowStrategy
from casty.address import NodeAddress, UniqueAddress
from casty.runtime.events import Terminated
from casty.runtime.messaging.mailbox import DIRECT_MAX, NOTHING, MessageQueue
from casty.runtime.messaging.queueing.crowd import CROWD, Allowance
from casty.runtime.messaging.queueing.fair_queue import QUANTUM, FairQueue
from casty.runtime.messaging.queueing.notices import TerminatedNotice

SENDERS = ("a", "b", "c")


def put(mailbox: MessageQueue, sender: object, message: object) -> None:
    queue, room = mailbox.queue_for(sender)
    assert len(queue) < room
    queue.append(message)


def put_strange(mailbox: MessageQueue, sender: object, message: object, allowance: Allowance | None = None) -> None:
    assert mailbox.put_in_crowd(sender, message, 1, allowance or Allowance(1_000_000))


def taken(mailbox: MessageQueue, count: int, batch: int = QUANTUM) -> list[object]:
    """Take so many messages as an actor does: another's turn after each batch of at most `QUANTUM`."""
    seen: list[object] = []
    while len(seen) < count and (message := mailbox.take()) is not NOTHING:
        if isinstance(message, TerminatedNotice) and message.terminated is None:
            mailbox.notice_taken()
            mailbox.take_turns()
            continue
        seen.append(message)
        if not len(seen) % batch:
            mailbox.next_turn()
    return seen


def test_each_sender_has_its_turn_after_a_quantum_of_every_other() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number in range(1_000):
        queue.tail("flood").append(("flood", number))
    for sender in SENDERS:
        queue.tail(sender).append((sender, 0))
    assert (len(queue), queue.count("flood"), queue.count("a"), queue.count("nobody")) == (1_003, 1_000, 1, 0)
    order = [queue.turn() for _ in range(4)]
    assert [len(chunk) for chunk in order] == [QUANTUM, 1, 1, 1]
    assert queue.count("flood") == 1_000 - QUANTUM
    while queue:
        order.append(queue.turn())
    assert [number for chunk in order for sender, number in chunk if sender == "flood"] == list(range(1_000))


@given(st.lists(st.tuples(st.sampled_from(SENDERS), st.booleans()), max_size=600))
def test_by_turns_of_one_nothing_is_lost_and_the_order_of_each_sender_holds(steps: list[tuple[str, bool]]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    seen: list[tuple[str, int]] = []
    sent: defaultdict[str, int] = defaultdict(int)
    for sender, pops in steps:
        queue.tail(sender).append((sender, sent[sender]))
        sent[sender] += 1
        assert sum(queue.count(one) for one in SENDERS) == len(queue)
        if pops:
            head = queue.head()
            seen.append(queue.pop())
            assert seen[-1] == head
    while queue:
        seen.append(queue.pop())
    for sender in SENDERS:
        assert [number for one, number in seen if one == sender] == list(range(sent[sender]))


@given(
    st.lists(
        st.tuples(st.sampled_from(["local", "x", "y", *SENDERS]), st.booleans(), st.integers(0, 150)), max_size=30
    ),
    st.sampled_from([8, 40, QUANTUM]),
    st.data(),
)
def test_the_order_of_each_sender_holds_in_a_mailbox_and_nothing_is_lost(steps, batch, data) -> None:
    """Also of those who are members at one time, and strangers at another."""
    mailbox, allowance = MessageQueue(Mailbox()), Allowance(1_000_000)
    sent: defaultdict[str, int] = defaultdict(int)
    seen: list[object] = []
    for sender, is_member, count in steps:
        for _ in range(count):
            message = (sender, sent[sender])
            sent[sender] += 1
            if sender == "local":
                assert mailbox.offer(message)
            elif sender in "xy" or not is_member:
                put_strange(mailbox, sender, message, allowance)
            else:
                if mailbox.flows:
                    mailbox.flows.promote(sender)
                put(mailbox, sender, message)
        assert len(mailbox) == sum(sent.values()) - len(seen)
        seen += taken(mailbox, data.draw(st.integers(0, 200)), batch)
    seen += taken(mailbox, 100_000, batch)
    assert (len(mailbox), allowance.bytes) == (0, 0)
    for sender, count in sent.items():
        assert [number for one, number in seen if one == sender] == list(range(count))


def test_a_turn_of_strangers_is_one_message_whatever_waits() -> None:
    mailbox = MessageQueue(Mailbox())
    for number in range(1_000):
        put_strange(mailbox, "x", ("x", number))
    assert (mailbox.messages, mailbox.is_crowded) == (deque(), True)
    for number in range(200):
        put(mailbox, "a", ("a", number))
    order = [sender for sender, _ in taken(mailbox, 200)]  # type: ignore[misc]  # pairs, all of them
    assert order.count("x") <= 2 * (200 // QUANTUM + 1)  # a batch that ends within a turn ends that, too


@pytest.mark.parametrize("batch", [8, QUANTUM])
def test_what_a_removed_run_says_waits_behind_what_it_said_as_a_member(batch: int) -> None:
    mailbox, allowance = MessageQueue(Mailbox()), Allowance(1_000_000)
    for number in range(500):
        put(mailbox, "gone", number)
    for number in range(500, 520):
        put_strange(mailbox, "gone", number, allowance)
    seen = taken(mailbox, 100, batch)
    for number in range(520, 540):
        put_strange(mailbox, "gone", number, allowance)
    assert allowance.bytes == 40
    seen += taken(mailbox, 490 - len(seen), batch)
    assert allowance.bytes == 40
    assert [*seen, *taken(mailbox, 100, batch)] == list(range(540))
    assert (allowance.bytes, len(mailbox)) == (0, 0)


def test_a_removed_run_has_no_more_turns_for_what_it_says_since() -> None:
    mailbox = MessageQueue(Mailbox())
    for number in range(1_000):
        put(mailbox, "gone", ("gone", number))
        put(mailbox, "a", ("a", number))
    for number in range(1_000):
        put_strange(mailbox, "gone", ("gone", 1_000 + number))
    order = [sender for sender, _ in taken(mailbox, 1_000)]  # type: ignore[misc]  # pairs, all of them
    assert abs(order.count("gone") - order.count("a")) <= QUANTUM + 1_000 // QUANTUM


def test_a_turn_ends_with_the_batch_of_its_actor() -> None:
    mailbox = MessageQueue(Mailbox())
    for number in range(5_000):
        put(mailbox, "flood", number)
    put(mailbox, "honest", "ask")
    taken(mailbox, DIRECT_MAX, 8)
    assert taken(mailbox, 100, 8).index("ask") <= 2 * 8


def test_a_sender_that_waits_alone_goes_on_until_another_comes() -> None:
    mailbox = MessageQueue(Mailbox())
    for number in range(1_000):
        put(mailbox, "flood", number)
    seen = taken(mailbox, DIRECT_MAX + 100, 8)
    left = mailbox.front
    assert left and mailbox.next_turn() is left, "nobody else waits"
    mailbox.offer("own")
    put(mailbox, "honest", "ask")
    order = taken(mailbox, 24, 8)
    assert {"own", "ask"} < set(order)
    seen += [*order, *taken(mailbox, 2_000, 8)]
    assert [one for one in seen if isinstance(one, int)] == list(range(1_000))


def test_what_is_put_back_is_no_turn_that_ends() -> None:
    mailbox = MessageQueue(Mailbox())
    for number in range(300):
        put(mailbox, "a", number)
        put(mailbox, "b", number)
    taken(mailbox, DIRECT_MAX + 3)
    mailbox.put_back(["first", "second"])
    mailbox.next_turn()
    assert taken(mailbox, 2, 1) == ["first", "second"]


def test_a_stranger_that_finds_no_room_leaves_no_mark_of_a_place() -> None:
    mailbox, full = MessageQueue(Mailbox()), Allowance(0)
    mailbox.offer("local")
    for number in range(100):
        assert not mailbox.put_in_crowd("x", number, 1, full)
    assert (len(mailbox.messages), mailbox.notices) == (1, 0)


@pytest.mark.parametrize("waits", [False, True])
def test_the_last_message_goes_before_what_strangers_have_waiting(waits: bool) -> None:
    mailbox, allowance = MessageQueue(Mailbox()), Allowance(1_000)
    for number in range(100):
        put_strange(mailbox, "x", number, allowance)
    for number in range(100 if waits else 0):
        put(mailbox, "a", ("a", number))
    assert mailbox.put_before("last") is waits
    if waits:
        assert taken(mailbox, 101) == [*[("a", number) for number in range(100)], "last"]
        assert not mailbox.put_before("last")
    assert allowance.bytes == 100
    assert sorted(mailbox.close()) == list(range(100))  # type: ignore[type-var]  # numbers, all of them
    assert allowance.bytes == 0


def test_who_sends_little_does_not_wait_behind_who_sends_much() -> None:
    mailbox = MessageQueue(Mailbox())
    for number in range(20_000):
        put(mailbox, "flood", number)
    put(mailbox, "honest", "ask")
    assert taken(mailbox, 20_001).index("ask") <= DIRECT_MAX + QUANTUM
    for number in range(20_000):
        put(mailbox, "flood", number)
    taken(mailbox, 1_000)
    put(mailbox, "honest", "ask")
    assert taken(mailbox, 20_000).index("ask") <= 3 * QUANTUM


def test_neither_senders_here_nor_there_keep_the_others_waiting() -> None:
    mailbox = MessageQueue(Mailbox())
    for number in range(5_000):
        assert mailbox.offer(("local", number))
        put(mailbox, "flood", ("flood", number))
    order = [sender for sender, _ in taken(mailbox, 9_000)]  # type: ignore[misc]  # pairs, all of them
    # What was there before the first of another node comes first; from then on each has its share.
    begin = order.index("flood")
    turns = [place for place in range(begin, len(order)) if order[place] == "local"]
    assert max(after - before for before, after in pairwise(turns)) <= 2 * QUANTUM


def test_few_messages_stay_in_one_order() -> None:
    mailbox = MessageQueue(Mailbox())
    for number in range(DIRECT_MAX):
        put(mailbox, SENDERS[number % 3], number)
    assert mailbox.flows is None
    assert taken(mailbox, DIRECT_MAX) == list(range(DIRECT_MAX))


@pytest.mark.parametrize(
    "settings",
    [
        Mailbox(DIRECT_MAX),
        Mailbox(1_000, MailboxOverflowStrategy.drop_oldest),
        Mailbox(1_000, MailboxOverflowStrategy.reject),
    ],
)
def test_a_small_mailbox_and_one_with_a_policy_of_its_own_have_one_queue(settings: Mailbox) -> None:
    mailbox = MessageQueue(settings)
    for number in range(settings.capacity):
        put(mailbox, "a", number)
    queue, room = mailbox.queue_for("b")
    assert len(queue) >= room
    assert mailbox.flows is None
    assert not mailbox.is_crowded


@pytest.mark.parametrize("is_by_name", [False, True])
def test_the_end_of_an_actor_waits_behind_what_its_node_has_sent(is_by_name: bool) -> None:
    class Ref:
        path = "/there"

        class address:  # stands for an attribute
            node, incarnation = NodeAddress("b", 1), 0 if is_by_name else 7

    sender = UniqueAddress(NodeAddress("b", 1), 7)
    mailbox = MessageQueue(Mailbox())
    for number in range(500):
        put(mailbox, "flood", number)
    for number in range(500, 700):
        put(mailbox, sender, number)
    mailbox.put_notice(TerminatedNotice(Terminated(Ref())))  # type: ignore[arg-type]  # all that is looked at
    put(mailbox, sender, "after")
    order = taken(mailbox, 1_000)
    (end,) = [place for place, message in enumerate(order) if isinstance(message, TerminatedNotice)]
    assert order.index(699) < end < order.index("after")
    mailbox.notice_taken()
    assert len(mailbox) == 0


def test_the_end_of_an_actor_waits_behind_what_its_node_has_sent_as_a_stranger() -> None:
    class Ref:
        path = "/there"

        class address:  # stands for an attribute
            node, incarnation = NodeAddress("b", 1), 7

    sender, mailbox = UniqueAddress(NodeAddress("b", 1), 7), MessageQueue(Mailbox())
    for number in range(100):
        put_strange(mailbox, sender, number)
        put_strange(mailbox, "other", ("other", number))
    mailbox.put_notice(TerminatedNotice(Terminated(Ref())))  # type: ignore[arg-type]  # all that is looked at
    assert mailbox.flows is not None
    assert (mailbox.flows.count(CROWD), mailbox.flows.senders()) == (100, [sender])
    theirs = [message for message in taken(mailbox, 201) if not isinstance(message, tuple)]
    assert theirs[:-1] == list(range(100))
    assert isinstance(theirs[-1], TerminatedNotice)


def test_a_closed_mailbox_gives_back_what_waits_in_all_queues() -> None:
    mailbox = MessageQueue(Mailbox())
    for number in range(300):
        put(mailbox, SENDERS[number % 3], number)
    taken(mailbox, 10)
    assert sorted(mailbox.close()) == list(range(10, 300))  # type: ignore[type-var]  # numbers, all of them
    queue, room = mailbox.queue_for("a")
    assert len(queue) >= room
    assert (len(mailbox), mailbox.take()) == (0, NOTHING)


def test_a_batch_that_ends_before_a_message_of_a_stranger_is_taken_loses_nothing_of_the_crowd() -> None:
    """What an inbox takes of signals counts for its batch, so a turn can be over before it has begun."""
    mailbox, allowance = MessageQueue(Mailbox()), Allowance(1_000)
    for number in range(40):
        put_strange(mailbox, "stranger", number, allowance)
    assert mailbox.flows is not None
    for number in range(40):
        mailbox.flows.tail("a").append(f"a{number}")
    seen: list[object] = []
    while (message := mailbox.take()) is not NOTHING:
        seen.append(message)
        for _ in range(len(seen) % 4):
            mailbox.next_turn()
    assert [message for message in seen if isinstance(message, int)] == [*range(40)]
    assert [message for message in seen if isinstance(message, str)] == [f"a{number}" for number in range(40)]
    assert allowance.bytes == 0
