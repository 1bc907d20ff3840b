"""The handover of a link from one connection to the next, as a machine: two ends and the pipes between them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

import pytest

from casty.errors import ProtocolError
from casty.transport.links.handover import Handover
from casty.wire.frame import FrameDecoder, FrameKind, frame

NONCE = 7
Pipe = deque[tuple[FrameKind, bytes]]
"""Frames under way on one connection, in one direction."""


def frames_of(data: bytes) -> list[tuple[FrameKind, bytes]]:
    return [(kind, bytes(body)) for kind, body in FrameDecoder(64).feed(data)]


@dataclass
class End:
    """One end of the link, driven as a session drives it."""

    handover: Handover
    old_out: Pipe
    old_in: Pipe
    new_out: Pipe
    new_in: Pipe
    sent: int = 0
    got: list[int] = field(default_factory=list[int])
    is_up: bool = True
    has_old: bool = True
    has_new: bool = True

    def send(self) -> None:
        out = self.new_out if self.handover.is_said else self.old_out
        if self.is_up and (self.has_new if self.handover.is_said else self.has_old):
            out.append((FrameKind.ENVELOPE, self.sent.to_bytes(4, "big")))
            self.sent += 1

    def say(self) -> None:
        if self.is_up and self.handover.may_say:
            self.old_out.extend(frames_of(self.handover.say()))
            self.handover.said()
            self._look()

    def read_old(self) -> None:
        if not self.is_up or not self.has_old or self.handover.is_heard or not self.old_in:
            return
        kind, body = self.old_in.popleft()
        if kind is FrameKind.ENVELOPE:
            self.got.append(int.from_bytes(body, "big"))
        elif self.handover.hear(body):
            self._look()
        else:
            self.is_up = False

    def read_new(self) -> None:
        if self.is_up and self.has_new and self.handover.is_heard and self.new_in:
            self.got.append(int.from_bytes(self.new_in.popleft()[1], "big"))

    def lose(self, *, is_old: bool) -> None:
        if not (self.has_old if is_old else self.has_new):
            return
        if is_old:
            self.has_old = False
        else:
            self.has_new = False
        if self.handover.ends_link(is_old=is_old):
            self.is_up = False

    def _look(self) -> None:
        if self.handover.is_over:
            self.lose(is_old=True)


def ends() -> tuple[End, End]:
    there_old, there_new, back_old, back_new = Pipe(), Pipe(), Pipe(), Pipe()
    dialler = End(Handover(NONCE, is_dialler=True), there_old, back_old, there_new, back_new)
    acceptor = End(Handover(NONCE, is_dialler=False), back_old, there_old, back_new, there_new)
    return dialler, acceptor


def step(rng: Random, end: End) -> None:
    rng.choice([end.send, end.send, end.say, end.read_old, end.read_new])()


@pytest.mark.parametrize("seed", range(200))
def test_nothing_is_lost_doubled_or_reordered_while_both_connections_are_up(seed: int) -> None:
    rng, both = Random(seed), ends()
    for _ in range(rng.randrange(200)):
        step(rng, rng.choice(both))
    for _ in range(4 * sum(end.sent + 5 for end in both)):
        for end in both:
            end.say()
            end.read_old()
            end.read_new()
    for end, other in (both, reversed(both)):
        assert end.got == [*range(other.sent)]
        assert end.is_up and not end.has_old and end.handover.is_over


@pytest.mark.parametrize("seed", range(500))
def test_a_connection_that_dies_in_the_middle_costs_the_end_of_what_was_sent_and_no_more(seed: int) -> None:
    rng, both = Random(seed), ends()
    for _ in range(rng.randrange(60)):
        step(rng, rng.choice(both))
    is_old = rng.random() < 0.5
    was_committed = any(end.handover.is_committed for end in both)
    were_over = all(end.handover.is_over for end in both)
    for end in rng.sample(both, 2):
        end.lose(is_old=is_old)
        for _ in range(rng.randrange(30)):
            step(rng, rng.choice(both))
    for end in both:  # an end of the link closes its connections
        if not end.is_up:
            for other in both:
                other.lose(is_old=True)
                other.lose(is_old=False)
    for end, other in (both, reversed(both)):
        assert end.got == [*range(len(end.got))] and len(end.got) <= other.sent
    if not is_old and not was_committed and not both[0].handover.is_committed:
        assert both[0].is_up and both[1].is_up, "the new connection was of no importance yet"
    if is_old and were_over:
        assert both[0].is_up and both[1].is_up, "the old connection was of none any more"
    if was_committed and not were_over and not (is_old and all(end.handover.is_over for end in both)):
        assert not all(end.is_up for end in both)


def test_the_acceptor_says_nothing_before_the_dialler() -> None:
    dialler, acceptor = ends()
    acceptor.say()
    assert not acceptor.old_out
    dialler.say()
    acceptor.read_old()
    acceptor.say()
    dialler.read_old()
    assert dialler.handover.is_over and acceptor.handover.is_over


def test_a_new_connection_lost_before_anything_was_said_costs_nothing_at_either_end() -> None:
    for end in ends():
        assert not end.handover.ends_link(is_old=False)
        assert not end.handover.may_say
        assert end.handover.ends_link(is_old=True), "the link is on the old one, and ends with it"


def test_the_acceptor_that_lost_the_new_connection_first_ends_the_link_when_it_hears() -> None:
    dialler, acceptor = ends()
    dialler.say()
    acceptor.lose(is_old=False)
    assert acceptor.is_up
    acceptor.read_old()
    assert not acceptor.is_up


@pytest.mark.parametrize("nonce", [0, NONCE + 1, 2**64 - 1])
def test_handover_to_another_connection_is_refused(nonce: int) -> None:
    dialler, acceptor = ends()
    with pytest.raises(ProtocolError, match="no connection that waits"):
        acceptor.handover.hear(nonce.to_bytes(8, "big"))
    with pytest.raises(ProtocolError, match="no connection that waits"):
        dialler.handover.hear(NONCE.to_bytes(8, "big"))  # the dialler has not said it
    assert not acceptor.handover.is_committed and not dialler.handover.is_committed


def test_handover_twice_or_of_another_size_is_refused() -> None:
    dialler, acceptor = ends()
    [(kind, body)] = frames_of(dialler.handover.say())
    assert kind is FrameKind.HANDOVER and frame(kind, body)[5:] == body
    assert acceptor.handover.hear(body)
    for wrong in (body, body[1:], body + b"x", b""):
        with pytest.raises(ProtocolError):
            acceptor.handover.hear(wrong)
