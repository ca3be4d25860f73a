"""Where BloFin lives. The list is fixed: settings choose from it, or name a box on this machine."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from blofin_cli.core.quotes import Environment
from blofin_cli.errors import ConfigError

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Host:
    """Addresses of one environment."""

    environment: Environment
    rest: str
    public_stream: str
    private_stream: str


def _of_domain(environment: Environment, domain: str) -> Host:
    stream = f"wss://{domain}/ws"
    return Host(environment, f"https://{domain}", f"{stream}/public", f"{stream}/private")


HOSTS = {
    Environment.LIVE: _of_domain(Environment.LIVE, "openapi.blofin.com"),
    Environment.DEMO: _of_domain(Environment.DEMO, "demo-trading-openapi.blofin.com"),
}


def host_of(environment: Environment, simulator_url: str | None = None) -> Host:
    """The host of an environment; the simulator's address must be plain http on this machine.

    Errors: ConfigError when an address is given for BloFin itself, is missing for the simulator,
    or leaves this machine.
    """
    if environment is not Environment.SIMULATED:
        if simulator_url is not None:
            raise ConfigError(
                f"the {environment} host is fixed", hint="an address belongs to the simulator only"
            )
        return HOSTS[environment]
    if simulator_url is None:
        raise ConfigError("the simulator's address is missing", hint="start it: blofin sim")
    try:
        parts = urlsplit(simulator_url)
        is_loopback = parts.hostname in _LOOPBACK and parts.port is not None
    except ValueError:
        is_loopback = False
    if not is_loopback or parts.scheme != "http" or parts.path not in ("", "/"):
        raise ConfigError(
            "the simulator's address must be http://127.0.0.1:PORT",
            hint="a box that pretends to be BloFin is only trusted on this machine",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError("the simulator's address carries more than a host and a port")
    place = parts.netloc
    return Host(
        environment, f"http://{place}", f"ws://{place}/ws/public", f"ws://{place}/ws/private"
    )
