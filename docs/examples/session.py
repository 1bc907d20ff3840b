"""Timers and silence. Look at the fixed delay, and at the receive time-out, which ends a session nobody uses."""

from __future__ import annotations

import trio

from casty import ActorContext, ActorSystem, Behavior, Behaviors, TimerScheduler


async def session(timers: TimerScheduler[str]) -> Behavior[str]:
    """Save now and then; give up after a while without a word."""
    timers.start_timer_with_fixed_delay("save", 0.1, key="save")

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        match message:
            case "save":
                print("saved")
            case "bye":
                timers.cancel("save")
                ctx.set_receive_timeout(0.05, "silence")
            case "silence":
                print("nobody is here any more")
                return Behaviors.stopped()
            case _:
                print(f"heard: {message}")
        return Behaviors.same()

    return Behaviors.receive(handle)


async def main() -> None:
    """Say something, then nothing."""
    async with ActorSystem("talk") as system:
        ref = system.spawn(Behaviors.with_timers(session), "session")
        ref.tell("hello")
        await trio.sleep(0.25)
        ref.tell("bye")
        await system.wait_stopped(ref)


if __name__ == "__main__":
    trio.run(main)
