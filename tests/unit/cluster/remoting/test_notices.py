"""Notices of messages that were not delivered: what is kept of those that answer nothing."""

from __future__ import annotations

import msgpack
import pytest
import trio

from casty import MessageSummary
from casty.testing.samples import run_of
from casty.wire.envelope import Notice
from casty.wire.frame import FrameKind, Lane

LONGEST_PATH, LONGEST_NAME = "/" + "x" * 4_095, "y" * 1_024


def hear(handle, run, kind: FrameKind, body: bytes) -> None:
    """Have a node hear a frame of a run, as it comes from the transport."""
    handle.inbound.frame(run, Lane.ordinary, kind, body)


def envelope(path: str, name: str) -> bytes:
    head = msgpack.packb([path, 0, name])
    return len(head).to_bytes(2, "big") + head + msgpack.packb(1)


@pytest.mark.parametrize(("path", "name"), [("/" + "x" * 900_000, "y"), ("/x", "y" * 900_000)])
async def test_a_notice_that_no_node_would_send_is_refused(autojump_clock, nodes, path, name):
    first = await nodes.start("a")
    hear(first, run_of("stranger"), FrameKind.NOTICE, msgpack.packb(["no_actor", path, 0, name, 0]))
    await trio.sleep(0.1)
    assert first.letters == []
    assert first.node.cluster_metrics.decode_errors == 1


@pytest.mark.parametrize("kind", [FrameKind.NOTICE, FrameKind.ENVELOPE])
async def test_no_long_text_of_a_stranger_is_kept_by_who_reads_dead_letters(autojump_clock, nodes, kind):
    """A message of a stranger whose link is gone, or has no room, becomes a dead letter where it came."""
    first = await nodes.start("a")
    notice = msgpack.packb(["no_actor", LONGEST_PATH, 0, LONGEST_NAME, 0])
    body = notice if kind is FrameKind.NOTICE else envelope(LONGEST_PATH, LONGEST_NAME)
    hear(first, run_of("stranger"), kind, body)
    await trio.sleep(0.1)
    (letter,) = first.letters
    assert letter.message == MessageSummary("y" * 125 + "...", 0)
    assert letter.intended_ref.path == "/" + "x" * 124 + "..."


async def test_a_notice_of_a_member_is_shown_whole_and_one_of_a_stranger_by_its_name(autojump_clock, nodes):
    first, member = await nodes.join("a", "b")
    for run in (member.run, run_of("stranger")):
        hear(first, run, FrameKind.NOTICE, msgpack.packb(["no_actor", "/caf\xe9", 0, "shop.Add", 0]))
    await trio.sleep(0.1)
    of_member, of_stranger = first.letters
    assert of_member.message == Notice("no_actor", "/caf\xe9", 0, "shop.Add")
    assert of_stranger.message == MessageSummary("shop.Add", 0)
    assert of_member.intended_ref.path == of_stranger.intended_ref.path == "/caf\xe9"
    assert of_member.reason == of_stranger.reason == "not delivered: no_actor"
