"""A value of the wrong kind is refused where it is written, not when a message, a failure or a peer first meets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from casty.behaviors import Behaviors
from casty.cluster.system import ClusteredActorSystem
from casty.config import Mailbox, SystemConfig
from casty.errors import ConfigError
from casty.protocol.supervision import Escalate, Restart, Resume, Stop
from casty.runtime.system import ActorSystem

UNTYPED: Any = Behaviors
MAILBOX: Any = Mailbox
SYSTEM_CONFIG: Any = SystemConfig
SYSTEM: Any = ActorSystem
NODE: Any = ClusteredActorSystem

SETTINGS: dict[str, tuple[Callable[[], object], str]] = {
    "a policy in words": (
        lambda: MAILBOX(10, "drop_oldest"),
        r"Mailbox.overflow must be a MailboxOverflowStrategy, such as .*\.drop_oldest, got 'drop_oldest'",
    ),
    "a capacity for a mailbox": (
        lambda: SYSTEM_CONFIG(mailbox=10),
        r"SystemConfig.mailbox must be a Mailbox, .* got 10",
    ),
    "a capacity for a path": (
        lambda: SYSTEM_CONFIG(mailboxes={"/orders/*": 10}),
        r"SystemConfig.mailboxes\['/orders/\*'\] must be a Mailbox, such as Mailbox\(100\), got 10",
    ),
    "a table for the settings of a system": (
        lambda: SYSTEM("a", config={"seed": 1}),
        r"ActorSystem.config must be a SystemConfig, .* got \{'seed': 1\}",
    ),
    "a table for the settings of a node": (
        lambda: NODE(name="a", host="127.0.0.1", port=0, node_id="a", settings={"min_members": 2}),
        r"ClusteredActorSystem.settings must be a ClusterSettings, .* got \{'min_members': 2\}",
    ),
}


@pytest.mark.parametrize(("make", "told"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_of_the_wrong_kind_says_what_it_must_be(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()


@pytest.mark.parametrize("strategy", [Stop, Resume, Escalate, Restart])
@pytest.mark.parametrize(
    "on", ["OSError", [OSError, ValueError], OSError(), (OSError, "ValueError"), KeyboardInterrupt]
)
def test_a_strategy_is_for_exceptions(strategy: Any, on: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{strategy.__name__}.on must be a class of exceptions or a tuple of them"):
        strategy(on=on)


def test_a_strategy_without_its_brackets_is_refused() -> None:
    with pytest.raises(TypeError, match=r"supervise needs a strategy, such as Restart\(\) or Resume\(\), got <class"):
        UNTYPED.supervise(Behaviors.ignore(), Restart)


async def test_a_mailbox_for_one_actor_is_a_mailbox() -> None:
    capacity: Any = 10
    async with ActorSystem() as system:
        with pytest.raises(ConfigError, match=r"mailbox must be a Mailbox, such as Mailbox\(100\), got 10"):
            system.spawn(Behaviors.ignore(), "a", mailbox=capacity)
        system.spawn(Behaviors.ignore(), "a")
