"""Certificates of a running cluster over TCP, replaced one after the other, and one that is not.

A certificate that is replaced is denied one step later, and a link that still shows it is cut: so links that were not
handed over would cost messages. The one that is not replaced ends during its test.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import permutations
from pathlib import Path

import pytest
import trio
from helpers.certificates import TestCa

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, TlsConfig
from casty.config.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE
from casty.testing.inspect import node_of
from casty.transport.manager import handovers
from casty.transport.manager.peers import HOUSEKEEPING_INTERVAL

PATIENCE = 240.0
ASKS = 64
RELOAD_EVERY = 0.3
STEP = 9.0
"""Seconds between two replacements: the files are found, and the links handed over, at a time of its own each."""
FIRST_LASTS = timedelta(seconds=30)


@casty.message("tests.rotation.Told")
@dataclass(frozen=True)
class Told:
    by: str
    number: int


@casty.message("tests.rotation.Asked")
@dataclass(frozen=True)
class Asked:
    number: int
    reply_to: ActorRef[int]


Message = Told | Asked


@dataclass
class Load:
    """Three nodes, all that they tell and ask one another, and what has come of it."""

    nodes: dict[str, ClusteredActorSystem]
    got: dict[tuple[str, str], list[int]] = field(default_factory=dict[tuple[str, str], list[int]])
    told: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    answered: int = 0
    is_done: bool = False

    def offer(self, name: str) -> None:
        async def take(_: ActorContext[Message], message: Message) -> Behavior[Message]:
            if isinstance(message, Told):
                self.got.setdefault((message.by, name), []).append(message.number)
            else:
                message.reply_to.tell(message.number)
            return Behaviors.same()

        self.nodes[name].spawn(Behaviors.receive(take), "sink")

    def ref(self, by: str, to: str) -> ActorRef[Message]:
        return self.nodes[by].remote("/sink", self.nodes[to].self_node).of(Message)

    async def tell(self, by: str, to: str) -> None:
        ref = self.ref(by, to)
        while not self.is_done:
            number = self.told.get((by, to), 0)
            await ref.send(Told(by, number))
            self.told[by, to] = number + 1
            await trio.sleep(0.005)  # as fast as it goes, the asks would wait behind tells, and say nothing of links

    async def ask(self, by: str, to: str) -> None:
        ref, number = self.ref(by, to), 0
        while not self.is_done:
            number += 1
            assert await self.nodes[by].ask(ref, partial(Asked, number), timeout=30) == number
            self.answered += 1
            await trio.sleep(0.02)

    @asynccontextmanager
    async def run(self, names: Iterable[str]) -> AsyncIterator[None]:
        """Keep ASKS asks in flight, and tell from each to each, meanwhile."""
        pairs = list(permutations(names, 2))
        async with trio.open_nursery() as nursery:
            for by, to in pairs:
                nursery.start_soon(self.tell, by, to)
            for number in range(ASKS):
                nursery.start_soon(self.ask, *pairs[number % len(pairs)])
            yield
            self.is_done = True

    async def check(self) -> None:
        while sum(map(len, self.got.values())) < sum(self.told.values()):  # noqa: ASYNC110  # real time
            await trio.sleep(0.05)
        assert self.got == {pair: [*range(count)] for pair, count in self.told.items()}
        assert self.answered > ASKS and all(self.told.values())


@asynccontextmanager
async def cluster(configs: dict[str, TlsConfig]) -> AsyncIterator[Load]:
    async with AsyncExitStack() as stack:
        load, seeds = Load({}), list[tuple[str, int]]()
        for name, tls in configs.items():
            node = ClusteredActorSystem(
                name="shop", host="127.0.0.1", port=0, node_id=name, seed_nodes=seeds, required_quorum=len(seeds) + 1,
                tls=replace(tls, reload_every=RELOAD_EVERY),
            )  # fmt: skip
            load.nodes[name] = await stack.enter_async_context(node)
            load.offer(name)
            seeds = seeds or [(node.self_node.host, node.self_node.port)]
        yield load


def issue(ca: TestCa, folder: Path, name: str, lasts: timedelta = timedelta(days=30)) -> TlsConfig:
    return ca.issue(folder / name, f"spiffe://shop/node/{name}", lasts=lasts)


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings, but those of certificates that end soon."""
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [line for line in found if ", ends in " not in line and "cannot be used" not in line]


async def test_a_node_whose_certificate_has_ended_is_cut_off_and_says_why_and_the_others_go_on(tmp_path, caplog):
    ca, lasts = TestCa.make(), timedelta(seconds=15)
    configs = {name: issue(ca, tmp_path, name, lasts if name == "c" else timedelta(days=30)) for name in "abc"}
    with trio.fail_after(PATIENCE), pytest.raises(casty.NodeDowned, match="could not reach a majority"):
        async with cluster(configs) as load:
            async with load.run("ab"):
                await trio.sleep(lasts.total_seconds())
                await load.nodes["c"].wait_stopped()
            await load.check()
            told = "\n".join(complaints(caplog))
            assert "the certificate of spiffe://shop/node/c ended at " in told
            assert "the TLS certificate of this node, spiffe://shop/node/c, has ended: other nodes refuse it" in told
            assert "the certificate of spiffe://shop/node/a" not in told
            assert "the certificate of spiffe://shop/node/b" not in told


@dataclass
class Files:
    """The files of three nodes, replaced under them; certificates of before are denied, one step later each."""

    folder: Path
    caplog: pytest.LogCaptureFixture
    steps: int = 0
    serials: list[int] = field(default_factory=list[int])

    def issue(self, ca: TestCa, name: str, folder: Path) -> TlsConfig:
        self.serials.append(len(self.serials) + 1)
        tls = ca.issue(folder / name, f"spiffe://shop/node/{name}", serial=self.serials[-1])
        return replace(tls, denied=self.folder / "denied")

    def reissue(self, ca: TestCa) -> None:
        for name in "abc":
            self.issue(ca, name, self.folder / "made")
            for file in (CERTIFICATE_FILE, KEY_FILE):
                (self.folder / "made" / name / file).replace(self.folder / name / file)

    def believe(self, *cas: TestCa) -> None:
        """Believe these, and none of the certificates before those that are shown now."""
        for name in "abc":
            (self.folder / name / CA_FILE).write_bytes(b"".join(ca.pem for ca in cas))
        (self.folder / "denied").write_text("".join(f"{serial:x}\n" for serial in self.serials[: -len("abc")]))

    async def taken(self, load: Load) -> None:
        """Return when each node has read its files, and no link is to get another connection for it any more."""
        self.steps += 1
        while sum("were read anew" in line for line in self.caplog.messages) < self.steps * len(load.nodes):  # noqa: ASYNC110  # real time
            await trio.sleep(0.05)
        await trio.sleep(1.5 * HOUSEKEEPING_INTERVAL)
        managers = [transport.link_manager for node in load.nodes.values() if (transport := node_of(node).transport)]
        while any(session.renew_at < math.inf for manager in managers for session in manager.sessions):  # noqa: ASYNC110  # as above
            await trio.sleep(0.05)


async def test_leaf_and_ca_are_replaced_under_load_and_no_message_is_lost_refused_or_overtaken(
    tmp_path, caplog, monkeypatch
):
    """A link that still shows a certificate of before is cut when that is denied, and would cost messages."""
    monkeypatch.setattr(handovers, "RENEWAL_SPREAD", 0.5)
    caplog.set_level(logging.INFO, "casty.transport")
    old, new, files = TestCa.make("old"), TestCa.make("new"), Files(tmp_path, caplog)
    (tmp_path / "denied").touch()
    with trio.fail_after(PATIENCE):
        async with cluster({name: files.issue(old, name, tmp_path) for name in "abc"}) as load:
            async with load.run("abc"):
                files.reissue(old)
                await files.taken(load)
                files.believe(old, new)
                await files.taken(load)
                files.reissue(new)
                await files.taken(load)
                files.believe(new)
                await files.taken(load)
            await load.check()
            assert complaints(caplog) == []
            assert len((await load.nodes["a"].get_cluster_state()).members) == len("abc")
