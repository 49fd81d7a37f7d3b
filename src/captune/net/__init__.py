"""The network: which URLs may be opened, and how images and long files are read from them."""

from captune.net.fetch import UrlFetcher, UrlImage
from captune.net.objects import (
    FoundObject,
    ObjectFetcher,
    StoredFile,
    check_storage,
    is_object_url,
    list_objects,
)
from captune.net.rules import UrlRules, is_url, parse_url, read_named_host, url_path
from captune.net.stream import UrlStream

__all__ = [
    "FoundObject",
    "ObjectFetcher",
    "StoredFile",
    "UrlFetcher",
    "UrlImage",
    "UrlRules",
    "UrlStream",
    "check_storage",
    "is_object_url",
    "is_url",
    "list_objects",
    "parse_url",
    "read_named_host",
    "url_path",
]
