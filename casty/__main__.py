"""``python -m casty`` is ``casty``."""

from __future__ import annotations

from casty.cli import main

if __name__ == "__main__":
    main()
