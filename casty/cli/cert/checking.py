"""The files of a node or client, checked by the rules of those that will meet them. It needs no cryptography."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from casty import ConfigError, TlsConfig
from casty.config.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE
from casty.transport.network.tls import EXPIRES_SOON
from casty.transport.network.tls_credentials import TlsCredentials

DAY: Final = 86_400.0
ANY_NODE: Final = "any"
"""Node that shows a certificate shared by many."""
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def check_folder(
    folder: Path, accept: Mapping[str, Sequence[str]] | None = None, denied: Path | None = None
) -> list[str]:
    """Return what a folder of files is good for, and what to look after. ConfigError where a node could not use it.

    ``accept`` and ``denied`` are those of `TlsConfig`.
    """
    if not (folder / CERTIFICATE_FILE).exists() and (folder / CA_FILE).exists():
        raise ConfigError(f"{folder} must hold {CERTIFICATE_FILE} and {KEY_FILE}: name the folder of a node or client")
    config = replace(TlsConfig.folder(folder), accept=accept, denied=denied)
    own = TlsCredentials(config).own
    if own.identity.role == "member":  # a node shows it at both ends of a connection, a client at one
        TlsCredentials(config, system_name=_system_of(own.uri), node_id=own.identity.node_id or ANY_NODE)
    left = own.ends_at - time.time()
    ends = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(own.ends_at))
    lines = [f"{folder} is good for {own.uri}, a {own.identity.role}, until {ends}, for {left / DAY:.1f} days"]
    if left <= EXPIRES_SOON:
        client = " --client" if own.identity.role == "client" else ""
        means = "" if accept else f" with  casty cert issue {own.identity.node_id}{client} --force"
        lines.append(f"note: that is soon; replace it{means}")
    mode = stat.S_IMODE(os.stat(folder / KEY_FILE).st_mode)
    if mode & OTHERS:
        lines.append(f"note: {folder / KEY_FILE} is open to other users (mode {mode:04o}); close it with chmod 600")
    return lines


def _system_of(uri: str) -> str:
    return uri.partition("://")[2].partition("/")[0]
