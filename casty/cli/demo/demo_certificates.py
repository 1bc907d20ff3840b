"""Certificates of one run of a demo, in a folder that is gone with it."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from casty import ConfigError, TlsConfig

if TYPE_CHECKING:
    from casty.cli.cert.authority import Authority

VARIABLE: Final = "CASTY_DEMO_TLS"
"""Variable of the environment that names the folder of a node's files to its process."""
DAYS: Final = 1
WITHOUT_EXTRA: Final = "--tls needs cryptography: from the checkout, run  pip install '.[tls]'"


@dataclass(frozen=True, slots=True)
class DemoCertificates:
    """CA of a run, and the files issued by it."""

    authority: Authority

    def folder_of(self, node_id: str) -> Path:
        """Return the folder with new files of a node."""
        return self.authority.issue(node_id, "member", DAYS, force=True)

    def config_of(self, node_id: str) -> TlsConfig:
        """Return the configuration of a node in this process."""
        return TlsConfig.folder(self.folder_of(node_id))

    def variables_of(self, node_id: str) -> Mapping[str, str]:
        """Return the part of the environment of a node's process."""
        return {VARIABLE: str(self.folder_of(node_id))}


@contextmanager
def certificates_of_a_run(system_name: str, *, wanted: bool) -> Generator[DemoCertificates | None]:
    """Make a CA for a run. ConfigError where the extra is missing."""
    if not wanted:
        yield None
        return
    try:
        from casty.cli.cert.authority import make_ca, open_ca  # noqa: PLC0415  # the extra may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "cryptography":
            raise
        raise ConfigError(WITHOUT_EXTRA) from None
    with tempfile.TemporaryDirectory(prefix="casty-demo-") as folder:
        make_ca(Path(folder), system_name, DAYS + 1, force=False)
        yield DemoCertificates(open_ca(Path(folder)))


def tls_of_a_process(environment: Mapping[str, str]) -> TlsConfig | None:
    """Return the files of a node's process, None without TLS."""
    folder = environment.get(VARIABLE)
    return None if folder is None else TlsConfig.folder(folder)


def with_tls(certificates: DemoCertificates | None) -> str:
    """Return the words about TLS for the line that tells of a start."""
    return "" if certificates is None else "; all they say is encrypted, and a CA of this run has named each"
