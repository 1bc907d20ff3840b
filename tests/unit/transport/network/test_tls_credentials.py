"""Files of a node: each wrong one is named when the node is made, and good ones are taken anew when they change."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from helpers.certificates import TestCa

from casty import ConfigError, TlsConfig
from casty.config.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE
from casty.transport.network.tls_credentials import TlsCredentials

URI = "spiffe://shop/node/a"


def read(config: TlsConfig, *, system_name: str = "shop", node_id: str = "a") -> TlsCredentials:
    return TlsCredentials(config, system_name=system_name, node_id=node_id)


def test_good_files_prove_the_name_in_them(ca, tmp_path):
    own = read(ca.node(tmp_path, "a")).own
    assert (own.identity.node_id, own.identity.role, own.uri) == ("a", "member", URI)


def test_files_of_a_client_prove_its_name_without_saying_which_system(ca, tmp_path):
    own = TlsCredentials(ca.client(tmp_path, "ops")).own
    assert (own.identity.node_id, own.identity.role) == ("ops", "client")


def without(name: str) -> Callable[[TestCa, Path], TlsConfig]:
    def make(ca: TestCa, folder: Path) -> TlsConfig:
        config = ca.issue(folder, URI)
        (folder / name).unlink()
        return config

    return make


def replaced(name: str, data: bytes | Callable[[TestCa], bytes]) -> Callable[[TestCa, Path], TlsConfig]:
    def make(ca: TestCa, folder: Path) -> TlsConfig:
        config = ca.issue(folder, URI)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data(ca))
        return config

    return make


def with_other_key(ca: TestCa, folder: Path) -> TlsConfig:
    config = ca.issue(folder, URI)
    key = (folder / KEY_FILE).read_bytes()
    ca.issue(folder, URI)
    (folder / KEY_FILE).write_bytes(key)
    return config


def cut_short(name: str) -> Callable[[TestCa, Path], TlsConfig]:
    def make(ca: TestCa, folder: Path) -> TlsConfig:
        config = ca.issue(folder, URI)
        (folder / name).write_bytes((folder / name).read_bytes()[:-40])
        return config

    return make


def with_weak_key(ca: TestCa, folder: Path) -> TlsConfig:
    key = rsa.generate_private_key(65_537, 1_024)
    return ca.issue(folder, URI, key=key)


def with_pipe(ca: TestCa, folder: Path) -> TlsConfig:
    config = ca.issue(folder, URI)
    (folder / KEY_FILE).unlink()
    os.mkfifo(folder / KEY_FILE)
    return config


MINUTES = timedelta(seconds=-30)
FAULTS: dict[str, tuple[Callable[[TestCa, Path], TlsConfig], str]] = {
    "no certificate": (without(CERTIFICATE_FILE), "the TLS certificate .*tls.crt does not exist"),
    "no key": (without(KEY_FILE), "the TLS private key .*tls.key does not exist"),
    "no CA": (without(CA_FILE), "the TLS CA .*ca.crt does not exist"),
    "a folder": (lambda ca, at: TlsConfig(at, at, at), "the TLS certificate .* cannot be read: Is a directory"),
    "no PEM": (replaced(CERTIFICATE_FILE, b"0\x82"), "tls.crt holds no certificate: expected PEM"),
    "broken PEM": (replaced(CA_FILE, b"-----BEGIN CERTIFICATE-----\nx"), "the TLS CA .*ca.crt is damaged or cut short"),
    "certificate cut short": (cut_short(CERTIFICATE_FILE), "the TLS certificate [^ ]*tls.crt is damaged or cut short"),
    "key cut short": (cut_short(KEY_FILE), "^the TLS private key [^ ]*tls.key is damaged or cut short"),
    "CA cut short": (cut_short(CA_FILE), "^the TLS CA [^ ]*ca.crt is damaged or cut short"),
    "weak key": (
        with_weak_key,
        "tls.crt is too weak for OpenSSL: ee key too small; expected a key of P-256, Ed25519 or",
    ),
    "pipe": (with_pipe, "tls.key is a pipe: it is read more than once, so it must be a file"),
    "key encrypted": (replaced(KEY_FILE, b"-----BEGIN ENCRYPTED PRIVATE KEY-----"), "tls.key is encrypted: a node has"),
    "another key": (with_other_key, "the TLS private key .*tls.key is not that of the TLS certificate .*tls.crt"),
    "ended": (lambda ca, at: ca.issue(at, URI, lasts=MINUTES), "tls.crt ended at 20.* UTC: issue another one"),
    "not yet": (
        lambda ca, at: ca.issue(at, URI, begins=timedelta(days=2)),
        "tls.crt begins at 20.*: look at the clock",
    ),
    "another CA": (replaced(CA_FILE, lambda _: TestCa.make().pem), "tls.crt is not signed by a CA in .*ca.crt"),
    "no URI": (lambda ca, at: ca.issue(at), "exactly one URI, found none; expected spiffe://shop/node/a"),
    "two URIs": (lambda ca, at: ca.issue(at, URI, "spiffe://shop/node/b"), "exactly one URI, found .*node/a, .*node/b"),
    "another node": (
        lambda ca, at: ca.issue(at, URI + "b"),
        "of another node, .*/ab, and this one is 'a'; expected .*/a",
    ),
    "another system": (
        lambda ca, at: ca.issue(at, "spiffe://till/node/a"),
        "till/node/a, no node or client of 'shop'; expected spiffe://shop/node/a; make it by  casty cert issue a ",
    ),
    "a client's": (lambda ca, at: ca.issue(at, "spiffe://shop/client/a"), "is of a client, .*, and cannot be a node's"),
    "not for servers": (
        lambda ca, at: ca.issue(at, URI, usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
        "its extended key usage has no serverAuth; expected serverAuth and clientAuth; make it by  casty cert issue a ",
    ),
    "not for clients": (
        lambda ca, at: ca.issue(at, URI, usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        "its extended key usage has no clientAuth; expected serverAuth and clientAuth; make it by  casty cert issue a ",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_file_is_named_with_its_fault(ca, tmp_path, fault):
    make, message = FAULTS[fault]
    with pytest.raises(ConfigError, match=message):
        read(make(ca, tmp_path))


def test_unreadable_file_is_named(ca, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    config = ca.issue(tmp_path, URI)
    (tmp_path / KEY_FILE).chmod(0)
    with pytest.raises(ConfigError, match=r"the TLS private key .*tls.key cannot be read: Permission denied"):
        read(config)


@pytest.mark.parametrize("name", ["Shop", "my shop", "shöp", ""])
def test_system_whose_name_cannot_stand_in_a_certificate_is_told_so(ca, tmp_path, name):
    with pytest.raises(ConfigError, match=r"must be made of a-z, 0-9, '\.', '_' and '-'"):
        ca.issue(tmp_path, URI).accepted(name)


@pytest.mark.parametrize(
    ("accept", "message"),
    [
        ({"boss": []}, "the roles 'member' and 'client', got 'boss'"),
        ({"member": "spiffe://a/b"}, "must be a list of patterns"),
        ({"member": ["web-1"]}, "a pattern of TlsConfig.accept is a URI"),
        ({"member": ["spiffe://a/*"]}, "one whole part of the path"),
        ({"member": ["spiffe://a/x{node_id}"]}, "one whole part of the path"),
        ({"member": ["spiffe://{node_id}"]}, "one whole part of the path"),
        ({"member": ["https://{node_id}/node"]}, "one whole part of the path"),
        ({"member": ["spiffe://a/{node_id}/{node_id}"]}, "one whole part of the path"),
        ([], "must be a mapping"),
    ],
)
def test_bad_pattern_is_told_so(accept, message):
    with pytest.raises(ConfigError, match=message):
        TlsConfig("a", "b", "c", accept=accept)


def test_pattern_of_ones_own_says_who_is_a_node(ca, tmp_path):
    config = ca.issue(tmp_path, "spiffe://prod.example/ns/shop/sa/a")
    patterns = {"member": ["spiffe://prod.example/ns/shop/sa/{node_id}"]}
    accepted = TlsConfig(config.certificate, config.private_key, config.ca, accept=patterns)
    assert read(accepted).own.identity.node_id == "a"
    with pytest.raises(ConfigError, match="this one is 'b'"):
        read(accepted, node_id="b")


def test_pattern_without_a_name_proves_membership_alone(ca, tmp_path):
    config = ca.issue(tmp_path, "spiffe://prod/sa/shop")
    own = read(
        TlsConfig(config.certificate, config.private_key, config.ca, accept={"member": ["spiffe://prod/sa/shop"]})
    ).own
    assert (own.identity.node_id, own.identity.role) == (None, "member")


def test_changed_files_are_taken_and_bad_ones_leave_the_ones_before(ca, tmp_path):
    config = ca.issue(tmp_path, URI, serial=0xA1)
    credentials = read(config)
    assert not credentials.refresh()
    ca.issue(tmp_path, URI, serial=0xB2)
    context = credentials.context(is_server=True)
    assert credentials.refresh() and credentials.own.serial == "B2"
    assert credentials.context(is_server=True) is not context
    (tmp_path / KEY_FILE).write_bytes(b"half a file")
    with pytest.raises(ConfigError, match="tls.key holds no private key"):
        credentials.refresh()
    assert credentials.own.serial == "B2" and not credentials.refresh()


@pytest.mark.parametrize("line", ["a1", "00:A1", "0xa1  # lost", URI])
def test_denied_certificate_is_not_believed(ca, tmp_path, line):
    folder = tmp_path / "tls"
    good, denied = ca.issue(folder, URI, serial=0xA1), tmp_path / "denied"
    config = TlsConfig(good.certificate, good.private_key, good.ca, denied=denied)
    denied.write_text("# nobody yet\n\n")
    proof = read(config).own
    credentials = read(config)
    assert credentials.objection(proof, 0.0) is None
    denied.write_text(line + "\n")
    expected = f"{URI} is on the list of denied certificates" if line == URI else f"denied is certificate A1 of {URI}"
    assert credentials.refresh() and credentials.objection(proof, 0.0) == expected
    with pytest.raises(ConfigError, match=f"cannot be used: {expected}"):
        read(config)


@pytest.mark.parametrize(
    "line", ["web-1", "a1 a2", f"{URI}, a1", "spiffe://", "-5", "0", "a" * 41, "\0", "\xff" * 200_000]
)
def test_line_that_denies_nothing_is_named(ca, tmp_path, line):
    good, denied = ca.issue(tmp_path, URI), tmp_path / "denied"
    denied.write_text(f"a1\r\n{line}\n", encoding="latin-1")
    with pytest.raises(ConfigError, match=r"denied, line 2: expected a serial number .* got '") as caught:
        read(TlsConfig(good.certificate, good.private_key, good.ca, denied=denied))
    assert len(str(caught.value)) < 500 + len(str(tmp_path)) and "\0" not in str(caught.value)


def test_list_that_does_not_exist_may_be_made_empty(ca, tmp_path):
    good, denied = ca.issue(tmp_path, URI), tmp_path / "denied"
    config = TlsConfig(good.certificate, good.private_key, good.ca, denied=denied)
    with pytest.raises(
        ConfigError, match="list of denied certificates .*/denied does not exist: make it, and an empty"
    ):
        read(config)
    denied.touch()
    assert read(config).own.uri == URI


def test_list_of_an_editor_with_marks_of_its_own_is_read(ca, tmp_path):
    folder = tmp_path / "tls"
    good, denied = ca.issue(folder, URI, serial=0xA1), tmp_path / "denied"
    denied.write_bytes(b"\xef\xbb\xbfA1\r\n\r\n# all\r\n")
    with pytest.raises(ConfigError, match="denied is certificate A1"):
        read(TlsConfig(good.certificate, good.private_key, good.ca, denied=denied))


@pytest.mark.parametrize("order", [1, -1])
def test_pattern_with_a_name_comes_before_one_without(ca, tmp_path, order):
    config = ca.issue(tmp_path, URI)
    patterns = [URI, "spiffe://shop/node/{node_id}"][::order]
    accepting = TlsConfig(config.certificate, config.private_key, config.ca, accept={"member": patterns})
    assert read(accepting).own.identity.node_id == "a"


def test_uri_with_two_names_is_nobody(ca, tmp_path):
    config = ca.issue(tmp_path, "spiffe://shop/a/b")
    patterns = ["spiffe://shop/a/{node_id}", "spiffe://shop/{node_id}/b"]
    accepting = TlsConfig(config.certificate, config.private_key, config.ca, accept={"member": patterns})
    with pytest.raises(ConfigError, match="shop/a/b, which TlsConfig.accept has in no role; expected spiffe://"):
        read(accepting)


def test_certificate_with_text_that_is_none_does_not_end_a_node(ca, tmp_path, monkeypatch):
    credentials = read(ca.issue(tmp_path, URI))
    before = credentials.own
    ca.issue(tmp_path, URI)

    def unreadable(*_: object, **__: object) -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr("casty.transport.network.tls_credentials._shown_certificate", unreadable)
    with pytest.raises(ConfigError, match="tls.crt cannot be read: UnicodeDecodeError"):
        credentials.refresh()
    assert credentials.own == before


@pytest.mark.parametrize("is_in_ca", [False, True])
def test_certificate_of_an_intermediate_is_believed_with_what_is_between(ca, tmp_path, is_in_ca):
    root = TestCa.make("root", path_length=1)
    config = TestCa.make("between", of=root).issue(tmp_path, URI)
    between = (tmp_path / CA_FILE).read_bytes()
    (tmp_path / CA_FILE).write_bytes(root.pem + (between if is_in_ca else b""))
    if not is_in_ca:
        with pytest.raises(ConfigError, match=r"not signed by a CA in .*, and tls.crt ends with none that is"):
            read(config)
        (tmp_path / CERTIFICATE_FILE).write_bytes((tmp_path / CERTIFICATE_FILE).read_bytes() + between)
    assert read(config).own.uri == URI
