"""Where the dashboard may be opened, and the password it does not open without."""

import datetime
import ipaddress
import os
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blofin_cli.app import catalog
from blofin_cli.app.commands.web import WebRequest
from blofin_cli.app.context import Context
from blofin_cli.app.spec import validate
from blofin_cli.errors import ConfigError, UsageError
from blofin_cli.faces.web import open_face
from blofin_cli.faces.web.doorway import doorway_of
from blofin_cli.faces.web.opening import set_password, with_settings
from blofin_cli.faces.web.passwords import FILE_NAME, PasswordFile


@pytest.fixture
def certificate(tmp_path):
    """A self-signed pair good for trade.example.org and 192.0.2.7."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trade.example.org")])
    now = datetime.datetime.now(datetime.UTC)
    names = [
        x509.DNSName("trade.example.org"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(cert), str(private)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "10.1.2.3", "2001:db8::1"])
def test_open_address_without_protection_is_refused(host):
    """Any address but loopback needs TLS or a named proxy."""
    with pytest.raises(UsageError, match="in clear"):
        doorway_of(WebRequest(host=host), 8788)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.9.9.9"])
def test_loopback_answers_to_its_own_names_only(host):
    """The names a browser on this machine uses, and no other."""
    found = doorway_of(WebRequest(host=host), 8788)
    assert "localhost:8788" in found.names
    assert not {"0.0.0.0:8788", "localhost", "evil.example:8788"} & found.names
    assert not found.is_secure


def test_certificate_gives_the_names(certificate):
    """With TLS the server answers to what its certificate is good for."""
    cert, key = certificate
    found = doorway_of(WebRequest(host="0.0.0.0", tls_cert=cert, tls_key=key), 443)
    assert {"trade.example.org", "192.0.2.7:443"} <= found.names
    assert "https://trade.example.org" in found.origins
    assert found.is_secure
    assert "0.0.0.0:443" not in found.names


def test_certificate_that_does_not_fit_is_refused(certificate, tmp_path):
    """A pair is needed, readable and matching; a proxy and a certificate contradict."""
    cert, key = certificate
    with pytest.raises(UsageError, match="belong together"):
        doorway_of(WebRequest(tls_cert=cert), 8788)
    with pytest.raises(ConfigError):
        doorway_of(WebRequest(tls_cert=cert, tls_key=str(tmp_path / "no.pem")), 8788)
    with pytest.raises(ConfigError):
        doorway_of(WebRequest(tls_cert=key, tls_key=key), 8788)
    with pytest.raises(UsageError, match="contradict"):
        doorway_of(WebRequest(tls_cert=cert, tls_key=key, behind_proxy="a.example"), 8788)


def test_proxy_alone_speaks_for_others():
    """Who comes past the proxy is refused, and only its own last entry says who comes."""
    found = doorway_of(WebRequest(behind_proxy="trade.example.org"), 8788)
    assert found.names == {"trade.example.org", "trade.example.org:443"}
    assert found.visitor("192.0.2.9", "127.0.0.1") is None
    assert found.visitor("127.0.0.1", None) is None
    assert found.visitor("127.0.0.1", "10.0.0.1, 198.51.100.4") == "198.51.100.4"
    assert found.visitor("::ffff:127.0.0.1", "198.51.100.4") == "198.51.100.4"
    assert found.visitor("127.0.0.1", "not an address") is None


def test_forwarded_address_is_not_believed_without_a_proxy():
    """A header anybody can send does not get past the allow-list."""
    found = doorway_of(WebRequest(allow=("10.0.0.0/8", "2001:db8::/32")), 8788)
    assert found.visitor("192.0.2.9", "10.0.0.1") == "192.0.2.9"
    assert not found.admits("192.0.2.9")
    assert found.admits("10.2.3.4")
    assert found.admits("::ffff:10.2.3.4")
    assert found.admits("2001:db8::7")
    assert not found.admits("nonsense")


def test_allow_list_that_is_none_is_refused():
    """A typing mistake must not open the door."""
    with pytest.raises(UsageError, match="--allow"):
        doorway_of(WebRequest(allow=("10.0.0.0/64",)), 8788)


def test_server_without_password_does_not_start(own_home):
    """Not even on loopback."""
    spec = catalog.load("web")
    with pytest.raises(ConfigError, match="no password") as raised:
        open_face(validate(spec, {"port": 0}), Context(face="cli"))
    assert raised.value.hint == "blofin web --set-password"


def test_password_is_hashed_and_readable_by_its_owner_only(tmp_path):
    """The file holds no password, and mode 600."""
    found = PasswordFile(tmp_path / "new" / FILE_NAME)
    found.choose("a perfectly fine one")
    assert "fine" not in found.path.read_text()
    assert found.path.read_text().startswith("scrypt:32768:8:1:")
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o600
    assert found.matches("a perfectly fine one")
    assert not found.matches("a perfectly fine one ")
    assert not found.matches("x" * 5_000)


@pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")
def test_unsafe_password_file_is_not_used(tmp_path):
    """A file others can read, a link, a damaged one and a short password are refused."""
    found = PasswordFile(tmp_path / FILE_NAME)
    with pytest.raises(UsageError):
        found.choose("short")
    found.choose("a perfectly fine one")
    found.path.chmod(0o644)
    with pytest.raises(ConfigError, match="read by others"):
        found.fingerprint()
    found.path.chmod(0o600)
    found.path.write_text("scrypt:2:1:1:AA==:AA==")
    with pytest.raises(ConfigError, match="damaged"):
        found.matches("a perfectly fine one")
    link = PasswordFile(tmp_path / "link")
    link.path.symlink_to(found.path)
    with pytest.raises(ConfigError, match="not a password file"):
        link.fingerprint()


def test_password_is_typed_in_a_terminal(own_home, capsys):
    """A pipe cannot choose it."""
    with pytest.raises(UsageError, match="terminal"):
        set_password(Context(face="cli"))


def test_settings_fill_in_what_was_not_typed(own_home, monkeypatch):
    """The section `web` counts, and the command line before it."""
    monkeypatch.setenv("BLOFIN_WEB__PORT", "9000")
    monkeypatch.setenv("BLOFIN_WEB__ALLOW", "10.0.0.0/8")
    spec = catalog.load("web")
    found = with_settings(validate(spec, {}), Context(face="cli"))
    assert (found.port, found.allow) == (9000, ("10.0.0.0/8",))
    assert with_settings(validate(spec, {"port": 1}), Context(face="cli")).port == 1
