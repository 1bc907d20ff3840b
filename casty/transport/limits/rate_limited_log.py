"""Log lines caused by peers: escaped, cut, and few enough to be read.

A peer decides their number and their text. So each source has so many lines a second, all sources together too, and the
same words from one source appear once a minute. Lines held back are counted, and the count is logged with the next line
or by `flush`, there after pauses that double up to a minute: who tries on without end has nothing new to say. Where all
sources together have had their lines, it is added to the count of `OTHERS`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from casty.schema.names import LOG_TEXT_MAX, printable

LINES_PER_SECOND_MAX = 20
"""Lines of one source."""
LINES_PER_SECOND_TOTAL = 200
"""Lines of all sources together, those with counts too: there were up to 656 when those came on top."""
SOURCES_MAX = 256
"""Sources told apart; further ones share the lines of one."""
REPEAT_AFTER = 60.0
"""Seconds until the same words of one source are logged again, and a quiet source is forgotten."""

COUNT_PAUSE_MIN = 1.0
"""Seconds until the first count of a source; the pauses to the next ones double, up to REPEAT_AFTER."""

OTHERS = "other peers"


@dataclass(slots=True)
class _Source:
    """Lines of one source: their number in the second begun at ``since``, and the latest time of each text."""

    since: float
    lines: int = 0
    held: int = 0
    held_level: int = logging.NOTSET
    """Highest level of the lines held back."""
    count_due: float = 0.0
    """Time from which a count may have a line of its own."""
    count_pause: float = COUNT_PAUSE_MIN
    latest: float = 0.0
    told: dict[str, float] = field(default_factory=lambda: dict[str, float]())

    def hold(self, level: int) -> None:
        self.held += 1
        self.held_level = max(self.held_level, level)

    def may_say(self, now: float, lines_max: int) -> bool:
        if now - self.since >= 1.0:
            self.since, self.lines = now, 0
        return self.lines < lines_max


class RateLimitedLog:
    """A logger with a bound for each source; ``clock`` returns monotonic seconds."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float]) -> None:
        self._logger = logger
        self._clock = clock
        self._sources: dict[str, _Source] = {}
        self._all = _Source(float("-inf"))
        self._own = _Source(float("-inf"))
        """For the texts of this library: peers must not use up its lines."""

    def under(self, logger: logging.Logger) -> RateLimitedLog:
        """Return the same for another logger: a source has its lines once for both."""
        other = RateLimitedLog(logger, self._clock)
        other._sources, other._all, other._own = self._sources, self._all, self._own
        return other

    def warning(self, source: object, text: str) -> None:
        """Log a warning about a peer; not again within REPEAT_AFTER if it is the same."""
        self.say(logging.WARNING, source, text)

    def info(self, source: object, text: str) -> None:
        """Log a peer's ordinary event, bounded like `warning`."""
        self.say(logging.INFO, source, text)

    def debug(self, source: object, text: str) -> None:
        """Log a detail of no use to an operator, bounded like `warning`."""
        self.say(logging.DEBUG, source, text)

    def say(self, level: int, source: object, text: str, *, length_max: int = LOG_TEXT_MAX) -> None:
        """Log an event of a peer at any level, and at the length right for it."""
        now = self._clock()
        name, words = printable(str(source)), printable(text, length_max)
        origin = self._source(name, now)
        if now - origin.told.get(words, float("-inf")) < REPEAT_AFTER:
            origin.hold(level)
            return
        if self._log(level, name, origin, words):
            while len(origin.told) >= LINES_PER_SECOND_MAX:
                del origin.told[next(iter(origin.told))]
            origin.told.pop(words, None)
            origin.told[words] = now

    def error(self, source: object, text: str, error: BaseException) -> None:
        """Log a failure of this node while it handled a peer's frame, with its traceback."""
        name = printable(str(source))
        self._log(logging.ERROR, name, self._source(name, self._clock()), printable(text), error)

    def log(self, level: int, source: str, text: str, *, length_max: int) -> None:
        """Log a text of this library: peers may be named in it, but do not cause it at will."""
        self._own.latest = self._clock()
        self._log(level, source, self._own, printable(text, length_max))

    def flush(self) -> None:
        """Log the number of lines held back from sources that may speak again, and forget quiet ones."""
        now = self._clock()
        for name, origin in list(self._sources.items()):
            if origin.held and now - origin.since >= 1.0 and now >= origin.count_due:
                origin.count_due = now + origin.count_pause
                origin.count_pause = min(2 * origin.count_pause, REPEAT_AFTER)
                if self._all.may_say(now, LINES_PER_SECOND_TOTAL):
                    self._count(name, origin)
                elif name != OTHERS:
                    self._leave_to_others(origin)
            if not origin.held and now - origin.latest >= REPEAT_AFTER:
                del self._sources[name]

    def _source(self, name: str, now: float) -> _Source:
        if name not in self._sources and len(self._sources) >= SOURCES_MAX:
            self.flush()
            if len(self._sources) >= SOURCES_MAX:
                name = OTHERS
        origin = self._sources.get(name)
        if origin is None:
            origin = self._sources[name] = _Source(now)
        origin.latest = now
        return origin

    def _log(self, level: int, name: str, origin: _Source, text: str, error: BaseException | None = None) -> bool:
        now = origin.latest
        lines_max = LINES_PER_SECOND_TOTAL - (origin.held > 0)  # its count is a line, too
        is_over = origin is not self._own and not self._all.may_say(now, lines_max)
        if is_over or not origin.may_say(now, LINES_PER_SECOND_MAX):
            origin.hold(level)
            return False
        if origin.held:
            self._count(name, origin)
        origin.lines += 1
        if origin is not self._own:
            self._all.lines += 1
        self._logger.log(level, "%s %s", self._head(name, origin), text, exc_info=error)
        return True

    def _count(self, name: str, origin: _Source) -> None:
        held, level = origin.held, origin.held_level
        origin.held, origin.held_level = 0, logging.NOTSET
        if origin is not self._own:
            self._all.lines += 1
        self._logger.log(level, "%s ... %d more lines like this", self._head(name, origin), held)

    def _head(self, name: str, origin: _Source) -> str:
        """Return how a line begins: with the peer, or with the path of an actor of this library, as its log does."""
        return f"[{name}]" if origin is self._own else f"{name}:"

    def _leave_to_others(self, origin: _Source) -> None:
        """Add a count to the one of all other sources, as there are no lines for each."""
        others = self._sources.setdefault(OTHERS, _Source(origin.since, latest=origin.latest))
        others.held += origin.held
        others.held_level = max(others.held_level, origin.held_level)
        origin.held, origin.held_level = 0, logging.NOTSET

    def __repr__(self) -> str:
        return f"<RateLimitedLog sources={len(self._sources)} held={sum(s.held for s in self._sources.values())}>"
