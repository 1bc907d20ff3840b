"""Settings of encryption between nodes: files, and the names believed in certificates.

A name in a certificate is a URI. Patterns say which URIs are members and which are clients, and which part of one is
the name of the node.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from casty.config.validation import NODE_ID_LENGTH_MAX, check_positive
from casty.errors import ConfigError

TlsRole: TypeAlias = Literal["member", "client"]
TLS_ROLES: Final[tuple[TlsRole, ...]] = ("member", "client")

CERTIFICATE_FILE, KEY_FILE, CA_FILE = "tls.crt", "tls.key", "ca.crt"
"""Names in a folder of files, as Kubernetes and cert-manager have them."""

NAME_MARK = "{node_id}"
URI_LENGTH_MAX = 2_048
SYSTEM_LENGTH_MAX = 255
PATTERNS_MAX = 64

_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]+")
_DOMAIN = re.compile(r"[a-z0-9._-]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+")

FilePath: TypeAlias = str | Path


@dataclass(frozen=True, slots=True)
class UriPattern:
    """Form of a URI; `NAME_MARK` in it stands for one segment of its path, the name of the node.

    >>> UriPattern("spiffe://shop/node/{node_id}").name_in("spiffe://shop/node/web-1")
    'web-1'
    >>> UriPattern("spiffe://shop/node/{node_id}").name_in("spiffe://till/node/web-1") is None
    True
    """

    text: str

    @property
    def has_name(self) -> bool:
        """Whether a URI of this form names one node: without a name it proves membership alone."""
        return NAME_MARK in self.text

    def name_in(self, uri: str) -> str | None:
        """Return the name in a URI of this form, "" where the form has none; None for any other URI."""
        before, mark, after = self.text.partition(NAME_MARK)
        if not mark:
            return "" if uri == self.text else None
        if not uri.startswith(before) or not uri.endswith(after) or len(uri) <= len(before) + len(after):
            return None
        name = uri[len(before) : len(uri) - len(after)]
        return name if _SEGMENT.fullmatch(name) and len(name) <= NODE_ID_LENGTH_MAX else None

    def uri_of(self, node_id: str) -> str:
        """Return the URI of a node."""
        return self.text.replace(NAME_MARK, node_id)


Accepted: TypeAlias = Mapping[TlsRole, tuple[UriPattern, ...]]


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Files and names with which a node proves itself to others, and checks them: TLS 1.3, both ends always.

    ``TlsConfig.folder("/etc/casty/tls")`` takes the files that Kubernetes and cert-manager write there. The files are
    read when the node is made, and again when they change.

    Raises:
        ConfigError: A field has a bad value; the message names it and the expected values.
    """

    certificate: FilePath
    """File in PEM form: certificate of this node, followed by those between it and the CA, if there are any. It has
    exactly one URI, the name of the node.
    """
    private_key: FilePath
    """File in PEM form: key of that certificate, not encrypted."""
    ca: FilePath
    """File in PEM form: the CAs whose certificates are believed, this node's own among them. While one CA replaces
    another, both.
    """
    _: KW_ONLY
    accept: Mapping[str, Sequence[str]] | None = None
    """Patterns of believed URIs for each role, ``member`` and ``client``. None: ``spiffe://NAME/node/{node_id}`` and
    ``spiffe://NAME/client/{node_id}``, with the name of the system. A pattern without ``{node_id}`` is for
    certificates shared by many nodes: such a one proves membership, and each of its holders can pass for any other.
    """
    denied: FilePath | None = None
    """File of certificates not believed any more: a serial number in hexadecimal digits or a URI on each line; ``#``
    begins a comment. It must exist, and may be empty. None: there are none.
    """
    reload_every: float = 10.0
    """Seconds between two looks for changed files, ended certificates and denied ones among the links; with ``denied``
    at most one, since a cluster is cut in part as long as some nodes have read the list and others have not.
    """

    def __post_init__(self) -> None:
        for name in ("certificate", "private_key", "ca"):
            _check_path(name, getattr(self, name))
        if self.denied is not None:
            _check_path("denied", self.denied)
        check_positive(self, "reload_every")
        if self.accept is not None:
            accepted_by(self.accept)

    @classmethod
    def folder(cls, folder: FilePath) -> TlsConfig:
        """Make the configuration for the files ``tls.crt``, ``tls.key`` and ``ca.crt`` of a folder.

        Parameters:
            folder: Path of the folder.

        Returns:
            The configuration, with all else at its default.

        Raises:
            ConfigError: ``folder`` is no path.
        """
        _check_path("folder", folder)
        place = Path(folder)
        return cls(place / CERTIFICATE_FILE, place / KEY_FILE, place / CA_FILE)

    def accepted(self, system_name: str) -> Accepted:
        """Get the patterns of the URIs believed in a system.

        Parameters:
            system_name: Name of the system, of which the default patterns are made.

        Returns:
            The patterns for each role.

        Raises:
            ConfigError: There is no ``accept``, and the name cannot stand in a SPIFFE id.
        """
        if self.accept is not None:
            return accepted_by(self.accept)
        if not _DOMAIN.fullmatch(system_name) or len(system_name) > SYSTEM_LENGTH_MAX:
            raise ConfigError(
                f"the name of a system with TLS must be made of a-z, 0-9, '.', '_' and '-', got {system_name!r}: "
                "it is the first part of the names in certificates; choose another, or set TlsConfig.accept"
            )
        return {
            "member": (UriPattern(f"spiffe://{system_name}/node/{NAME_MARK}"),),
            "client": (UriPattern(f"spiffe://{system_name}/client/{NAME_MARK}"),),
        }


def accepted_by(accept: object) -> Accepted:
    """Return the patterns in ``TlsConfig.accept``. ConfigError for anything else."""
    if not isinstance(accept, Mapping):
        raise ConfigError(f"TlsConfig.accept must be a mapping of a role to patterns, got {accept!r}")
    found: dict[TlsRole, tuple[UriPattern, ...]] = {}
    for role, patterns in cast("Mapping[object, object]", accept).items():
        if role not in TLS_ROLES:
            raise ConfigError(f"TlsConfig.accept has the roles 'member' and 'client', got {role!r}")
        if isinstance(patterns, str) or not isinstance(patterns, Sequence):
            raise ConfigError(f"TlsConfig.accept[{role!r}] must be a list of patterns, got {patterns!r}")
        listed = cast("Sequence[object]", patterns)
        if len(listed) > PATTERNS_MAX:
            raise ConfigError(f"TlsConfig.accept[{role!r}] must have at most {PATTERNS_MAX} patterns")
        found[role] = tuple(_pattern(pattern) for pattern in listed)
    return found


def is_segment(name: str) -> bool:
    """Whether a name can stand in the path of a SPIFFE id."""
    return _SEGMENT.fullmatch(name) is not None


def _pattern(text: object) -> UriPattern:
    if not isinstance(text, str) or len(text) > URI_LENGTH_MAX or not _URI.fullmatch(text):
        raise ConfigError(
            f"a pattern of TlsConfig.accept is a URI, such as 'spiffe://prod/sa/{{node_id}}', got {text!r}"
        )
    before, mark, after = text.partition(NAME_MARK)
    is_in_path = before.endswith(("/", ":")) and "/" in before.partition("://")[2]  # the authority is who vouches
    is_alone = not mark or (is_in_path and (not after or after.startswith("/")))
    if not is_alone or "{" in before + after or "*" in text:
        raise ConfigError(f"'{{node_id}}' must be one whole part of the path, once, and the rest exact, got {text!r}")
    return UriPattern(text)


def _check_path(name: str, value: object) -> None:
    if not isinstance(value, (str, Path)) or not str(value) or "\0" in str(value):
        raise ConfigError(
            f"TlsConfig.{name} must be the path of a file, such as '/etc/casty/tls/tls.crt', got {value!r}"
        )
