"""A CA in a folder, and the certificates that it issues; the one module of the library that needs cryptography.

The certificate of the CA has the URI ``spiffe://NAME``, so whoever issues with it need not say the name of the system
again. All keys are of the curve P-256. Certificates keep the rules of OpenSSL's strict mode, by which nodes check them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from casty import ConfigError, TlsConfig
from casty.cli.cert.cert_files import PRIVATE, PUBLIC, CertFile, write_files
from casty.config.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE, TlsRole, is_segment
from casty.config.validation import check_node_id

CA_KEY_FILE: Final = "ca.key"
SPIFFE: Final = "spiffe://"
FOLDERS: Final[dict[TlsRole, str]] = {"member": "node", "client": "client"}
"""Folders of issued files below that of the CA, and the same parts of the URIs."""
SLACK: Final = timedelta(minutes=5)
"""Time by which a certificate begins before it is made, for clocks that are behind."""
COMMON_NAME_MAX: Final = 64
"""Bound of X.509."""


def make_ca(folder: Path, system_name: str, days: int, *, force: bool) -> None:
    """Write the certificate and the key of a new CA. ConfigError for a bad name, and for files that exist."""
    TlsConfig.folder(folder).accepted(system_name)  # whether nodes of this name can have TLS
    key = ec.generate_private_key(ec.SECP256R1())
    digest = hashlib.sha256(_public_bytes(key.public_key())).hexdigest()
    subject = _name(f"casty CA {digest[:8]}")  # each CA another name, or OpenSSL takes one for the other
    builder = _builder(subject, subject, key.public_key(), key.public_key(), _in(days))
    builder = builder.add_extension(x509.BasicConstraints(True, 0), critical=True)
    builder = builder.add_extension(_usage(is_ca=True), critical=True)
    certificate = _with_uri(builder, SPIFFE + system_name).sign(key, hashes.SHA256())
    files = [
        CertFile(folder / CA_KEY_FILE, _pem_of_key(key), PRIVATE),
        CertFile(folder / CA_FILE, certificate.public_bytes(serialization.Encoding.PEM), PUBLIC),
    ]
    write_files(files, force=force, loss="nodes would not believe certificates of another CA")


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA read from its folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    believed: bytes
    """Content of ``ca.crt``: while one CA replaces another it has both."""
    system_name: str

    def issue(self, node_id: str, role: TlsRole, days: int, *, force: bool) -> Path:
        """Write the three files of a node or client, and return their folder."""
        check_node_id(node_id)
        if not is_segment(node_id):
            raise ConfigError(f"a name in a certificate must be made of A-Z, a-z, 0-9, '.', '_', '-', got {node_id!r}")
        until, end = _in(days), self.certificate.not_valid_after_utc
        if until > end:
            left = (end - datetime.now(UTC)).days
            advice = f"give --days {left} or less" if left > 0 else "make another one"
            raise ConfigError(f"the CA in {self.folder} ends at {date_of(end)}, before the certificate would: {advice}")
        uri = TlsConfig.folder(self.folder).accepted(self.system_name)[role][0].uri_of(node_id)
        key = ec.generate_private_key(ec.SECP256R1())
        subject, issuer = _name(node_id[:COMMON_NAME_MAX]), self.certificate.subject
        builder = _builder(subject, issuer, key.public_key(), self.key.public_key(), until)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(_usage(is_ca=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(_purposes(role)), critical=False)
        certificate = _with_uri(builder, uri).sign(self.key, hashes.SHA256())
        place = self.folder / FOLDERS[role] / node_id
        files = [
            CertFile(place / KEY_FILE, _pem_of_key(key), PRIVATE),
            CertFile(place / CERTIFICATE_FILE, certificate.public_bytes(serialization.Encoding.PEM), PUBLIC),
            CertFile(place / CA_FILE, self.believed, PUBLIC),
        ]
        write_files(files, force=force, loss="they may be in use")
        return place


def open_ca(folder: Path) -> Authority:
    """Read the CA of a folder. ConfigError where there is none, or one that cannot issue."""
    key_path, path = folder / CA_KEY_FILE, folder / CA_FILE
    if not key_path.exists():
        raise ConfigError(f"{key_path} does not exist: make a CA with  casty cert init --dir {folder}")
    try:
        key = serialization.load_pem_private_key(_read(key_path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{key_path} is not a private key in PEM form without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{key_path} must be the key of an elliptic curve, as  casty cert init  makes it")
    believed = _read(path)
    mine = [one for one in certificates_in(path, believed) if _public_bytes_of(one) == _public_bytes(key.public_key())]
    if not mine:
        raise ConfigError(f"{key_path} is not the key of a certificate in {path}")
    uris = uris_of(mine[0])
    if len(uris) != 1 or not uris[0].startswith(SPIFFE) or "/" in uris[0].removeprefix(SPIFFE):
        raise ConfigError(f"{path} must name the system by one URI {SPIFFE}NAME, as  casty cert init  makes it")
    return Authority(folder, key, mine[0], believed, uris[0].removeprefix(SPIFFE))


def described(path: Path) -> list[str]:
    """Return what the certificates of a file, or of the files of a folder, say. ConfigError where there are none."""
    if not path.is_dir():
        return _lines_of(path)
    found = [path / name for name in (CERTIFICATE_FILE, CA_FILE) if (path / name).exists()]
    if not found:
        raise ConfigError(
            f"{path} must hold {CERTIFICATE_FILE} or {CA_FILE}, and has neither: name a file, or a folder"
        )
    return [line for each in found for line in _lines_of(each)]


def certificates_in(path: Path, data: bytes) -> Sequence[x509.Certificate]:
    """Return the certificates in a file in PEM form, at least one. ConfigError for anything else."""
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ConfigError(f"{path} holds no certificate in PEM form: expected -----BEGIN CERTIFICATE-----") from None


def uris_of(certificate: x509.Certificate) -> list[str]:
    """Return the URIs that a certificate names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def date_of(moment: datetime) -> str:
    """Return a time in UTC as text."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _lines_of(path: Path) -> list[str]:
    lines: list[str] = []
    for certificate in certificates_in(path, _read(path)):
        try:
            lines += [str(path), *(f"  {title:<7}{value}" for title, value in _rows_of(certificate))]
        except ValueError as error:  # extensions are parsed when they are read
            raise ConfigError(f"{path} holds a certificate that cannot be read: {error}") from None
    return lines


def _rows_of(certificate: x509.Certificate) -> list[tuple[str, str]]:
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    left = (until - datetime.now(UTC)).total_seconds() / 86_400
    return [
        ("is", "a CA" if _is_ca(certificate) else "no CA"),
        ("uri", ", ".join(uris_of(certificate)) or "none"),
        ("serial", f"{certificate.serial_number:X}"),
        ("issuer", certificate.issuer.rfc4514_string()),
        ("from", date_of(since)),
        ("until", f"{date_of(until)}, {f'{left:.0f} days left' if left > 0 else 'ended'}"),
    ]


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - SLACK)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _in(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def _with_uri(builder: x509.CertificateBuilder, uri: str) -> x509.CertificateBuilder:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    return builder.add_extension(names, critical=False)


def _purposes(role: TlsRole) -> list[x509.ObjectIdentifier]:
    client = ExtendedKeyUsageOID.CLIENT_AUTH
    return [client] if role == "client" else [ExtendedKeyUsageOID.SERVER_AUTH, client]


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=is_ca, crl_sign=is_ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _public_bytes_of(certificate: x509.Certificate) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(serialization.Encoding.DER, form)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
