"""Where the files of TLS are named: the option before the environment before the file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casty import ConfigError, TlsConfig
from casty.cli.configuration import NodeFile, NodeOptions, plan_of, read_file
from casty.cli.tls_options import tls_of

IN_FILE = TlsConfig("f.crt", "f.key", "f.ca")
THREE = {"CASTY_TLS_CERTIFICATE": "e.crt", "CASTY_TLS_PRIVATE_KEY": "e.key", "CASTY_TLS_CA": "e.ca"}


def test_the_option_wins_over_the_environment_and_that_over_the_file(tmp_path):
    assert tls_of(tmp_path, THREE, IN_FILE) == TlsConfig.folder(tmp_path)
    assert tls_of(None, THREE, IN_FILE) == TlsConfig("e.crt", "e.key", "e.ca")
    assert tls_of(None, {"CASTY_TLS_DENIED": "no"}, IN_FILE) == TlsConfig("f.crt", "f.key", "f.ca", denied="no")
    assert tls_of(None, {"CASTY_TLS_DIR": str(tmp_path)}, IN_FILE) == TlsConfig.folder(str(tmp_path))
    assert tls_of(None, {}, IN_FILE) == IN_FILE and tls_of(None, {}, None) is None


def test_who_is_denied_and_accepted_is_so_with_a_folder_too(tmp_path):
    accept = {"member": ["spiffe://x/{node_id}"]}
    in_file = TlsConfig("f.crt", "f.key", "f.ca", denied="file", accept=accept, reload_every=1.0)
    three = TlsConfig.folder(tmp_path)
    expected = TlsConfig(three.certificate, three.private_key, three.ca, denied="file", accept=accept, reload_every=1.0)
    assert tls_of(tmp_path, {}, in_file) == expected
    assert tls_of(None, {"CASTY_TLS_DIR": str(tmp_path)}, in_file) == expected
    environ = {"CASTY_TLS_DENIED": "environ", "CASTY_TLS_RELOAD_EVERY": "2"}
    assert tls_of(tmp_path, environ, in_file) == replace(expected, denied="environ", reload_every=2.0)
    assert tls_of(tmp_path, environ, None) == replace(three, denied="environ", reload_every=2.0)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"CASTY_TLS_CA": "ca"}, "CASTY_TLS_CERTIFICATE, CASTY_TLS_PRIVATE_KEY must be set too, or CASTY_TLS_DIR"),
        (THREE | {"CASTY_TLS_RELOAD_EVERY": "soon"}, "CASTY_TLS_RELOAD_EVERY must be a number of seconds, got 'soon'"),
    ],
)
def test_environment_that_says_too_little_is_told_so(environ, message):
    with pytest.raises(ConfigError, match=message):
        tls_of(None, environ, None)


def test_table_of_a_file_is_read(tmp_path):
    path = tmp_path / "casty.toml"
    path.write_text(
        '[tls]\ncertificate = "a"\nprivate_key = "b"\nca = "c"\naccept = {member = ["spiffe://x/{node_id}"]}\n'
    )
    expected = TlsConfig("a", "b", "c", accept={"member": ["spiffe://x/{node_id}"]})
    assert read_file(path).tls == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('certificate = "a"', r"in tls: \[tls\] needs private_key, ca"),
        ('certificate = "a"\nprivate_key = "b"\nca = 3', "in tls: TlsConfig.ca must be the path of a file"),
        ('key = "a"', "in tls: unknown key 'key'"),
    ],
)
def test_mistake_in_the_table_is_named(tmp_path, table, message):
    path = tmp_path / "casty.toml"
    path.write_text(f"[tls]\n{table}\n")
    with pytest.raises(ConfigError, match=message):
        read_file(path)


def test_node_with_tls_may_listen_beyond_loopback():
    options = NodeOptions(node_id="a", host="10.0.0.1")
    assert plan_of(options, NodeFile(), IN_FILE).tls == IN_FILE
    with pytest.raises(ConfigError, match="set tls, or bind a loopback address"):
        plan_of(options, NodeFile())
