"""Rules for the `Host` and `Origin` headers that a server accepts.

A page of another origin can make a browser send requests to a server on this machine, and a name
that resolves to this machine (DNS rebinding) makes them look like its own. The headers reveal both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from captune.net import read_named_host
from captune.serving.settings import is_loopback

_ANY = ("0.0.0.0", "::")


class HostRules:
    """The hosts that requests may name."""

    def __init__(self, host: str, allowed: Collection[str]) -> None:
        """Keep the address that the server listens on, and further names.

        Args:
            host: Host of `ServerSettings`.
            allowed: `NAME` or `NAME:PORT`; a name without a port allows all ports.

        Raises:
            RecipeError: A name is not that of a host.
        """
        self._allowed = {read_named_host(name, flag="--allow-host") for name in allowed}
        self._own = _canonical(host.strip("[]"))
        self._is_loopback = is_loopback(host)
        self._is_any = self._own in _ANY

    def allow_host(self, header: str | None) -> bool:
        """Return whether a `Host` header names this server."""
        if not header:
            return False
        found = _split_port(header)
        if found is None:
            return False
        name, port = found
        bare = f"[{name}]" if ":" in name else name
        # Clients leave out the usual port of http and of a proxy's https.
        ports = (80, 443) if port is None else (port,)
        if name == self._own or {bare, *(f"{bare}:{one}" for one in ports)} & self._allowed:
            return True
        if is_loopback(name):
            return self._is_loopback or self._is_any
        # A name can be made to resolve to any address; an address cannot.
        return self._is_any and _is_address(name)

    def allow_origin(self, origin: str | None, *, host: str, site: str | None) -> bool:
        """Return whether a page of this server, or no page at all, sent the request.

        Args:
            origin: The `Origin` header.
            host: The `Host` header.
            site: The `Sec-Fetch-Site` header.
        """
        if site in ("cross-site", "same-site"):
            return False
        if origin is None:
            return True
        try:
            return urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            return False


def _split_port(header: str) -> tuple[str, int | None] | None:
    """Return name or address, in lower case, and port of a `Host` header; `None`: malformed."""
    try:
        parts = urlsplit(f"//{header}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or parts.path or parts.query or parts.fragment or "@" in header:
        return None
    return _canonical(name), port


def _canonical(name: str) -> str:
    """Return a name without its final dot, or an address in its usual form, as clients send it."""
    name = name.lower().rstrip(".")
    try:
        # Clients leave out the network interface (`%eth0`), which only this machine knows.
        return str(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
