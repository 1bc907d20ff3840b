"""The version of casty, told to peers and by ``casty --version``."""

from __future__ import annotations

VERSION = "0.1.0"
