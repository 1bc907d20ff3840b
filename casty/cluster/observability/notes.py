"""Notes of machines in the log of their node."""

from __future__ import annotations

import logging
from typing import Final

from casty.protocol.effects import Note, Severity
from casty.transport.limits.rate_limited_log import RateLimitedLog

SEVERITIES: Final = {Severity.info: logging.INFO, Severity.warning: logging.WARNING, Severity.error: logging.ERROR}
NOTE_LENGTH_MAX: Final = 1_024
"""Characters of a note: the machine's own words, and names of nodes, chosen by peers."""


def show_note(complaints: RateLimitedLog, note: Note, path: str) -> None:
    """Log a note under the node it is about, or under the path of the actor with the machine."""
    level = SEVERITIES[note.severity]
    if note.about is None:
        complaints.log(level, path, note.text, length_max=NOTE_LENGTH_MAX)
    else:
        complaints.say(level, note.about, note.text, length_max=NOTE_LENGTH_MAX)
