"""Stopping a child and waiting for its end, as a step of a handler.

Owns that wait. The parent takes no message meanwhile, so the child must not wait for the parent:
`casty.runtime.messaging.ask` finds such a circle by the `EndWait` under the parent's sleeping task.
"""

from __future__ import annotations

from typing import Never

import trio

from casty.refs import ActorRef, check_ref
from casty.runtime.behavior.arguments import refuse_no_child
from casty.runtime.deadlines import check_delay
from casty.runtime.messaging.ask import EndWait
from casty.runtime.messaging.ref import OwnRef
from casty.runtime.messaging.signals import PILL
from casty.runtime.ports import Recipient


def child_of(parent: Recipient, ref: ActorRef[Never]) -> Recipient | None:
    """Return the living child behind ``ref``, None where it has ended. ValueError for any other actor."""
    parent.kernel.check_thread(f"stop {ref!r}")
    check_ref(ref, "stopped")
    child = ref.owner() if isinstance(ref, OwnRef) else None
    is_child = ref.path.startswith(f"{parent.path}/") if child is None else child.parent is parent
    if not isinstance(ref, OwnRef) or not is_child:
        refuse_no_child(parent.path, ref.path)
    return child


async def stopped(child: Recipient | None, drain: float) -> None:
    """Stop a child, ``drain`` seconds from now at the latest, and wait until it has ended."""
    check_delay("drain", drain, zero=True)
    if child is None:
        await trio.lowlevel.checkpoint()
        return
    kernel = child.kernel
    if drain > 0 and not child.stop_requested:
        child.mailbox.put_notice(PILL)
        late = kernel.timer_queue.call_later(drain, child.stop)
    else:
        child.stop()
        late = None
    await _ended(child)
    if late is not None:  # left to run where the wait was cancelled: the child still has to stop in time
        kernel.timer_queue.finish(late)


async def _ended(child: Recipient) -> None:
    task, uid = trio.lowlevel.current_task(), child.kernel.next_uid()
    wait = EndWait(child, task)
    child.add_watcher(uid, wait)

    def forget(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        child.remove_watcher(uid)
        return trio.lowlevel.Abort.SUCCEEDED

    task.custom_sleep_data = wait
    await trio.lowlevel.wait_task_rescheduled(forget)
