"""A CA for tests, and certificates good and bad in every way that a test is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from casty.config.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE, TlsConfig

BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
MONTH = timedelta(days=30)


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass
class TestCa:
    """A CA that signs whatever it is asked to."""

    __test__ = False

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, name: str = "test CA", *, of: TestCa | None = None, path_length: int = 0) -> TestCa:
        """Make a CA, signed by itself or ``of`` another one; ``path_length`` others may stand below it."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        above = key if of is None else of.key
        issuer = subject if of is None else of.certificate.subject
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = _builder(subject, issuer, key.public_key(), above.public_key(), timedelta(0))
        builder = builder.add_extension(x509.BasicConstraints(True, path_length), critical=True).add_extension(
            usage, critical=True
        )
        return cls(key, builder.sign(above, hashes.SHA256()))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        folder: Path,
        *uris: str,
        lasts: timedelta = MONTH,
        begins: timedelta = timedelta(0),
        usages: tuple[x509.ObjectIdentifier, ...] = BOTH,
        serial: int | None = None,
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    ) -> TlsConfig:
        """Write the three files of a certificate with these URIs, and return the configuration with them."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
        builder = _builder(
            subject, self.certificate.subject, key.public_key(), self.key.public_key(), begins, lasts, serial
        )
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CERTIFICATE_FILE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / KEY_FILE).write_bytes(pem_of(key))
        (folder / CA_FILE).write_bytes(self.pem)
        return TlsConfig.folder(folder)

    def node(self, folder: Path, node_id: str, *, system: str = "shop") -> TlsConfig:
        return self.issue(folder / node_id, f"spiffe://{system}/node/{node_id}")

    def client(self, folder: Path, name: str, *, system: str = "shop") -> TlsConfig:
        uri = f"spiffe://{system}/client/{name}"
        return self.issue(folder / f"client-{name}", uri, usages=(ExtendedKeyUsageOID.CLIENT_AUTH,))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    begins: timedelta,
    lasts: timedelta = MONTH,
    serial: int | None = None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begin = now + begins - timedelta(minutes=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(max(now + begins + lasts, begin))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )
