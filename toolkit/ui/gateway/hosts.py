"""Allowed host names and origins of requests, against DNS rebinding."""

from __future__ import annotations

import ipaddress
import socket
from functools import cache
from urllib.parse import urlsplit

from streamlit import config


def is_local(address: str | None) -> bool:
    """Whether only this machine can reach a server at ``address``; None means all addresses of the machine."""
    if not address:
        return False
    if address.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def host_name(host: str | None) -> str | None:
    """The name in a ``Host`` header without its port, in lower case; None if it holds no name.

    >>> host_name("[::1]:8501"), host_name("Example.ORG."), host_name("a@b")
    ('::1', 'example.org', None)
    """
    try:
        parts = urlsplit(f"//{host or ''}")
        _ = parts.port  # raises if it is not a number
    except ValueError:
        return None
    if parts.netloc != host or "@" in parts.netloc or not parts.hostname:
        return None
    return parts.hostname.rstrip(".") or None


def is_allowed_host(host: str | None) -> bool:
    """Whether a request's ``Host`` is this server's.

    On 127.0.0.1 this is a loopback address or ``localhost``; elsewhere any numeric address (which DNS cannot redirect),
    the machine's own name and the address it listens on. Names given with ``--browser.serverAddress``
    and ``--server.allowedHosts`` are always allowed.
    """
    name = host_name(host)
    if name is None:
        return False
    address = config.get_option("server.address")
    if is_local(name) or name == _browser_name() or any(_matches(name, one) for one in _allowed_hosts()):
        return True
    if is_local(address):
        return False
    return _is_numeric(name) or name in {(address or "").lower(), _machine_name()}


def is_allowed_origin(origin: str | None, host: str | None) -> bool:
    """Whether a page of ``origin`` may open a socket or send a form: the server's own pages and named origins may.

    None, for clients that are not browsers, may too.
    """
    if origin is None:
        return True
    parts = urlsplit(origin)
    if parts.netloc and parts.netloc.lower() == (host or "").lower():
        return True
    named = {one.strip() for one in config.get_option("server.corsAllowedOrigins")}
    return origin in named or (parts.hostname is not None and parts.hostname == _browser_name())


def _browser_name() -> str | None:
    """The name that browsers use, if it was configured."""
    if not config.is_manually_set("browser.serverAddress"):
        return None
    return host_name(config.get_option("browser.serverAddress").rpartition("//")[2].strip("/"))


def _allowed_hosts() -> list[str]:
    """Streamlit's own list: names, ``*.name`` and ``*``."""
    return [one.strip().lower().rstrip(".") for one in config.get_option("server.allowedHosts")]


def _matches(name: str, pattern: str) -> bool:
    return pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:]))


def _is_numeric(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@cache
def _machine_name() -> str:
    return socket.gethostname().lower()
