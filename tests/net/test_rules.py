"""Which URLs and addresses are refused; ordinary ones are not."""

from __future__ import annotations

import pytest

from captune.errors import ImageError
from captune.net.rules import (
    Target,
    UrlRules,
    is_public,
    is_url,
    judge_addresses,
    parse_url,
    url_path,
)

TRUSTING = UrlRules(trusted_hosts=frozenset(["images.local:8080", "nas.local"]))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.org/a.jpg", Target("https", "example.org", 443, "/a.jpg")),
        ("HTTPS://Example.ORG:8443", Target("https", "example.org", 8443, "/")),
        ("https://example.org./a", Target("https", "example.org", 443, "/a")),
        ("https://93.184.216.34/a", Target("https", "93.184.216.34", 443, "/a")),
        ("https://[2606:2800::1]/a", Target("https", "2606:2800::1", 443, "/a")),
        ("https://e.org/a%20b?x=1&y=%2F#top", Target("https", "e.org", 443, "/a%20b?x=1&y=%2F")),
        ("https://e.org/bär.jpg", Target("https", "e.org", 443, "/b%C3%A4r.jpg")),
        ("https://xn--bcher-kva.de/", Target("https", "xn--bcher-kva.de", 443, "/")),
    ],
)
def test_an_ordinary_url_becomes_a_target(url: str, target: Target) -> None:
    assert parse_url(url, UrlRules()) == target


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.org/a.jpg", "anyone on the network can read"),
        ("file:///etc/passwd", "its scheme is 'file'"),
        ("gopher://example.org/", "its scheme is 'gopher'"),
        ("ftp://example.org/a.jpg", "its scheme is 'ftp'"),
        ("data:text/html,<script>", "its scheme is 'data'"),
        ("data:image/png;base64,%%%", "its scheme is 'data'"),
        ("//example.org/a", "its scheme is 'missing'"),
        ("https://user@example.org/", "it contains a user name"),
        ("https://example.org:pass@127.0.0.1/", "it contains a user name"),
        ("https://2130706433/", "is an address in an unusual notation"),
        ("https://0x7f.1/", "is an address in an unusual notation"),
        ("https://0x7f000001/", "is an address in an unusual notation"),
        ("https://0177.0.0.1/", "is an address in an unusual notation"),
        ("https://127.1/", "is an address in an unusual notation"),
        ("https://127.0.0.1.5/", "is an address in an unusual notation"),
        ("https://⑯⑨.254.169.254/", "its host is not ASCII"),
        ("https://ｌｏｃａｌｈｏｓｔ/", "its host is not ASCII"),
        ("https://bücher.de/", "its host is not ASCII"),
        ("https://exa%6dple.org/", "is not a host name"),
        ("https://-a.org/", "is not a host name"),
        ("https://a..org/", "is not a host name"),
        ("https://[fe80::1%25eth0]/", "fe80::1%25eth0"),
        ("https://[::1/", "Invalid IPv6 URL"),
        ("https:///a.jpg", "it has no host"),
        ("https://example.org:0/", "port 0"),
        ("https://example.org:99999/", "ort out of range"),
        ("https://example.org\\@127.0.0.1/", "backslashes"),
        ("https://exam\nple.org/", "control characters"),
        ("https://example.org/ HTTP/1.1\r\nHost: x", "spaces"),
    ],
)
def test_a_deceptive_url_is_refused(url: str, why: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_url(url, UrlRules())
    assert caught.value.what == "url_forbidden"
    assert why in caught.value.where


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.0.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255"),
        *("192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1"),
        *("198.51.100.7", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:7f00:1", "::127.0.0.1"),
        *("fe80::1", "fe80::1%eth0", "fc00::1", "fd00::8", "fec0::1", "ff02::1", "2001:db8::1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:0::1"),
        *("2002:808:808::1", "localhost", ""),
    ],
)
def test_private_and_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_addresses_on_the_internet_are_public(address: str) -> None:
    assert is_public(address)


def test_a_host_with_one_private_address_is_refused() -> None:
    with pytest.raises(ImageError) as caught:
        judge_addresses("https://two.example/", ["8.8.8.8", "10.0.0.1"])
    assert caught.value.what == "url_forbidden"
    assert "its host is at 10.0.0.1" in caught.value.where


@pytest.mark.parametrize(
    ("url", "is_trusted"),
    [
        ("http://images.local:8080/a", True),
        ("https://images.local:8080/a", True),
        ("https://nas.local/a", True),
        ("http://nas.local/a", True),
        ("https://nas.local:444/a", False),
        ("https://images.local/a", False),
        ("https://evil.images.local:8080/a", False),
    ],
)
def test_only_the_exact_host_and_port_are_trusted(url: str, is_trusted: bool) -> None:
    assert TRUSTING.trusts(parse_url(url, TRUSTING)) is is_trusted


def test_http_is_refused_on_another_port_of_a_trusted_host() -> None:
    with pytest.raises(ImageError, match="url_forbidden"):
        parse_url("http://images.local:8081/a", TRUSTING)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://e.org", True),
        ("s3://bucket/a.jpg", True),
        ("data:image/png;base64,AA", True),
        ("photos/a.jpg", False),
        ("C:\\photos\\a.jpg", False),
        ("//server/share/a.jpg", False),
    ],
)
def test_urls_are_distinguished_from_paths(text: str, expected: bool) -> None:
    assert is_url(text) is expected


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://host/a%20b/c.jpg?x=1#y", "/a b/c.jpg"),
        ("https://host", ""),
        ("http://[bad/x.tar", "/x.tar"),
        ("http://host:abc/x", "/x"),
        ("no url", ""),
    ],
)
def test_the_path_of_any_url_is_returned(url: str, path: str) -> None:
    assert url_path(url) == path
