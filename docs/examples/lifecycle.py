"""Lives and ends. Look at the order of the lines: hooks, a restart, an end that is watched, the shutdown."""

from __future__ import annotations

import logging

import trio

from casty import ActorContext, ActorSystem, Behavior, Behaviors, Inbox, Restart, ShutdownPhase


async def work(ctx: ActorContext[str], message: str) -> Behavior[str]:
    """Break, or end, as one is told."""
    if message == "break":
        raise ConnectionError("the line is dead")
    return Behaviors.stopped()


async def pre_start(ctx: ActorContext[str]) -> None:
    """Begin each life."""
    print("pre_start")


async def pre_restart(ctx: ActorContext[str], exception: Exception) -> None:
    """End a life that another one follows."""
    print("pre_restart:", exception)


async def post_stop(ctx: ActorContext[str]) -> None:
    """End the last life."""
    print("post_stop")


async def follower(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
    """Pass messages on as long as the worker lives."""
    hooked = Behaviors.with_lifecycle(
        Behaviors.receive(work), pre_start=pre_start, pre_restart=pre_restart, post_stop=post_stop
    )
    worker = ctx.spawn(Behaviors.supervise(hooked, Restart(backoff_min=0.0)), "worker")
    async with ctx.watching(worker) as block:
        async for message in inbox:
            worker.tell(message)
    print("the worker has ended:", block.terminated is not None)


async def main() -> None:
    """Break the worker once, then let it end, and the system after it."""
    logging.disable(logging.ERROR)  # the failure is in the log, with its traceback
    async with ActorSystem("office") as system:
        system.on_shutdown(ShutdownPhase.stop_actors, trio.to_thread.run_sync, print, "the system stops")
        ref = system.spawn(Behaviors.task(follower), "follower")
        for message in ("break", "end"):
            ref.tell(message)
        await system.wait_stopped(ref)


if __name__ == "__main__":
    trio.run(main)
