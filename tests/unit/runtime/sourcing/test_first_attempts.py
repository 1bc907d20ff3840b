"""A store that is not there yet when its system starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from helpers.journals import FaultyJournal

from casty import ActorSystem, SystemConfig
from casty.errors import ConfigError, JournalUnavailable
from casty.runtime.journaling.first_attempts import ATTEMPTS_TIMEOUT


@dataclass
class LateJournal(FaultyJournal):
    """Journal of a server that starts later."""

    there_at: float = 0.0
    error: type[Exception] = JournalUnavailable
    attempts: int = 0

    def look(self) -> None:
        self.attempts += 1
        if trio.current_time() < self.there_at:
            raise self.error("the server refuses connections")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self.look()
        async with super().open():
            yield

    async def settle(self, name: str, value: str) -> str:
        if self.is_open and name == "casty.cluster":
            self.look()
        return await super().settle(name, value)


async def test_a_system_waits_for_its_store_and_says_so(autojump_clock, caplog):
    journal = LateJournal(there_at=trio.current_time() + 5.0)
    async with ActorSystem("shop", config=SystemConfig(journal=journal)):
        assert journal.is_open
    assert not journal.is_open and 3 < journal.attempts < 10
    assert caplog.text.count("cannot be used at the start, it is tried again for") == journal.attempts - 1
    assert "the server refuses connections" in caplog.text


async def test_a_system_gives_a_store_up_after_some_seconds_with_its_error(autojump_clock):
    journal, began = LateJournal(there_at=1e9), trio.current_time()
    with pytest.raises(JournalUnavailable, match="the server refuses connections"):
        async with ActorSystem("shop", config=SystemConfig(journal=journal)):
            pass
    assert ATTEMPTS_TIMEOUT - 4.0 <= trio.current_time() - began <= ATTEMPTS_TIMEOUT
    assert not journal.is_open


async def test_a_store_that_cannot_work_is_not_tried_again(autojump_clock):
    journal = LateJournal(there_at=1e9, error=ConfigError)
    with pytest.raises(ConfigError):
        async with ActorSystem("shop", config=SystemConfig(journal=journal)):
            pass
    assert journal.attempts == 1
