"""The uid of a ref cannot be guessed: who can name an actor exactly can speak of it."""

from __future__ import annotations

from casty import ActorContext, ActorSystem, Behavior, Behaviors, SystemConfig
from casty.runtime.system.system import kernel_of


async def ignore(ctx: ActorContext[int], message: int) -> Behavior[int]:
    return Behaviors.same()


async def test_uids_of_actors_are_random_numbers_of_64_bits() -> None:
    async with ActorSystem("shop") as system:
        uids = [system.spawn(Behaviors.receive(ignore), f"actor-{n}").address.uid for n in range(500)]
    assert len({uid >> 32 for uid in uids}) == 500
    for bit in range(64):
        assert 150 < sum(uid >> bit & 1 for uid in uids) < 350, f"bit {bit}"


async def test_a_guesser_of_uids_names_nobody() -> None:
    async with ActorSystem("shop") as system:
        refs = [system.spawn(Behaviors.receive(ignore), f"actor-{n}") for n in range(20)]
        kernel = kernel_of(system)
        known = refs[0].address.uid
        guesses = [*range(1, 3_000), *(known + step for step in range(-3_000, 3_000))]
        found = {(ref.path, uid) for ref in refs for uid in guesses if kernel.target(ref.path, uid) is not None}
    assert found == {("/actor-0", known)}


async def test_the_adapter_of_an_actor_has_a_uid_as_the_actor_has() -> None:
    seen: list[int] = []

    async def setup(ctx: ActorContext[int]) -> Behavior[int]:
        seen.extend(ctx.message_adapter(str_to_int).address.uid for _ in range(3))
        return Behaviors.receive(ignore)

    async with ActorSystem("shop") as system:
        ref = system.spawn(Behaviors.setup(setup), "adapted")
        await system.ask_or_none(ref, lambda reply_to: 1, timeout=0.01)
    assert len({uid >> 32 for uid in seen}) == 3


async def test_a_seed_repeats_them() -> None:
    async def uids(seed: int) -> list[int]:
        async with ActorSystem("shop", config=SystemConfig(seed=seed)) as system:
            return [system.spawn(Behaviors.receive(ignore), f"actor-{n}").address.uid for n in range(5)]

    assert await uids(7) == await uids(7) != await uids(8)


def str_to_int(text: str) -> int:
    return int(text)
