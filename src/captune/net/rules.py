"""Which URLs may be opened: only https to public addresses.

A program that opens untrusted URLs can be made to send requests to machines of its own network
(server-side request forgery). So names are parsed strictly, every address that a name resolves to
is checked, and the connection goes to a checked address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, urlsplit

from captune.errors import ImageError, RecipeError

_PORTS = {"https": 443, "http": 80}
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PATH = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]*([^?#]*)", re.IGNORECASE)
# Browsers and inet_aton read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Protocol assignments and 6to4 relays, which some versions of `ipaddress` do not call private.
_SPECIAL = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv4Network("192.88.99.0/24"))
_UNICAST = ipaddress.IPv6Network("2000::/3")
# Tunnels carry an IPv4 address that a relay would connect to.
_TUNNELS = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("2001::/32"))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """A host, port and path to connect to.

    Attributes:
        scheme: `https`, or `http` for a trusted host.
        host: Lower-case name without a final dot, or an address without brackets.
        port: 1..65535.
        path: Path and query of the request line.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port, even if the port is the usual one; IPv6 in brackets."""
        return f"{self.bare}:{self.port}"

    @property
    def bare(self) -> str:
        """The host; IPv6 in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host


@dataclass(frozen=True, slots=True)
class UrlRules:
    """Limits of downloads.

    Attributes:
        max_bytes: Maximum size of an image file.
        max_seconds: Maximum time per image: names, connections, redirects and all bytes.
        max_redirects: Maximum number of redirects; each is checked like the first URL.
        trusted_hosts: `HOST` or `HOST:PORT`, also allowed over http and at private addresses if
            the URL itself names them; a redirect from another host is not.
        only_hosts: The only hosts that are opened, redirects included; `None`: any.
    """

    max_bytes: int = 20_000_000
    max_seconds: float = 10.0
    max_redirects: int = 5
    trusted_hosts: frozenset[str] = frozenset()
    only_hosts: frozenset[str] | None = None

    def trusts(self, target: Target) -> bool:
        """Return whether the user trusts this host."""
        if target.authority in self.trusted_hosts:
            return True
        return target.bare in self.trusted_hosts and target.port == _PORTS.get(target.scheme)


def is_url(text: str) -> bool:
    """Return whether an input is meant as a URL, of any scheme, rather than as a path."""
    return "://" in text or text.lower().startswith("data:")


def url_path(url: str) -> str:
    """Return the path of a URL, without escapes, also of one that is not valid."""
    # urlsplit raises errors for texts such as `http://[x/a.jpg`.
    found = _PATH.match(url)
    return unquote(found[1]) if found else ""


def parse_url(url: str, rules: UrlRules) -> Target:
    """Return the target of a URL.

    Args:
        url: As the user or a redirect wrote it.
        rules: Trusted and allowed hosts.

    Raises:
        ImageError: `url_forbidden`: not https, a deceptive host name, a user name, or a host that
            is not allowed.
    """
    target = read_target(url)
    if rules.only_hosts is not None and not {target.bare, target.authority} & rules.only_hosts:
        raise _forbidden(url, f"{target.authority} is not an allowed host")
    if target.scheme == "http" and not rules.trusts(target):
        raise _forbidden(
            url,
            "anyone on the network can read and change what http transfers",
            fix=f"use https, or trust the host: --trust-host {target.authority}",
        )
    return target


def trust_named_host(url: str, rules: UrlRules) -> UrlRules:
    """Return the rules with the URL's own host trusted, for a URL that the user wrote.

    Raises:
        ImageError: `url_forbidden`: see `read_target`.
    """
    return replace(rules, trusted_hosts=frozenset({read_target(url).authority}))


def read_target(url: str) -> Target:
    """Return the target of an http or https URL.

    Raises:
        ImageError: `url_forbidden`: another scheme, a deceptive host name, or a user name.
    """
    if any(ord(char) <= 32 or ord(char) == 127 or char == "\\" for char in url):
        raise _forbidden(url, "it contains spaces, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _forbidden(url, str(error)) from error
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise _forbidden(url, f"its scheme is {scheme or 'missing'!r}", fix="use https")
    if "@" in parts.netloc:
        raise _forbidden(url, "it contains a user name", fix="remove user and password")
    if port == 0:
        raise _forbidden(url, "port 0 is not valid")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]|^")
    return Target(scheme, _read_host(url, parts.hostname), port or _PORTS[scheme], path)


def read_named_host(word: str, *, flag: str) -> str:
    """Return a host that a user allows, as `Target.bare`, or as `Target.authority` with a port.

    Args:
        word: `HOST` or `HOST:PORT`.
        flag: Name of the flag, for the error.

    Raises:
        RecipeError: It is not a host: a URL, a pattern, a name that is not ASCII.
    """
    try:
        target = read_target(f"https://{word}")
    except ImageError:
        target = None
    if target is None or target.path != "/":
        raise RecipeError(
            f"{word!r} is not the name or address of a host",
            where=flag,
            fix="HOST or HOST:PORT, such as images.example.org: no https://, path or *, and the"
            " xn-- form of a name that is not ASCII",
        )
    return target.authority if urlsplit(f"//{word}").port else target.bare


def judge_addresses(url: str, addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses of a host, all of them public.

    A host with public and private addresses is an attack or a mistake: chance would decide which
    one is used.

    Raises:
        ImageError: `url_forbidden`: an address is not public.
    """
    for address in addresses:
        if not is_public(address):
            raise _forbidden(
                url,
                f"its host is at {address}, which is not a public address",
                fix="download the image; or trust a host of your own network: --trust-host",
            )
    return tuple(addresses)


def is_public(address: str) -> bool:
    """Return whether an address is on the public internet, not on this machine or its networks."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        is_special = parsed.is_multicast or any(parsed in network for network in _SPECIAL)
        return parsed.is_global and not parsed.is_reserved and not is_special
    inner = parsed.ipv4_mapped
    if inner is None and parsed in _NAT64:
        inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(str(inner))
    is_tunnel = any(parsed in network for network in _TUNNELS)
    return parsed.scope_id is None and parsed in _UNICAST and parsed.is_global and not is_tunnel


def _read_host(url: str, host: str | None) -> str:
    if not host:
        raise _forbidden(url, "it has no host")
    if not host.isascii():
        # Letters of other scripts, and circled digits, look like ASCII letters and digits.
        raise _forbidden(url, "its host is not ASCII", fix="give the xn-- form of the name")
    name = host.lower().removesuffix(".")
    if ":" in name:
        try:
            parsed = ipaddress.IPv6Address(name)
        except ValueError as error:
            raise _forbidden(url, str(error)) from error
        if parsed.scope_id is not None:
            raise _forbidden(url, "its address names a network interface of this machine")
        return str(parsed)
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _forbidden(url, f"{host!r} is not a host name")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError as error:
            raise _forbidden(url, f"{host!r} is an address in an unusual notation") from error
    return name


def _forbidden(url: str, why: str, *, fix: str = "") -> ImageError:
    # The text of a redirect must not control the terminal.
    shown = url if url.isprintable() else ascii(url)
    return ImageError("url_forbidden", where=f"{shown}: {why}", fix=fix)
