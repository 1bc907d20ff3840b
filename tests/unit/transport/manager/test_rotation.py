"""Links of nodes with TLS whose certificates are replaced, and denied a moment later."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import trio

from casty import TlsNetwork
from casty.config.tls import CERTIFICATE_FILE, KEY_FILE
from casty.transport.links import session
from casty.transport.network.interface import Connection, close
from casty.wire.frame import Lane

SLOW = 0.5
"""Seconds between the end of a session and the close of its connection: some turns of a busy loop."""


@pytest.mark.parametrize("lane", [Lane.control, Lane.ordinary])
@pytest.mark.parametrize("who", ["a", "b"])
async def test_a_connection_that_was_handed_over_ends_no_link_when_its_certificate_is_denied(
    autojump_clock, world, ca, tmp_path, caplog, monkeypatch, lane, who
) -> None:
    async def close_late(connection: Connection) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(SLOW)
        await close(connection)

    def files(name: str, folder: str, serial: int):
        return ca.issue(tmp_path / folder / name, f"spiffe://shop/node/{name}", serial=serial)

    monkeypatch.setattr(session, "close", close_late)
    caplog.set_level(logging.WARNING, "casty.transport")
    denied, nodes = tmp_path / "denied", []
    denied.touch()
    for number, name in enumerate("ab", 1):
        tls = replace(files(name, "used", number), denied=denied, reload_every=0.1)
        network = TlsNetwork(tls, system_name="shop", node_id=name, network=world.network.host(name))
        nodes.append(await world.node(name, number, network=network, node_id=name))
    a, b = nodes
    a.transport.keep([b.me])
    b.transport.keep([a.me])
    a.transport.dial(b.me.address, lane)
    for node in nodes:
        await node.told.wait("link_up")
    old = [node.transport.link_manager.links.by_peer[lane][peer.me].session for node, peer in ((a, b), (b, a))]
    files(who, "made", 3)
    for file in (CERTIFICATE_FILE, KEY_FILE):
        (tmp_path / "made" / who / file).replace(tmp_path / "used" / who / file)
    for one in old:
        await one.over.wait()
    denied.write_text(f"{'ab'.index(who) + 1}\n")
    await trio.sleep(3 * SLOW)
    assert caplog.messages == []
    for node, other in ((a, b), (b, a)):
        node.say(other, b"x", lane=lane)
        await other.told.wait("frame")
        assert not node.told.all("link_lost")
