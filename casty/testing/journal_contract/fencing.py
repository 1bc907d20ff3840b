"""Promises about claims, settings and identity: the right to write, and agreements for ever."""

from __future__ import annotations

import trio

from casty.errors import Fenced, JournalError, SequenceConflict
from casty.journal import Claim
from casty.testing.journal_contract.trial import Handle, Trial, attempt, refused, require, texts

RACES = 10


async def claims_are_numbered_and_cannot_be_guessed(trial: Trial) -> None:
    """Claims come in the order of their scopes, numbered from 1, with different tokens of 16 bytes."""
    scopes = [trial.name(letter) for letter in "cab"]
    async with trial.open() as one:
        first = await one.journal.claim(scopes)
        require([claim.scope for claim in first] == scopes, f"claims of {scopes} are {first}")
        require([claim.number for claim in first] == [1, 1, 1], f"first claims have the numbers {first}")
        second = await one.journal.claim(scopes[1:])
        require([claim.number for claim in second] == [2, 2], f"second claims have the numbers {second}")
        tokens = {claim.token for claim in (*first, *second)}
        require(len(tokens) == 5, "tokens of claims are made twice")
        require(all(len(token) == 16 for token in tokens), "a token of a claim has 16 bytes")
    async with trial.open() as one:
        claim = await one.claim(scopes[1])
        require(claim.number == 3, f"the third claim of a scope, after a restart, has the number {claim.number}")


async def an_earlier_claim_writes_nothing(trial: Trial) -> None:
    """An append, a forget and an erase under a void claim are refused, and nothing changes."""
    name = trial.name("a")
    async with trial.open() as one:
        old = await one.claim(name)
        await one.append(old, name, 0, "a", "b")
        new = await one.claim(name)
        await refuses_all(one, old, name)
        await one.append(new, name, 2, "c")
        await refuses_all(one, old, name)
        await one.holds(name, "a", "b", "c", why="a void claim changes nothing")


async def refuses_all(one: Handle, claim: Claim, name: str) -> None:
    """Require a void claim to be refused for each change of events."""
    last = len(await one.events(name))
    async with refused("an append under a void claim", Fenced):
        await one.append(claim, name, last, "never")
    async with refused("an append under a void claim that is behind, too,", Fenced):
        await one.append(claim, name, 0, "never")
    async with refused("a forget under a void claim", Fenced):
        await one.journal.forget(claim, name, 1)
    async with refused("an erase under a void claim", Fenced):
        await one.journal.erase(claim, name)


async def a_claim_that_was_never_made_writes_nothing(trial: Trial) -> None:
    """A claim with another token, another number or of an unclaimed scope is refused."""
    name = trial.name("a")
    async with trial.open() as one:
        claim = await one.claim(name)
        await one.append(claim, name, 0, "a")
        await refuses_all(one, Claim(name, claim.number, bytes(16)), name)
        await refuses_all(one, Claim(name, claim.number + 1, claim.token), name)
        await refuses_all(one, Claim(trial.name("nobody's"), 1, claim.token), name)
        await one.holds(name, "a", why="a claim that was never made changes nothing")


async def a_refusal_names_the_holder(trial: Trial) -> None:
    """`Fenced` has the holder of the newest claim, so two clusters on one store see each other."""
    name = trial.name("a")
    async with trial.open() as one:
        old = await one.claim(name, "shop")
        await one.claim(name, "b" * 64)
        try:
            await one.append(old, name, 0, "never")
        except Fenced as error:
            require(error.holder == "b" * 64, f"the scope is held by bbb..., told is {error.holder!r}")
        else:
            require(False, "an append under a void claim is not refused")


async def a_claim_leaves_other_scopes_alone(trial: Trial) -> None:
    """Writers of other scopes go on."""
    async with trial.open() as one:
        claims = await one.journal.claim([trial.name("a"), trial.name("b")])
        await one.claim(trial.name("a"))
        await one.claim(trial.name("c"))
        await one.append(claims[1], trial.name("b"), 0, "b")
        await one.holds(trial.name("b"), "b", why="a claim of another scope fences nobody")


async def an_id_belongs_to_one_scope(trial: Trial) -> None:
    """An id is bound by its first append; under a claim of another scope nothing of it changes."""
    name = trial.name("id")
    async with trial.open() as one:
        own, other = await one.journal.claim([trial.name("own"), trial.name("other")])
        await one.append(own, name, 0, "a")
        for after in (0, 1):
            async with refused("an append under a claim of another scope", SequenceConflict):
                await one.append(other, name, after, "never")
        async with refused("a forget under a claim of another scope", SequenceConflict):
            await one.journal.forget(other, name, 1)
        async with refused("an erase under a claim of another scope", SequenceConflict):
            await one.journal.erase(other, name)
        await one.holds(name, "a", why="a claim of another scope changes nothing")
        await one.append(own, name, 1, "b")
    async with trial.open() as one:
        other = await one.claim(trial.name("other"))
        async with refused("after a restart, an append under a claim of another scope", SequenceConflict):
            await one.append(other, name, 2, "never")


async def claims_outlive_the_journal(trial: Trial) -> None:
    """After a restart void claims are void, and the newest one holds until the next."""
    name = trial.name("a")
    async with trial.open() as one:
        old = await one.claim(name)
        new = await one.claim(name)
        trial.crash()
    async with trial.open() as one:
        await refuses_all(one, old, name)
        await one.append(new, name, 0, "a")
        await one.claim(name)
        await refuses_all(one, new, name)
        await one.holds(name, "a", why="claims are compared after a restart")


async def a_claim_fences_writers_of_other_handles(trial: Trial) -> None:
    """A writer elsewhere, in ignorance of the claim, is refused."""
    name = trial.name("a")
    async with trial.open() as one, trial.open() as two:
        old = await one.claim(name)
        await one.append(old, name, 0, "a")
        new = await two.claim(name)
        require(new.number == old.number + 1, f"claim {new.number} follows {old.number} at another handle")
        await refuses_all(one, old, name)
        await two.append(new, name, 1, "b")
        await one.holds(name, "a", "b", why="one store has one history")


async def a_claim_waits_for_appends_under_way(trial: Trial) -> None:
    """Every acknowledged event is read once the claim is made, and nothing comes later."""
    async with trial.open() as one, trial.open() as two:
        for race in range(RACES):
            name = trial.name(f"race {race}")
            old = await one.claim(name)
            outcomes: dict[int, type[JournalError] | None] = {}

            async def write(
                number: int, claim: Claim = old, mine: str = name, into: dict[int, type[JournalError] | None] = outcomes
            ) -> None:
                own = f"{mine} {number}"
                into[number] = await attempt(one.append(claim, own, 0, str(number)))

            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(write, number)
                for _ in range(race):
                    await trio.lowlevel.checkpoint()
                await (one if race % 2 else two).claim(name)
                seen = [texts(await two.events(f"{name} {number}")) for number in range(8)]
            for number, found in enumerate(seen):
                now = texts(await one.events(f"{name} {number}"))
                written = [str(number)] if outcomes[number] is None else []
                require(
                    found == now == written,
                    f"an append that ended with {outcomes[number]} was read as {found} when the claim was made, and "
                    f"as {now} later",
                )


async def of_many_claims_the_last_one_holds(trial: Trial) -> None:
    """Claims of one scope at one time get numbers of their own, and one of them may write."""
    name = trial.name("a")
    claims: list[Claim] = []
    async with trial.open() as one, trial.open() as two, trio.open_nursery() as nursery:

        async def claim(handle: Handle) -> None:
            claims.append(await handle.claim(name))

        for handle in (one, two) * 8:
            nursery.start_soon(claim, handle)
    numbers = sorted(claim.number for claim in claims)
    require(numbers == list(range(1, 17)), f"16 claims have the numbers {numbers}")
    async with trial.open() as one:
        for each in sorted(claims, key=lambda claim: claim.number)[:-1]:
            await refuses_all(one, each, name)
        await one.append(max(claims, key=lambda claim: claim.number), name, 0, "a")


async def the_first_value_of_a_name_stands(trial: Trial) -> None:
    """A setting is written once, whoever writes, and outlives the journal."""
    name = trial.name("num_shards of cart")
    found: list[str] = []
    async with trial.open() as one, trial.open() as two:

        async def settle(handle: Handle, value: str) -> None:
            found.append(await handle.journal.settle(name, value))

        async with trio.open_nursery() as nursery:
            for number, handle in enumerate((one, two) * 4):
                nursery.start_soon(settle, handle, str(number))
        require(len(set(found)) == 1, f"eight that settled one name at one time were told {found}")
        require(await one.journal.settle(trial.name("another"), "") == "", "an empty value can be settled")
        trial.crash()
    async with trial.open() as one:
        again = await one.journal.settle(name, "later")
        require(again == found[0], f"{found[0]!r} was settled, after a restart {again!r} stands there")


async def a_store_has_one_identity(trial: Trial) -> None:
    """All handles on a store say the same, before and after a restart."""
    async with trial.open() as one, trial.open() as two:
        found = await one.journal.identify()
        require(1 <= len(found) <= 32, f"an identity has 1 to 32 characters, got {found!r}")
        other = await two.journal.identify()
        require(found == other, f"two handles on one store say {found!r} and {other!r}")
    async with trial.open() as one:
        again = await one.journal.identify()
        require(found == again, f"a store said {found!r}, and {again!r} after a restart")


PROMISES = (
    claims_are_numbered_and_cannot_be_guessed,
    an_earlier_claim_writes_nothing,
    a_claim_that_was_never_made_writes_nothing,
    a_refusal_names_the_holder,
    a_claim_leaves_other_scopes_alone,
    an_id_belongs_to_one_scope,
    claims_outlive_the_journal,
    a_claim_fences_writers_of_other_handles,
    a_claim_waits_for_appends_under_way,
    of_many_claims_the_last_one_holds,
    the_first_value_of_a_name_stands,
    a_store_has_one_identity,
)
