"""Which address, name and protection the dashboard is served under, decided before it listens."""

import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blofin_cli.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from blofin_cli.app.commands.web import WebRequest

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Doorway:
    """What a request must name to be let in.

    `names` are the Host headers it answers to, `origins` the pages that may send to it; `proxies`
    is who may speak for others (empty: nobody does), `allowed` who may come (empty: everybody).
    """

    names: frozenset[str]
    origins: frozenset[str]
    is_secure: bool
    proxies: frozenset[IpAddress] = frozenset()
    allowed: tuple[IpNetwork, ...] = ()

    def admits(self, address: str) -> bool:
        """Whether the allow-list lets this address in."""
        if not self.allowed:
            return True
        found = _address(address)
        return found is not None and any(
            found.version == network.version and found in network for network in self.allowed
        )

    def visitor(self, peer: str, forwarded: str | None) -> str | None:
        """The address a request comes from; None when it did not come through the proxy.

        Of what was forwarded only the last entry counts: the proxy wrote that one itself.
        """
        if not self.proxies:
            return peer
        if _address(peer) not in self.proxies:
            return None
        said = (forwarded or "").rpartition(",")[2].strip()
        return said if _address(said) is not None else None


def doorway_of(request: "WebRequest", port: int) -> Doorway:
    """The doorway a request describes.

    Errors: UsageError when anybody but this machine could read along; ConfigError for a
    certificate that cannot be used.
    """
    host = _own_address(request.host)
    if request.behind_proxy is not None and request.tls_cert is not None:
        raise UsageError("--behind-proxy and --tls-cert contradict: the proxy speaks https")
    if (request.tls_cert is None) != (request.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together")
    is_secure = request.tls_cert is not None or request.behind_proxy is not None
    if not host.is_loopback and not is_secure:
        raise UsageError(
            f"{host} can be reached from outside, and passwords would cross the network in clear",
            hint="--tls-cert FILE --tls-key FILE, or --behind-proxy NAME; blofin guide web",
        )
    if request.behind_proxy is not None:
        name = request.behind_proxy.lower().removesuffix(":443")
        return Doorway(
            names=frozenset({name, f"{name}:443"} if ":" not in name else {name}),
            origins=frozenset({f"https://{name}"}),
            is_secure=True,
            proxies=frozenset(_own_address(item) for item in request.proxy_from),
            allowed=_networks(request.allow),
        )
    names = {_bracketed(host)} if not host.is_unspecified else set()
    if host.is_loopback:
        names |= set(LOOPBACK_NAMES)
    if request.tls_cert is not None:
        names |= set(_certified(Path(request.tls_cert), Path(request.tls_key or "")))
    scheme, usual = ("https", 443) if is_secure else ("http", 80)
    hosts = {f"{name}:{port}" for name in names} | (names if port == usual else set())
    return Doorway(
        names=frozenset(hosts),
        origins=frozenset(f"{scheme}://{name}" for name in hosts),
        is_secure=is_secure,
        allowed=_networks(request.allow),
    )


def _own_address(text: str) -> IpAddress:
    found = _address(text)
    if found is None:
        raise UsageError(f"{ascii(text)[:80]} is no IP address", hint="e.g. 127.0.0.1 or ::1")
    return found


def _address(text: str) -> IpAddress | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _bracketed(address: IpAddress) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


def _networks(texts: Iterable[str]) -> tuple[IpNetwork, ...]:
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError as defect:
        raise UsageError(f"--allow: {defect}") from None


def _certified(certificate: Path, key: Path) -> tuple[str, ...]:
    """The names and addresses a certificate is good for, after a look whether it can be used."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        text = certificate.read_bytes()
    except (OSError, ssl.SSLError) as defect:
        raise ConfigError(f"the certificate cannot be used: {defect}") from None
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(text)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        raise ConfigError("the certificate names no host (subjectAltName)") from None
    return (
        *(str(name).lower() for name in names.get_values_for_type(x509.DNSName)),
        *(
            _bracketed(address)
            for address in names.get_values_for_type(x509.IPAddress)
            if isinstance(address, IpAddress)
        ),
    )
