"""The command line: ``casty demo``, ``demo-cart``, ``node``, ``status``, ``shards``, ``journal`` and ``cert``.

It needs the extra ``cli``. The processes of nodes import this package too, and do without.
"""

from __future__ import annotations

import sys

EXTRA = frozenset({"typer", "rich", "click"})
BAD_INPUT = 2
INTERRUPTED = 130


def main() -> None:
    """Run the command line; without the extra ``cli``, say what to install and exit with 2."""
    try:
        from casty.cli.app import run  # noqa: PLC0415  # the extra may be missing
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA:
            raise
        message = f"casty: the command line needs {missing}: from the checkout, run  pip install '.[cli]'"
        print(message, file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    run()
