"""What peers can do to the log: write few, short, single lines."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass

import pytest

from casty.address import ActorAddress, NodeAddress
from casty.runtime.system.context import ActorLog
from casty.transport.limits.rate_limited_log import (
    LINES_PER_SECOND_MAX,
    LINES_PER_SECOND_TOTAL,
    REPEAT_AFTER,
    SOURCES_MAX,
    RateLimitedLog,
)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def complaints(clock: Clock) -> RateLimitedLog:
    return RateLimitedLog(logging.getLogger("test.complaints"), clock)


def test_a_source_has_so_many_lines_a_second_and_the_rest_is_counted(caplog, complaints, clock) -> None:
    for number in range(332):
        complaints.warning("10.0.0.9", f"bad frame {number}")
    assert len(caplog.messages) == LINES_PER_SECOND_MAX
    complaints.warning("10.0.0.8", "another source has its own lines")
    clock.now = 1.0
    complaints.warning("10.0.0.9", "bad frame again")
    assert caplog.messages[-2:] == ["10.0.0.9: ... 312 more lines like this", "10.0.0.9: bad frame again"]


def test_what_was_held_back_is_counted_also_when_the_source_falls_silent(caplog, complaints, clock) -> None:
    for number in range(25):
        complaints.warning("10.0.0.9", f"bad frame {number}")
    complaints.flush()
    assert len(caplog.messages) == LINES_PER_SECOND_MAX, "its second is not over"
    clock.now = 1.0
    complaints.flush()
    complaints.flush()
    assert caplog.messages[LINES_PER_SECOND_MAX:] == ["10.0.0.9: ... 5 more lines like this"]


def test_the_same_words_come_once_a_minute(caplog, complaints, clock) -> None:
    for second in range(int(REPEAT_AFTER) + 1):
        clock.now = float(second)
        complaints.warning("10.0.0.9", "till.Add is no known message")
    told = "10.0.0.9: till.Add is no known message"
    assert caplog.messages == [told, "10.0.0.9: ... 59 more lines like this", told]


def test_counts_of_what_goes_on_and_on_come_more_and_more_rarely(caplog, complaints, clock) -> None:
    told: list[float] = []
    for tick in range(600):
        clock.now = tick / 2
        complaints.warning("10.0.0.9", f"the same, {int(clock.now // REPEAT_AFTER)}")
        before = len(caplog.messages)
        complaints.flush()
        told += [clock.now] * (len(caplog.messages) - before)
    assert told == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 124.0, 184.0, 244.0]
    counts = [int(found[1]) for found in (re.search(r"\.\.\. (\d+) more", text) for text in caplog.messages) if found]
    complaints.warning("10.0.0.9", "the next one brings the rest")
    rest = re.search(r"\.\.\. (\d+) more", caplog.messages[-2])
    assert rest is not None
    assert sum(counts) + int(rest[1]) + 5 == 600
    clock.now += 2 * REPEAT_AFTER
    complaints.flush()
    caplog.clear()
    for _ in range(2):
        complaints.warning("10.0.0.9", "after a long silence")
    clock.now += 1.0
    complaints.flush()
    assert caplog.messages[-1] == "10.0.0.9: ... 1 more lines like this", "as soon as at first"


def test_what_is_in_the_order_of_things_is_no_warning_and_neither_is_its_count(caplog, complaints, clock) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        complaints.info("10.0.0.9", "it leaves")
    clock.now = 1.0
    complaints.flush()
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.INFO, "10.0.0.9: it leaves"),
        (logging.INFO, "10.0.0.9: ... 2 more lines like this"),
    ]
    complaints.info("10.0.0.9", "it leaves")
    complaints.warning("10.0.0.9", "bad frame")
    complaints.warning("10.0.0.9", "bad frame")
    clock.now = 2.0
    complaints.flush()
    assert caplog.records[-1].levelno == logging.WARNING


def test_a_thousand_different_texts_are_never_the_last(caplog, complaints, clock) -> None:
    for number in range(1000):
        clock.now = number * 0.1
        complaints.warning("10.0.0.9", f"text {number}")
    assert len(caplog.messages) == 1000


def test_invented_sources_share_the_lines_of_one_and_cost_no_memory(caplog, complaints, clock) -> None:
    for number in range(10 * SOURCES_MAX):
        clock.now = number / 100
        complaints.warning(f"node-{number}", "refused")
    assert len(complaints._sources) <= SOURCES_MAX + 1
    caplog.clear()
    clock.now += REPEAT_AFTER
    complaints.flush()
    assert complaints._sources == {}


def test_all_sources_together_have_a_bound(caplog, complaints) -> None:
    for number in range(SOURCES_MAX):
        for line in range(LINES_PER_SECOND_MAX):
            complaints.warning(f"node-{number}", f"bad frame {line}")
    assert len(caplog.messages) == LINES_PER_SECOND_TOTAL


@pytest.mark.parametrize("pause", [1.0, 0.5, 0.2])
def test_the_lines_with_counts_are_among_those_of_all_sources(caplog, complaints, clock, pause) -> None:
    said = 0
    while clock.now < 3.0:
        for number in range(2 * SOURCES_MAX):
            for line in range(3):
                complaints.warning(f"node-{number}", f"bad frame {line} at {clock.now}")
                said += 1
        clock.now += pause
        before = len(caplog.messages)
        complaints.flush()
        assert len(caplog.messages) - before <= LINES_PER_SECOND_TOTAL
    assert len(caplog.messages) <= LINES_PER_SECOND_TOTAL * math.ceil(clock.now + 1)
    for _ in range(int(REPEAT_AFTER) + 1):
        clock.now += 1.0
        complaints.flush()
    counts = [int(found[1]) for found in (re.search(r"\.\.\. (\d+) more", text) for text in caplog.messages) if found]
    assert sum(counts) + len(caplog.messages) - len(counts) == said
    assert not complaints._sources


def test_a_line_stays_one_line_of_bounded_length(caplog, complaints) -> None:
    complaints.warning("evil\nFAKE LINE", "x\x1b[2J\r\n" + "y" * 100_000)
    complaints.log(logging.WARNING, "here", "a note\nof " + "n" * 5_000, length_max=1_000)
    for line in caplog.messages:
        assert line.isprintable()
    assert len(caplog.messages[0]) <= 128 + 2 + 128
    assert len(caplog.messages[1]) <= 4 + 3 + 1_000


def test_a_failure_of_this_node_is_told_with_its_traceback_and_bounded_too(caplog, complaints) -> None:
    for _ in range(100):
        complaints.error("10.0.0.9", "handling a frame failed", KeyError("a bug"))
    assert len(caplog.records) == LINES_PER_SECOND_MAX
    assert caplog.records[0].exc_info is not None


def test_addresses_that_a_peer_has_made_up_are_one_short_line() -> None:
    shown = str(NodeAddress("evil\nFAKE LINE", 1))
    assert shown == "evil\\nFAKE LINE:1"
    assert len(str(NodeAddress("e" * 100_000, 1))) < 300
    assert str(ActorAddress("shop", "/a\nb", "h", 1)).isprintable()


def test_peers_do_not_use_up_the_lines_of_the_library(caplog, complaints, clock) -> None:
    for number in range(10 * SOURCES_MAX):
        complaints.warning(f"node-{number}", f"text {number}")
        complaints.warning("/_cluster/_topology", f"text {number}")
    complaints.log(logging.WARNING, "/_cluster/_topology", "declared down", length_max=100)
    assert caplog.messages[-1] == "[/_cluster/_topology] declared down"


def test_lines_of_the_library_begin_like_those_of_its_actors(caplog, complaints, clock) -> None:
    path = "/_cluster/_topology"
    ActorLog(path).warning("declared down")
    for _ in range(LINES_PER_SECOND_MAX + 2):
        complaints.log(logging.WARNING, path, "declared down", length_max=100)
    clock.now += 1.0
    complaints.log(logging.WARNING, path, "declared down", length_max=100)
    assert set(caplog.messages) == {f"[{path}] declared down", f"[{path}] ... 2 more lines like this"}


def test_what_a_peer_causes_may_be_longer_and_comes_once_a_minute(caplog, complaints) -> None:
    for _ in range(2):
        complaints.say(logging.ERROR, NodeAddress("evil", 1), "n" * 500, length_max=1_000)
    assert caplog.messages == ["evil:1: " + "n" * 500]


def test_two_loggers_of_one_peer_share_its_lines(caplog: pytest.LogCaptureFixture) -> None:
    first = RateLimitedLog(logging.getLogger("casty.transport"), lambda: 0.0)
    second = first.under(logging.getLogger("casty.cluster"))
    for number in range(LINES_PER_SECOND_MAX):
        (first if number % 2 else second).warning("10.0.0.9", f"text {number}")
    second.warning("10.0.0.9", "one more")
    names = [record.name for record in caplog.records]
    assert (names.count("casty.transport"), names.count("casty.cluster")) == (10, 10)
