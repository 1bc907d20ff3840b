"""Bound of links by the file descriptors of the process: each link is one."""

from __future__ import annotations

import logging
import sys

if sys.platform != "win32":
    import resource

DESCRIPTORS_RESERVED = 128
"""Kept free for strangers at the door, journals, log files and the program itself."""

logger = logging.getLogger("casty.transport")


def links_affordable(links_max: int) -> int:
    """Return ``links_max``, or fewer where the limit on open files is lower, and say so then."""
    if sys.platform == "win32":
        return links_max
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    affordable = max(soft - DESCRIPTORS_RESERVED, 1)
    if soft == resource.RLIM_INFINITY or affordable >= links_max:
        return links_max
    logger.info(
        "this process may open %d files: at most %d links instead of links_max=%d; raise it with ulimit -n",
        soft,
        affordable,
        links_max,
    )
    return affordable
