"""Proof of a node's identity for TLS: its files, the contexts made of them, and the check of others.

A set of files is tried before it is used, by shaking hands with itself in memory: so the rules are those of the peers,
and nothing has to read a certificate but the library that checks it. A context in use is never changed, since no CA can
be taken out of one; changed files make new contexts.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from casty.config.tls import TLS_ROLES, Accepted, FilePath, TlsConfig, TlsRole, UriPattern
from casty.config.validation import check_node_id
from casty.errors import ConfigError, ProtocolError
from casty.schema.names import printable
from casty.transport.network.interface import PeerIdentity
from casty.wire.handshake import CLIENT

FILE_BYTES_MAX = 1024 * 1024
DENIED_MAX = 65_536
"""Lines of the list of denied certificates."""
URI_SHOWN_MAX = 256
_DENIED_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-+.-~]*[!-+.-~]")
_DENIED_LIST = "list of denied certificates"
_SERIAL_DIGITS_MAX = 40
"""Of a serial number, 20 bytes by X.509."""

_STEPS_MAX = 16
"""Turns of a handshake in memory; it takes three."""
_WITHOUT_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, to read the dates of a certificate that has ended."""
_EXPIRED, _NOT_YET = 10, 9
_FOREIGN = frozenset({18, 19, 20, 21})
"""OpenSSL's codes for a certificate of a CA that is not there."""
_PURPOSE = 26
"""OpenSSL's code for a certificate whose extended key usage leaves this use out."""
_WORDS_OF_ROLES = {"member": "node", "client": "client"}
_ANY_NAME = "NAME"
"""Name in an expected URI where any will do."""

_PEM = "expected PEM, text that begins with -----BEGIN"
_WEAK = frozenset({"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"})
_KEYS = "expected a key of P-256, Ed25519 or RSA with 2,048 bits, and a signature of SHA-256"
_SPIFFE = "spiffe://"


@dataclass(frozen=True, slots=True)
class Proof:
    """Content of a checked certificate."""

    identity: PeerIdentity
    uri: str
    serial: str
    """In hexadecimal digits, capital, without leading zeros."""
    ends_at: float
    """Seconds of Unix time."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One set of files, tried."""

    stamps: tuple[object, ...]
    server: ssl.SSLContext
    client: ssl.SSLContext
    accepted: Accepted
    nobody: str
    """Words for a URI that is accepted for no role."""
    denied: frozenset[str]
    own: Proof


class TlsCredentials:
    """Files of one node, as they are now.

    Raises:
        ConfigError: A file is missing, cannot be read, has ended, or does not fit the others or the node; the message
            names it.
    """

    def __init__(
        self,
        config: TlsConfig,
        *,
        system_name: str | None = None,
        node_id: str | None = None,
        role: TlsRole | None = None,
    ) -> None:
        """Read the files of a node, or, without a ``node_id``, of whoever they name; without a ``system_name`` too.

        A ``role`` is that of the own certificate; with a ``node_id`` it is a member's.
        """
        self._config = config
        self._system_name = system_name
        self._node_id = node_id
        self._role: TlsRole | None = "member" if node_id is not None else role
        if node_id is not None:
            check_node_id(node_id)
        self._seen: tuple[object, ...] = ()
        self._loaded = self._load()
        self._seen = self._loaded.stamps
        if (reason := self.own_denial) is not None:
            raise ConfigError(f"{_name('certificate', config.certificate)} cannot be used: {reason}")

    @property
    def config(self) -> TlsConfig:
        """Paths of the files."""
        return self._config

    @property
    def own(self) -> Proof:
        """Content of this node's certificate."""
        return self._loaded.own

    @property
    def own_denial(self) -> str | None:
        """Reason for which this node's own list denies it, as those of others may; None where it does not."""
        return _denial(self.own, self._loaded.denied)

    def context(self, *, is_server: bool) -> ssl.SSLContext:
        """Return the context for a new connection."""
        return self._loaded.server if is_server else self._loaded.client

    def refresh(self) -> bool:
        """Read the files anew if they have changed; return whether they have.

        ConfigError where the new ones cannot be used: the old ones stay, until they change again.
        """
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        self._seen = stamps
        self._loaded = self._load()
        return True

    def identify(self, certificate: Mapping[str, object] | None) -> Proof:
        """Return the content of a peer's certificate, checked by OpenSSL. ProtocolError if it is not believed."""
        loaded = self._loaded
        proof = _proof_of(certificate, loaded.accepted, loaded.nobody)
        if (reason := _denial(proof, loaded.denied)) is not None:
            raise ProtocolError(reason)
        return proof

    def objection(self, proof: Proof, now: float) -> str | None:
        """Return why a link that was believed is not any more, at this Unix time."""
        if now >= proof.ends_at:
            return f"the certificate of {proof.uri} ended at {_date(proof.ends_at)}"
        return _denial(proof, self._loaded.denied)

    def _stamps(self) -> tuple[object, ...]:
        config = self._config
        paths = (config.certificate, config.private_key, config.ca, config.denied)
        return tuple(None if path is None else _stamp(path) for path in paths)

    def _load(self) -> _Loaded:
        config, stamps = self._config, self._stamps()
        _check_pem("certificate", config.certificate, b"-----BEGIN CERTIFICATE-----")
        _check_pem("private key", config.private_key, b"PRIVATE KEY-----")
        _check_pem("CA", config.ca, b"-----BEGIN CERTIFICATE-----")
        denied = frozenset[str]() if config.denied is None else _read_denied(config.denied)
        server, client = _context(config, is_server=True), _context(config, is_server=False)
        certificate = self._shown(to=server)
        system = self._system_name or _system_of(certificate, config)
        accepted = config.accepted(system)
        nobody = (
            f"no node or client of {system!r}" if config.accept is None else "which TlsConfig.accept has in no role"
        )
        try:
            own = _proof_of(certificate, accepted, nobody)
        except ProtocolError as error:
            raise ConfigError(
                f"{_name('certificate', config.certificate)} cannot be used here: {error}{self._expected(accepted)}"
            ) from None
        self._check_own(own, accepted)
        if self._node_id is not None:  # shown by a node at both ends of a connection, by a client at one
            self._shown(to=client)
        return _Loaded(stamps, server, client, accepted, nobody, denied, own)

    def _check_own(self, own: Proof, accepted: Accepted) -> None:
        identity, path = own.identity, _name("certificate", self._config.certificate)
        if self._role is not None and identity.role != self._role:
            fault = (
                f"is of a {_WORDS_OF_ROLES[identity.role]}, {own.uri}, and cannot be a {_WORDS_OF_ROLES[self._role]}'s"
            )
            raise ConfigError(f"{path} {fault}{self._expected(accepted)}")
        if self._node_id is not None and identity.node_id not in (None, self._node_id):
            fault = f"is of another node, {own.uri}, and this one is {self._node_id!r}"
            raise ConfigError(f"{path} {fault}{self._expected(accepted)}")

    def _expected(self, accepted: Accepted) -> str:
        """Return which certificate is to be taken instead, and how it is made, to be put behind a fault."""
        roles = TLS_ROLES if self._role is None else (self._role,)
        name = self._node_id or _ANY_NAME
        uris = [pattern.uri_of(name) for role in roles for pattern in accepted.get(role, ())]
        if not uris:
            return ""
        return f"; expected {' or '.join(uris[:4])}{self._advice()}"

    def _shown(self, *, to: ssl.SSLContext) -> Mapping[str, object]:
        """Return the content of the own certificate, believed by the other end of a connection as a peer's is."""
        config, is_dialled = self._config, to.protocol == ssl.PROTOCOL_TLS_CLIENT
        blind = _context(config, is_server=is_dialled)
        blind.verify_mode = ssl.CERT_NONE
        try:
            return _shown_certificate(blind, to=to)
        except ssl.SSLCertVerificationError as error:
            if error.verify_code != _PURPOSE:
                raise ConfigError(_own_fault(config, error)) from None
            needs = "clientAuth" if self._role == CLIENT else "serverAuth and clientAuth"
            fault = f"cannot be used: {_purpose_fault(is_server=is_dialled)}; expected {needs}{self._advice()}"
        except ssl.SSLError as error:
            fault = f"cannot be used with TLS 1.3: {_words(error)}; {_KEYS}"
        except ValueError as error:  # text in it that is none, which must not end a node that reads its files anew
            fault = f"cannot be read: {type(error).__name__}"
        raise ConfigError(f"{_name('certificate', config.certificate)} {fault}")

    def _advice(self) -> str:
        """Return how the expected certificate is made; "" where that is not for casty's own CA to say."""
        if self._config.accept is not None:
            return ""
        node, client = f"casty cert issue {self._node_id or _ANY_NAME}", f"casty cert issue {_ANY_NAME} --client"
        how = {"member": node, "client": client, None: f"{node}  or  {client}"}[self._role]
        system = "" if self._system_name is None else f"  in the folder of the CA of {self._system_name!r}"
        return f"; make it by  {how}{system}"


def why_not(error: ssl.SSLCertVerificationError, *, is_server: bool) -> str:
    """Return why OpenSSL does not believe a peer's certificate, in words; ``is_server`` is whether it was dialled."""
    if error.verify_code in _FOREIGN:
        return "it is not signed by a CA that this end believes"
    if error.verify_code == _PURPOSE:
        return _purpose_fault(is_server=is_server)
    return error.verify_message or "OpenSSL does not say why"


def _purpose_fault(*, is_server: bool) -> str:
    return f"its extended key usage has no {'serverAuth' if is_server else 'clientAuth'}"


def _context(config: TlsConfig, *, is_server: bool) -> ssl.SSLContext:
    """Return a context with the own certificate that believes the certificates of the CAs alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if is_server:
        context.num_tickets = 0  # nothing is resumed, so each handshake shows a certificate
    certificate, key, ca = (os.fspath(path) for path in (config.certificate, config.private_key, config.ca))
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:
        raise ConfigError(_pair_fault(config, error)) from None
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise ConfigError(f"{_name('CA', config.ca)} {_damage(error)}") from None
    if not context.get_ca_certs():
        raise ConfigError(f"{_name('CA', config.ca)} holds no certificate of a CA, only others")
    return context


def _shown_certificate(shower: ssl.SSLContext, *, to: ssl.SSLContext) -> Mapping[str, object]:
    """Return the certificate that one context shows, as another one checks it."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    is_server = to.protocol == ssl.PROTOCOL_TLS_SERVER
    checking = to.wrap_bio(there, back, server_side=is_server)
    showing = shower.wrap_bio(back, there, server_side=not is_server)
    for _ in range(_STEPS_MAX):
        done = 0
        for end in (showing, checking):
            try:
                end.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                pass
        if done == 2:
            break
    return cast("Mapping[str, object]", checking.getpeercert() or {})


def _proof_of(certificate: Mapping[str, object] | None, accepted: Accepted, nobody: str) -> Proof:
    """Return the content of a certificate that OpenSSL believes. ProtocolError if it names nobody who is accepted."""
    said = cast("Mapping[str, Any]", certificate or {})
    uris: list[str] = [value for kind, value in said.get("subjectAltName", ()) if kind == "URI"]
    if len(uris) != 1:
        found = ", ".join(printable(uri, URI_SHOWN_MAX) for uri in uris[:4]) or "none"
        raise ProtocolError(f"the certificate must have exactly one URI, found {found}")
    uri = uris[0]
    found_roles = [(role, name) for role, patterns in accepted.items() if (name := _name_in(uri, patterns)) is not None]
    if len(found_roles) != 1:
        what = "which TlsConfig.accept has in both roles" if found_roles else nobody
        raise ProtocolError(f"the certificate is of {printable(uri, URI_SHOWN_MAX)}, {what}")
    role, name = found_roles[0]
    serial = str(said.get("serialNumber", "")).lstrip("0").upper()
    return Proof(PeerIdentity(name or None, role), uri, serial, ssl.cert_time_to_seconds(said["notAfter"]))


def _name_in(uri: str, patterns: Sequence[UriPattern]) -> str | None:
    """Return the name in a URI, "" for none; None where no pattern fits, or two give it different names.

    A pattern with a name comes before one without: else a node could pass for any other, depending on their order.
    """
    found = {name for pattern in patterns if (name := pattern.name_in(uri)) is not None}
    names = found - {""} or found
    return names.pop() if len(names) == 1 else None


def _denial(proof: Proof, denied: frozenset[str]) -> str | None:
    if proof.uri in denied:
        return f"{proof.uri} is on the list of denied certificates"
    if proof.serial in denied:
        return f"denied is certificate {proof.serial} of {proof.uri}"  # what is long at the end is cut in a log
    return None


def _read_denied(path: FilePath) -> frozenset[str]:
    found: set[str] = set()
    for number, line in enumerate(_read(_DENIED_LIST, path).decode("utf-8-sig", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text or _DENIED_URI.fullmatch(text):
            found |= {text} - {""}
            continue
        digits = text.replace(":", "").upper().removeprefix("0X").lstrip("0")
        if not 0 < len(digits) <= _SERIAL_DIGITS_MAX or any(c not in "0123456789ABCDEF" for c in digits):
            place = f"{_name(_DENIED_LIST, path)}, line {number}"
            expected = f"a serial number of at most {_SERIAL_DIGITS_MAX} hexadecimal digits or a URI, one on a line"
            raise ConfigError(f"{place}: expected {expected}, got '{printable(text)}'")
        found.add(digits)
    if len(found) > DENIED_MAX:
        raise ConfigError(f"{_name(_DENIED_LIST, path)} must have at most {DENIED_MAX} entries")
    return frozenset(found)


def _system_of(certificate: Mapping[str, object], config: TlsConfig) -> str:
    """Return the name of the system in the own certificate, for those that are of no system themselves."""
    if config.accept is not None:
        return ""
    names = cast("Sequence[tuple[str, str]]", certificate.get("subjectAltName", ()))
    uri = next((value for kind, value in names if kind == "URI" and value.startswith(_SPIFFE)), "")
    if not uri:
        path = _name("certificate", config.certificate)
        raise ConfigError(f"{path} has no URI that begins with {_SPIFFE}: say which are believed, by TlsConfig.accept")
    return uri.removeprefix(_SPIFFE).partition("/")[0]


def _pair_fault(config: TlsConfig, error: OSError) -> str:
    certificate, key = _name("certificate", config.certificate), _name("private key", config.private_key)
    reason = error.reason if isinstance(error, ssl.SSLError) else ""
    if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return f"{key} is not that of {certificate}"
    if reason in _WEAK:
        return f"{certificate} is too weak for OpenSSL: {_words(error)}; {_KEYS}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(os.fspath(config.certificate))
    except OSError as fault:
        return f"{certificate} {_damage(fault)}"
    return f"{key} {_damage(error)}"


def _damage(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return f"cannot be read: {_words(error)}"
    return "is damaged or cut short, or of a kind that OpenSSL does not know" + (
        f": {_words(error)}" if error.reason else ""
    )


def _own_fault(config: TlsConfig, error: ssl.SSLCertVerificationError) -> str:
    """Return which of the own files is wrong where the own certificate is not believed."""
    certificate, ca = _name("certificate", config.certificate), _name("CA", config.ca)
    if error.verify_code in _FOREIGN:
        return (
            f"{certificate} is not signed by a CA in {os.fspath(config.ca)}, and {Path(config.certificate).name} ends "
            "with none that is: take the certificate or the CA that fits, or append those between them"
        )
    if error.verify_code not in (_EXPIRED, _NOT_YET):
        return f"{certificate} is not believed together with {ca}: {error.verify_message}"
    since, until = _dates(config)
    now = time.time()
    if until <= now:
        return f"{certificate} ended at {_date(until)}: issue another one"
    if since > now:
        return f"{certificate} begins at {_date(since)}: look at the clock of this machine"
    return f"{ca}: {error.verify_message}"


def _dates(config: TlsConfig) -> tuple[float, float]:
    """Return from when until when the own certificate is good."""
    checking, showing = _context(config, is_server=True), _context(config, is_server=False)
    checking.verify_flags = cast("ssl.VerifyFlags", int(checking.verify_flags) | _WITHOUT_TIME)
    showing.verify_mode = ssl.CERT_NONE
    said = cast("Mapping[str, str]", _shown_certificate(showing, to=checking))
    return ssl.cert_time_to_seconds(said["notBefore"]), ssl.cert_time_to_seconds(said["notAfter"])


def _check_pem(what: str, path: FilePath, mark: bytes) -> None:
    data = _read(what, path)
    if b"ENCRYPTED" in data and what == "private key":
        raise ConfigError(f"{_name(what, path)} is encrypted: a node has nobody to ask for its password")
    if mark not in data:
        raise ConfigError(f"{_name(what, path)} holds no {what}: {_PEM}")


def _read(what: str, path: FilePath) -> bytes:
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):  # to open it would wait for a writer, and hold the node
            raise ConfigError(f"{_name(what, path)} is a pipe: it is read more than once, so it must be a file")
        with Path(path).open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        fault = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        if isinstance(error, FileNotFoundError) and what == _DENIED_LIST:
            fault += ": make it, and an empty file is enough as long as none is denied"
        raise ConfigError(f"{_name(what, path)} {fault}") from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{_name(what, path)} is larger than {FILE_BYTES_MAX} bytes")
    return data


def _stamp(path: FilePath) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _name(what: str, path: FilePath) -> str:
    return f"the TLS {what} {os.fspath(path)}"


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "an unknown fault").lower().replace("_", " ")
    return error.strerror or type(error).__name__
