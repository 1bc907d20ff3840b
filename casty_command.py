"""The entry of the ``casty`` command, outside of the package: importing that takes a third of a second.

Ctrl-C in that time would end with a traceback, from wherever Python is. Here it ends with one line and 130.
``python -m casty`` cannot do so: Python imports the package before it looks for what to run.
"""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130


def main() -> None:
    """Be the command ``casty``."""
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not so in the background of a shell
    if is_usual:
        signal.signal(signal.SIGINT, _end)
    from casty.cli import main as run  # noqa: PLC0415  # the signal comes first

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _end(_number: int, _frame: object) -> None:
    os.write(2, b"casty: interrupted\n")
    os._exit(INTERRUPTED)
