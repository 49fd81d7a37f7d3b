"""Flags of every command that may open images behind URLs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from captune.errors import RecipeError

if TYPE_CHECKING:
    from captune.inference import UrlRules

AllowUrls = Annotated[
    bool,
    typer.Option(
        "--allow-urls",
        help="Open https URLs: at most 20 MB and 10 s each, public addresses only.",
    ),
]
TrustHost = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST[:PORT]",
        help="With --allow-urls: allow this host over http and at a private address too.",
    ),
]


def choose_url_rules(allow_urls: bool, trusted_hosts: Sequence[str] | None) -> UrlRules | None:
    """Return the rules for URLs; `None`: none may be opened.

    Raises:
        RecipeError: Hosts are trusted, but URLs are not allowed, or one is not a host.
    """
    from captune.inference import UrlRules
    from captune.net import read_named_host

    if not allow_urls:
        if trusted_hosts:
            raise RecipeError("--trust-host has no effect by itself", fix="add --allow-urls")
        return None
    trusted = [read_named_host(host, flag="--trust-host") for host in trusted_hosts or ()]
    return UrlRules(trusted_hosts=frozenset(trusted))
