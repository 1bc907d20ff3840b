"""``casty cert``: what it issues is believed by nodes, keys are for their owner, and nothing is lost unasked."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from helpers.certificates import TestCa
from typer.testing import CliRunner

from casty import ConfigError, TlsConfig
from casty.cli.app import app
from casty.cli.cert.checking import check_folder
from casty.cli.demo.demo_certificates import certificates_of_a_run, tls_of_a_process
from casty.transport.network.tls_credentials import TlsCredentials


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["cert", *map(str, arguments)])


def done(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refusal(*arguments: str | Path, code: int = 2) -> str:
    """Return the one line with which a command is refused."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("casty: ") and result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "tls"
    done("init", "--name", "shop", "--dir", place)
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_issued_files_are_those_of_that_node_and_of_no_other(folder):
    told = done("issue", "web-1", "--dir", folder)
    place = folder / "node" / "web-1"
    assert told == f"{place} has the files of the node web-1: --tls-dir {place}\n"
    own = TlsCredentials(TlsConfig.folder(place), system_name="shop", node_id="web-1").own
    assert own.uri == "spiffe://shop/node/web-1"
    with pytest.raises(ConfigError, match="is of another node"):
        TlsCredentials(TlsConfig.folder(place), system_name="shop", node_id="web-2")


def test_certificate_of_a_client_makes_no_node(folder):
    done("issue", "ops", "--client", "--dir", folder)
    tls = TlsConfig.folder(folder / "client" / "ops")
    assert TlsCredentials(tls).own.identity.role == "client"
    with pytest.raises(ConfigError, match="is of a client, .*/ops, and cannot be a node's; .*casty cert issue ops "):
        TlsCredentials(tls, system_name="shop", node_id="ops")


def test_certificate_of_another_ca_of_the_same_system_is_not_believed(folder):
    other = folder.parent / "other"
    done("init", "--name", "shop", "--dir", other)
    done("issue", "a", "--dir", other)
    done("check", other / "node" / "a")
    (other / "node" / "a" / "ca.crt").write_bytes((folder / "ca.crt").read_bytes())
    assert "is not signed by a CA in" in refusal("check", other / "node" / "a", code=1)


def test_keys_are_for_their_owner_alone(folder):
    done("issue", "a", "--dir", folder)
    os.chmod(folder / "node" / "a" / "tls.key", 0o644)
    done("issue", "a", "--dir", folder, "--force")
    for path in (folder / "ca.key", folder / "node" / "a" / "tls.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_is_overwritten_unless_forced(folder):
    done("issue", "a", "--dir", folder)
    before = contents(folder)
    place = folder / "node" / "a"
    there = f"{place / 'tls.key'}, {place / 'tls.crt'}, {place / 'ca.crt'} must not exist yet"
    assert there in refusal("issue", "a", "--dir", folder)
    assert "nodes would not believe certificates of another CA; --force" in refusal("init", "--dir", folder)
    assert contents(folder) == before
    (place / "tls.key").unlink()
    assert f"{place / 'tls.crt'}, {place / 'ca.crt'} must not" in refusal("issue", "a", "--dir", folder)
    assert not (place / "tls.key").exists()
    done("issue", "a", "--dir", folder, "--force")
    after = contents(folder)
    assert set(after) == set(before) and after["node/a/tls.crt"] != before["node/a/tls.crt"]
    done("check", place)


def test_file_of_a_faster_process_is_kept_and_nothing_left_beside_it(folder, monkeypatch):
    place = folder / "node" / "a"
    place.mkdir(parents=True)
    (place / "tls.crt").write_text("of the faster one")
    before = contents(folder)
    monkeypatch.setattr("casty.cli.cert.cert_files.os.path.lexists", lambda path: False)
    assert f"{place / 'tls.crt'} cannot be written: File exists" in refusal("issue", "a", "--dir", folder)
    assert contents(folder) == before


def test_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written: " in refusal("init", "--dir", tmp_path / "file" / "tls")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["issue", "a/b"], "a name in a certificate must be made of"),
        (["issue", ".."], "a name in a certificate must be made of"),
        (["issue", "a", "--days", "3651"], "ends at .*, before the certificate would: give --days 36"),
    ],
)
def test_what_cannot_be_issued_is_refused_and_writes_nothing(folder, arguments, message):
    before = contents(folder)
    assert re.search(message, refusal(*arguments, "--dir", folder))
    assert contents(folder) == before


def test_name_of_a_system_that_cannot_have_tls_is_refused(tmp_path):
    assert "must be made of a-z, 0-9" in refusal("init", "--name", "My Shop", "--dir", tmp_path / "tls")
    assert not (tmp_path / "tls").exists()


def test_folder_without_a_ca_that_can_issue_says_why(folder, tmp_path):
    absent = tmp_path / "none"
    assert f"make a CA with  casty cert init --dir {absent}" in refusal("issue", "a", "--dir", absent)
    other = tmp_path / "other"
    done("init", "--dir", other)
    (other / "ca.key").write_bytes((folder / "ca.key").read_bytes())
    assert "ca.key is not the key of a certificate in" in refusal("issue", "a", "--dir", other)
    (other / "ca.key").write_text("no key")
    assert "is not a private key in PEM form" in refusal("issue", "a", "--dir", other)
    (folder / "ca.crt").write_text("no certificate")
    assert "holds no certificate in PEM form" in refusal("issue", "a", "--dir", folder)


def test_ca_beside_the_one_before_issues_and_both_are_given_on(folder, tmp_path):
    new = tmp_path / "new"
    done("init", "--name", "shop", "--dir", new)
    both = (folder / "ca.crt").read_bytes() + (new / "ca.crt").read_bytes()
    (new / "ca.crt").write_bytes(both)
    done("issue", "a", "--dir", new)
    assert (new / "node" / "a" / "ca.crt").read_bytes() == both
    done("check", new / "node" / "a")


def test_show_tells_the_serial_number_by_which_a_certificate_is_denied(folder):
    done("issue", "a", "--dir", folder)
    place = folder / "node" / "a"
    own = TlsCredentials(TlsConfig.folder(place)).own
    told = done("show", place)
    for line in ("  is     no CA", f"  serial {own.serial}", "  uri    spiffe://shop/node/a", "  uri    spiffe://shop"):
        assert line in told.splitlines()
    assert done("show", place / "tls.crt") == told[: told.index(str(place / "ca.crt"))]
    assert "cannot be read: No such file" in refusal("show", folder / "absent.crt")
    assert "must hold tls.crt or ca.crt" in refusal("show", folder / "node")
    assert "holds no certificate" in refusal("show", place / "tls.key")


def test_check_takes_the_names_of_others(ca, tmp_path):
    ca.issue(tmp_path, "spiffe://prod/ns/shop/sa/a")
    assert "no node or client of 'prod'" in refusal("check", tmp_path, code=1)
    told = done("check", tmp_path, "--accept", "spiffe://prod/ns/shop/sa/{node_id}")
    assert told.startswith(f"{tmp_path} is good for spiffe://prod/ns/shop/sa/a, a member, until ")
    assert "good for" in done("check", tmp_path, "--accept", "spiffe://prod/ns/shop/sa/a")
    assert ", a client, until " in done("check", tmp_path, "--accept-client", "spiffe://prod/ns/shop/sa/{node_id}")
    assert "must be one whole part of the path" in refusal("check", tmp_path, "--accept", "spiffe://{node_id}", code=1)


def test_check_refuses_a_denied_certificate(folder, tmp_path, monkeypatch):
    done("issue", "a", "--dir", folder)
    place, denied = folder / "node" / "a", tmp_path / "denied"
    denied.write_text(TlsCredentials(TlsConfig.folder(place)).own.serial)
    done("check", place)
    assert "denied is certificate" in refusal("check", place, "--denied", denied, code=1)
    monkeypatch.setenv("CASTY_TLS_DENIED", str(denied))
    assert "denied is certificate" in refusal("check", place, code=1)


def test_check_tells_what_a_node_would_say(folder):
    done("issue", "a", "--dir", folder)
    place = folder / "node" / "a"
    assert done("check", place).startswith(f"{place} is good for spiffe://shop/node/a, a member, until ")
    assert "name the folder of a node or client" in refusal("check", folder, code=1)
    os.chmod(place / "tls.key", 0o640)
    assert f"note: {place / 'tls.key'} is open to other users (mode 0640)" in done("check", place)
    done("issue", "b", "--dir", folder)
    (place / "tls.key").write_bytes((folder / "node" / "b" / "tls.key").read_bytes())
    assert "tls.key is not that of the TLS certificate" in refusal("check", place, code=1)


def test_check_tells_that_a_certificate_ends_soon_or_has_ended(folder, ca, tmp_path):
    done("issue", "ops", "--client", "--days", "6", "--dir", folder)
    told = done("check", folder / "client" / "ops")
    assert "note: that is soon; replace it with  casty cert issue ops --client --force" in told
    ca.issue(tmp_path / "old", "spiffe://shop/node/old", lasts=timedelta(seconds=-30))
    assert "tls.crt ended at" in refusal("check", tmp_path / "old", code=1)


def test_files_of_another_tool_are_checked_too(ca: TestCa, tmp_path):
    ca.node(tmp_path, "a")
    assert "is good for spiffe://shop/node/a, a member" in done("check", tmp_path / "a")


def test_without_the_extra_it_says_what_to_install_and_checks_all_the_same(folder):
    done("issue", "a", "--dir", folder)
    without = "import sys; sys.modules['cryptography'] = None\nfrom casty.cli import main\n"

    def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        program = f"{without}sys.argv[1:] = {[*map(str, arguments)]!r}\nmain()"
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)

    ended = command("cert", "init", "--dir", folder / "new")
    assert ended.returncode == 2
    assert ended.stderr == "casty: casty cert needs cryptography: from the checkout, run  pip install '.[tls]'\n"
    ended = command("demo", "--tls", "--plain")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "casty: --tls needs cryptography: from the checkout, run  pip install '.[tls]'\n"
    assert command("cert", "check", folder / "node" / "a").returncode == 0


def test_nodes_of_a_demo_believe_each_other_until_its_end():
    with certificates_of_a_run("casty-demo", wanted=True) as certificates:
        (folder,) = certificates.variables_of("node-1").values()
        assert tls_of_a_process(certificates.variables_of("node-1")) == TlsConfig.folder(folder)
        assert check_folder(Path(folder))[0].startswith(f"{folder} is good for spiffe://casty-demo/node/node-1")
    assert not Path(folder).exists()
    with certificates_of_a_run("casty-demo", wanted=False) as nothing:
        assert nothing is None and tls_of_a_process({}) is None
