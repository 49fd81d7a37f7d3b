"""`/` and `/page/...`: the page's files, with a policy that forbids loading from elsewhere.

They need no key: the page asks for one and sends it with its requests.
"""

from __future__ import annotations

import functools
import hashlib
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from captune.serving.errors import ApiError

router = APIRouter()

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
# Captions come from a model and names from files, so both are untrusted: with trusted types, a
# script that tries to insert them as HTML fails.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
# `no-cache`: a browser checks that its copy is current, so that an upgrade takes effect at once.
_HEADERS = {"content-security-policy": _POLICY, "cache-control": "no-cache"}


@router.get("/", include_in_schema=False)
@router.head("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """Return the page."""
    return _answer(request, "page.html")


@router.get("/page/{name}", include_in_schema=False)
async def page_file(name: str, request: Request) -> Response:
    """Return one of the page's files."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    found = _load_files().get(name)
    if found is None:
        raise ApiError(404, "not_found", "the page has no such file")
    content, tag = found
    headers = {**_HEADERS, "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=headers)


@functools.cache
def _load_files() -> dict[str, tuple[bytes, str]]:
    """Return content and ETag by file name; a request is looked up here and never opens a path."""
    folder = files(__package__).joinpath("static")
    contents = {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.name.rpartition(".")[2] in _TYPES
    }
    return {
        name: (content, f'"{hashlib.sha256(content).hexdigest()[:20]}"')
        for name, content in contents.items()
    }
