"""Records of TLS 1.3 that Python's ssl does not write: those of a peer that renews its keys."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

APPLICATION_DATA, HANDSHAKE = 23, 22
SECRET = "CLIENT_TRAFFIC_SECRET_0"


class KeyUpdates:
    """Records of a client behind its handshake, by the secret that its context has logged; cipher AES-256-GCM."""

    def __init__(self, log: Path) -> None:
        lines = [line.split() for line in log.read_text().splitlines()]
        (self.secret,) = (bytes.fromhex(words[2]) for words in lines if words[0] == SECRET)
        self.count = 0

    @staticmethod
    def log_of(context: ssl.SSLContext, folder: Path) -> Path:
        """Have a context log its secrets, and return where."""
        context.keylog_filename = str(folder / "keys")
        return folder / "keys"

    def content(self, data: bytes) -> bytes:
        """Return a record with content."""
        return self._record(APPLICATION_DATA, data)

    def next(self, *, padding: int = 0) -> bytes:
        """Return a record that renews the keys, and asks for no answer."""
        record = self._record(HANDSHAKE, bytes((24, 0, 0, 1, 0)), padding)
        self.secret, self.count = self._derived("traffic upd", 48), 0
        return record

    def _derived(self, label: str, length: int) -> bytes:
        name = b"tls13 " + label.encode()
        info = length.to_bytes(2, "big") + bytes((len(name),)) + name + b"\0"
        return HKDFExpand(SHA384(), length, info).derive(self.secret)

    def _record(self, kind: int, data: bytes, padding: int = 0) -> bytes:
        inner = data + bytes((kind,)) + bytes(padding)
        head = bytes((APPLICATION_DATA, 3, 3)) + (len(inner) + 16).to_bytes(2, "big")
        start = int.from_bytes(self._derived("iv", 12), "big")
        nonce = (start ^ self.count).to_bytes(12, "big")
        self.count += 1
        return head + AESGCM(self._derived("key", 32)).encrypt(nonce, inner, head)
